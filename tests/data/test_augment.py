from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from strided.data import BatchAugment
from strided.errors import UserError

IMAGES = torch.randint(1, 256, (64, 3, 16, 16), generator=torch.Generator().manual_seed(1))
IMAGES = IMAGES.to(torch.uint8)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_nothing_is_changed_by_default() -> None:
    assert BatchAugment()(IMAGES, seeded()) is IMAGES


def test_half_the_images_are_mirrored_and_shifts_are_evenly_spread_independently() -> None:
    dot = torch.zeros(20_000, 1, 5, 5, dtype=torch.uint8)
    dot[:, 0, 2, 2], dot[:, 0, 2, 1] = 1, 2  # a mark, and what lies to its left
    out = BatchAugment(horizontal_flip=True, crop_padding=0.2)(dot, seeded())
    assert out.dtype == torch.uint8
    _, _, row, column = (out == 1).nonzero().unbind(1)
    left = (out == 2).nonzero()[:, 3]
    mirrored = (left > column).long()
    assert (left - column).abs().eq(1).all()
    counts = torch.bincount((row - 1) * 6 + (column - 1) * 2 + mirrored, minlength=18)
    assert len(counts) == 18  # 3 by 3 places and both orientations
    assert stats.chisquare(counts).pvalue > 0.001


