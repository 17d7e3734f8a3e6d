import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from strided.data import BatchAugment
from strided.errors import UserError

IMAGES = torch.randint(1, 256, (64, 3, 16, 16), generator=torch.Generator().manual_seed(1))
IMAGES = IMAGES.to(torch.uint8)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_nothing_is_changed_by_default() -> None:
    assert BatchAugment()(IMAGES, seeded()) is IMAGES


def test_about_half_the_images_are_mirrored_exactly() -> None:
    out = BatchAugment(horizontal_flip=True)(IMAGES, seeded())
    assert out.dtype == torch.uint8
    mirrored = 0
    for before, after in zip(IMAGES, out, strict=True):
        pixels = before.permute(1, 2, 0).numpy()
        mirror = np.asarray(ImageOps.mirror(Image.fromarray(pixels))).transpose(2, 0, 1)
        assert np.array_equal(after, before) or np.array_equal(after, mirror)
        mirrored += int(np.array_equal(after, mirror))
    assert 16 < mirrored < 48


def test_a_padded_crop_is_a_whole_pixel_shift_with_black_coming_in() -> None:
    out = BatchAugment(crop_padding=0.125)(IMAGES, seeded())
    padded = np.pad(IMAGES.numpy(), [(0, 0), (0, 0), (2, 2), (2, 2)])
    found = set()
    for before, after in zip(padded, out.numpy(), strict=True):
        crops = {
            before[:, y : y + 16, x : x + 16].tobytes(): (y, x) for y in range(5) for x in range(5)
        }
        found.add(crops[after.tobytes()])
    assert len(found) > 15  # of the 25 places
    assert {y for y, _ in found} == {x for _, x in found} == {0, 1, 2, 3, 4}


def test_the_same_seed_gives_the_same_batch() -> None:
    augment = BatchAugment(True, 0.1, 15, 0.1, 0.2, 0.2, 0.5)
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


def test_erasing_covers_a_rectangle_of_some_images() -> None:
    images = torch.rand(200, 1, 32, 32, generator=seeded()) * 255
    changed = BatchAugment(erasing=0.5)(images, seeded(1)) != images
    touched = changed.flatten(1).any(1)
    assert 70 < touched.sum() < 130
    for mask in changed[touched, 0]:
        rows, columns = mask.any(1), mask.any(0)
        assert torch.equal(mask, rows[:, None] & columns)  # one filled rectangle
        assert 0.01 < mask.float().mean() < 0.4


@pytest.mark.parametrize("key", ["crop_padding", "rotation", "zoom", "contrast", "erasing"])
@pytest.mark.parametrize("value", [-0.1, 500.0])
def test_values_out_of_range_name_their_key(key: str, value: float) -> None:
    with pytest.raises(UserError, match=f"augment.{key}={value}.*expected.*Try"):
        BatchAugment(**{key: value})  # type: ignore[arg-type]