@pytest.mark.parametrize("side", [9, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_padded_crop_is_a_shift_with_black_coming_in(side: int, channels: int) -> None:
    images = IMAGES[:, :channels, :side, :side]
    padding = round(0.125 * side)
    out = BatchAugment(crop_padding=0.125)(images, seeded())
    padded = np.pad(images.numpy(), [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    reach = range(2 * padding + 1)
    found = set()
    for before, after in zip(padded, out.numpy(), strict=True):
        crops = {
            before[:, y : y + side, x : x + side].tobytes(): (y, x) for y in reach for x in reach
        }
        found.add(crops[after.tobytes()])
    assert {y for y, _ in found} == {x for _, x in found} == set(reach)


ALL: dict[str, Any] = {
    "horizontal_flip": True,
    "crop_padding": 0.1,
    "crop_scale": 0.5,
    "rotation": 15,
    "zoom": 0.1,
    "brightness": 0.2,
    "contrast": 0.2,
    "elastic": 0.05,
    "noise": 0.1,
    "erasing": 0.5,
}


@pytest.mark.parametrize("key", [key for key in ALL if key != "horizontal_flip"])
def test_each_image_has_its_own_draw(key: str) -> None:
    big = torch.randint(0, 256, (1, 3, 64, 64), generator=seeded(), dtype=torch.uint8)
    options = {**ALL, "erasing": 1.0}
    out = BatchAugment(**{key: options[key]})(big.expand(64, -1, -1, -1), seeded())
    assert len({image.numpy().tobytes() for image in out}) > 50


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("key", ALL)
def test_the_images_given_are_left_alone(key: str, dtype: torch.dtype) -> None:
    images = IMAGES.to(dtype)
    whole_pixels = key in ("horizontal_flip", "crop_padding")
    out = BatchAugment(**{key: ALL[key]})(images, seeded())
    assert torch.equal(images, IMAGES.to(dtype)) and not torch.equal(out, images)
    assert out.dtype == (dtype if whole_pixels else torch.float32)


@pytest.mark.parametrize("shape", [(1, 1, 300, 300), (3, 3, 225, 225), (128, 1, 33, 33)])
def test_the_number_of_threads_changes_nothing(shape: tuple[int, ...]) -> None:
    images = torch.randint(0, 256, shape, generator=seeded(), dtype=torch.uint8)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    try:
        out = []
        for num_threads in (1, 2):
            torch.set_num_threads(num_threads)
            out.append([BatchAugment(**some)(images, seeded()) for some in (STANDARD, ALL)])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, two) for one, two in zip(*out, strict=True))
    assert torch.equal(torch.get_rng_state(), before)


STANDARD: dict[str, Any] = {"horizontal_flip": True, "crop_padding": 0.125}


def test_a_resized_crop_magnifies_and_brings_nothing_in_from_outside() -> None:
    side, num = 65, 2000
    ramp = torch.arange(float(side)).expand(side, side)
    images = torch.stack([ramp, ramp.T]).expand(num, -1, -1, -1)
    out = BatchAugment(crop_scale=0.25)(images, seeded())
    middle = slice(20, 45)  # the ramps are straight there, whatever the box
    across = out[:, 0, 32, middle].diff(dim=-1).mean(1)  # input pixels for one output pixel
    down = out[:, 1, middle, 32].diff(dim=-1).mean(1)
    area, shape = across * down, across / down
    assert 0.24 < area.min() < 0.27 and 0.95 < area.max() < 1.001
    assert 0.73 < shape.min() < 0.8 and 1.25 < shape.max() < 1.36
    assert 0.5 < area.mean() < 0.625  # the middle, but large boxes often do not fit
    white = torch.full((64, 3, 17, 17), 255, dtype=torch.uint8)
    assert BatchAugment(crop_scale=0.1, horizontal_flip=True)(white, seeded()).min() > 254.9


def test_rand_augment_rounds_what_other_moves_give() -> None:
    out = BatchAugment(rotation=10, rand_augment_ops=1)(IMAGES, seeded())
    assert out.dtype == torch.uint8 and out.shape == IMAGES.shape
    almost = torch.full((1, 1, 8, 8), 99.7)
    still = BatchAugment(rand_augment_ops=1, rand_augment_magnitude=0)(almost, seeded())
    assert still.eq(100).all()


def test_the_same_seed_gives_the_same_batch() -> None:
    augment = BatchAugment(**ALL)
    first = augment(IMAGES, seeded(3))
    assert torch.equal(first, augment(IMAGES, seeded(3)))
    assert not torch.equal(first, augment(IMAGES, seeded(4)))
    assert first.shape == IMAGES.shape and first.dtype == torch.float32
    assert first.min() >= 0 and first.max() <= 255


def test_rotation_keeps_the_centre_and_stays_within_its_angle() -> None:
    line = torch.zeros(32, 1, 33, 33)
    line[:, :, 16, :] = 255
    out = BatchAugment(rotation=20)(line, seeded())
    assert out[:, 0, 16, 16].min() > 200
    rows = torch.arange(33.0)
    height = (out[:, 0, :, 28] * rows).sum(1) / out[:, 0, :, 28].sum(1) - 16  # 12 columns out
    angles = torch.atan2(height, torch.tensor(12.0)).rad2deg()
    assert angles.abs().max() < 21 and angles.max() > 10 and angles.min() < -10


def test_zoom_magnifies_and_shrinks() -> None:
    square = torch.zeros(64, 1, 40, 40)
    square[:, :, 10:30, 10:30] = 255
    area = BatchAugment(zoom=0.25)(square, seeded()).sum((1, 2, 3)) / square[0].sum()
    assert 0.75**2 * 0.98 < area.min() < 0.8 and 1.25 < area.max() < 1.25**2 * 1.02


def test_brightness_scales_and_contrast_keeps_the_mean() -> None:
    grey = torch.full((64, 1, 4, 4), 100.0)
    lit = BatchAugment(brightness=0.5)(grey, seeded())[:, 0, 0, 0]
    assert 50 <= lit.min() < 70 and 130 < lit.max() <= 150
    mild = 100 + 50 * torch.rand(64, 1, 8, 8, generator=seeded())
    out = BatchAugment(contrast=0.5)(mild, seeded())
    torch.testing.assert_close(out.mean((1, 2, 3)), mild.mean((1, 2, 3)))
    ratio = out.std((1, 2, 3)) / mild.std((1, 2, 3))
    assert ratio.min() < 0.7 and ratio.max() > 1.3


def test_a_bend_moves_pixels_smoothly_by_its_standard_deviation() -> None:
    column = torch.arange(64.0).expand(500, 1, 64, 64)  # a pixel's value is its place
    moved = BatchAugment(elastic=0.03)(column, seeded()) - column
    inner = moved[..., 16:48, 16:48]
    # between its places a cubic averages them: less than 0.03 * 64
    assert 0.5 * 0.03 * 64 < inner.std().item() < 0.03 * 64
    assert inner.diff(dim=-1).abs().quantile(0.99) < 0.5 and inner.flatten(1).std(1).min() > 0.05


def test_noise_has_its_own_strength_and_is_shared_by_no_two_images() -> None:
    grey = torch.full((400, 1, 32, 32), 128, dtype=torch.uint8)
    noise = BatchAugment(noise=0.1)(grey, seeded()).flatten(1) - 128
    strength = noise.std(1) / 255
    assert strength.min() > 0 and strength.max() < 0.11 and abs(strength.mean() - 0.05) < 0.005
    likeness = torch.corrcoef(noise[:100]) - torch.eye(100)
    assert (likeness.abs() > 0.3).float().mean() < 0.01  # two in a thousand have the same shift


def test_erasing_covers_a_rectangle_of_some_images() -> None:
    images = torch.rand(200, 1, 32, 32, generator=seeded()) * 255
    changed = BatchAugment(erasing=0.5)(images, seeded(1)) != images
    touched = changed.flatten(1).any(1)
    assert 70 < touched.sum() < 130
    for mask in changed[touched, 0]:
        rows, columns = mask.any(1), mask.any(0)
        assert torch.equal(mask, rows[:, None] & columns)  # one filled rectangle
        assert 0.01 < mask.float().mean() < 0.4


LABELS = torch.arange(64) % 5
MIXING = [{"mixup": 1.0}, {"cutmix": 1}, {"mixup": 1, "cutmix": 0.5}]  # 1: as it may be typed


@pytest.mark.parametrize("options", MIXING)
def test_mixed_labels_are_the_proportions_of_the_two_images(options: dict[str, float]) -> None:
    _, mixed = BatchAugment(**options).mix(IMAGES, LABELS, 5, seeded())  # type: ignore[arg-type]
    torch.testing.assert_close(mixed.sum(1), torch.ones(64))
    own, other = mixed[range(64), LABELS], mixed[range(64), LABELS.roll(1)]
    torch.testing.assert_close(own + other, torch.ones(64))
    assert 0 < own[0] < 1 and torch.equal(own, own[:1].expand(64))  # one share for the batch


def test_mixup_blends_the_pixels_in_the_share_of_the_labels() -> None:
    images, labels = BatchAugment(mixup=1.0).mix(IMAGES, LABELS, 5, seeded(2))
    share = labels[0, LABELS[0]]
    expected = share * IMAGES.float() + (1 - share) * IMAGES.float().roll(1, 0)
    torch.testing.assert_close(images, expected)


def test_cutmix_pastes_one_rectangle_whose_area_is_the_share_of_the_other_image() -> None:
    found = 0
    for seed in range(8):
        images, labels = BatchAugment(cutmix=1.0).mix(IMAGES, LABELS, 5, seeded(seed))
        pasted = (images == IMAGES.roll(1, 0)).all(dim=(0, 1))
        assert ((images == IMAGES).all(dim=(0, 1)) ^ pasted).all()
        assert torch.equal(pasted, pasted.any(1)[:, None] & pasted.any(0))
        assert labels[0, LABELS[-1]] == pytest.approx(pasted.float().mean().item(), abs=1e-6)
        found += int(pasted.any())
    assert found > 4


def test_with_both_each_batch_is_either_blended_or_cut() -> None:
    both = BatchAugment(mixup=1.0, cutmix=1.0)
    kinds = [both.mix(IMAGES, LABELS, 5, seeded(seed))[0].dtype for seed in range(20)]
    assert 4 < kinds.count(torch.uint8) < 16  # cut; a blend has fractions


def test_without_mixing_labels_stay_as_they_are() -> None:
    images, labels = BatchAugment(erasing=0.5).mix(IMAGES, LABELS, 5, seeded())
    assert images is IMAGES and labels is LABELS


@pytest.mark.parametrize("channels", [1, 3])
def test_rand_augment_changes_each_image_by_its_own_draw(channels: int) -> None:
    same = IMAGES[:1, :channels].expand(64, -1, -1, -1)
    out = BatchAugment(rand_augment_ops=2)(same, seeded())
    assert out.dtype == torch.uint8 and out.shape == same.shape
    assert len({image.numpy().tobytes() for image in out}) > 20


def test_strength_0_of_rand_augment_moves_nothing() -> None:
    grey = torch.full((32, 3, 8, 8), 100, dtype=torch.uint8)
    weak = BatchAugment(rand_augment_ops=1, rand_augment_magnitude=0)(grey, seeded())
    strong = BatchAugment(rand_augment_ops=1, rand_augment_magnitude=30)(grey, seeded())
    assert torch.equal(weak, grey) and (strong != grey).flatten(1).any(1).sum() > 10


def test_drawing_by_torchvision_follows_the_seed_and_leaves_the_global_state() -> None:
    augment = BatchAugment(rand_augment_ops=2, mixup=1.0, cutmix=1.0)

    def batch(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = seeded(seed)
        return augment.mix(augment(IMAGES, generator), LABELS, 5, generator)

    before = torch.get_rng_state()
    first = batch(3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)  # whatever else was drawn
    again, other = batch(3), batch(4)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])


KEYS = ["crop_padding", "rotation", "zoom", "contrast", "erasing", "rand_augment_magnitude"]


@pytest.mark.parametrize("key", ["mixup", "cutmix", "rand_augment_ops"])
@pytest.mark.parametrize("value", [-1, float("inf")])
def test_impossible_mixing_names_its_key(key: str, value: float) -> None:
    with pytest.raises(UserError, match=f"augment.{key}={value}; expected 0 <= {key}. Try"):
        BatchAugment(**{key: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0, -0.5, 1.01, float("nan")])
def test_an_impossible_crop_names_its_key(value: float) -> None:
    with pytest.raises(UserError, match="augment.crop_scale=.*0 < crop_scale <= 1. Try"):
        BatchAugment(crop_scale=value)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("value", [-0.1, 500.0])
def test_values_out_of_range_name_their_key(key: str, value: float) -> None:
    with pytest.raises(UserError, match=f"augment.{key}={value}.*expected.*Try"):
        BatchAugment(**{key: value})  # type: ignore[arg-type]


def test_images_that_alternate_are_mirrored_as_they_are_told() -> None:
    augment = BatchAugment(horizontal_flip=True, flip="alternating")
    chosen = torch.arange(len(IMAGES)) % 3 == 0
    out = augment.with_mirrored(IMAGES, chosen, seeded())
    assert torch.equal(out[chosen], IMAGES[chosen].flip(-1))
    assert torch.equal(out[~chosen], IMAGES[~chosen])
    moved = replace(augment, crop_padding=0.1).with_mirrored(IMAGES, chosen, seeded())
    shifted = BatchAugment(crop_padding=0.1)(out, seeded())
    assert torch.equal(moved, shifted)


@pytest.mark.parametrize("padding", [0.125, 0.5])
def test_a_reflected_shift_is_a_crop_of_numpys_reflected_padding(padding: float) -> None:
    side, reach = 16, round(padding * 16)
    out = BatchAugment(crop_padding=padding, border="reflect")(IMAGES, seeded())
    margins = [(0, 0), (0, 0), (reach, reach), (reach, reach)]
    padded = np.pad(IMAGES.numpy(), margins, mode="reflect")
    for before, after in zip(padded, out.numpy(), strict=True):
        places = range(2 * reach + 1)
        assert any(
            np.array_equal(before[:, y : y + side, x : x + side], after)
            for y in places for x in places
        )  # fmt: skip
    assert out.dtype == torch.uint8 and out.is_contiguous()


def test_a_turn_brings_in_the_image_and_no_black() -> None:
    white = torch.full((8, 1, 16, 16), 255, dtype=torch.uint8)
    assert BatchAugment(rotation=45)(white, seeded()).min() == 0
    out = BatchAugment(rotation=45, border="reflect")(white, seeded())
    torch.testing.assert_close(out, white.float())


def test_cutout_puts_a_square_of_the_mean_colour_inside_each_image() -> None:
    out = BatchAugment(cutout=0.375)(IMAGES, seeded())
    changed = (out != IMAGES).any(1)
    means = IMAGES.float().mean((2, 3))
    for image, mean, mask in zip(out, means, changed, strict=True):
        rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
        square = image[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert square.shape == (3, 6, 6)
        torch.testing.assert_close(square, mean.view(3, 1, 1).expand(3, 6, 6))
    corners = {(int(m.any(1).nonzero().min()), int(m.any(0).nonzero().min())) for m in changed}
    assert {place for corner in corners for place in corner} >= {0, 10}  # up to each edge
