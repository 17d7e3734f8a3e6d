"""Moves of pixels, against PIL's and torchvision's own functions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from scipy import stats
from torch import Tensor
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms.v2 import functional as V

from strided.data.geometry import Moves, flip_and_shift, random_boxes, warp

BILINEAR = InterpolationMode.BILINEAR
SHAPES = [(1, 16), (3, 16), (1, 33), (3, 33), (3, 64)]  # channels, side


def noise(channels: int, side: int, num: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(side + channels)
    shape = (num, channels, side, side)
    return torch.randint(1, 256, shape, generator=generator, dtype=torch.uint8)


def staying(num: int, side: int) -> Moves:
    """Moves that change nothing."""
    return Moves(
        box=torch.tensor([0.0, 0.0, side, side]).repeat(num, 1),
        flipped=torch.zeros(num, dtype=torch.bool),
        shift=torch.zeros(num, 2, dtype=torch.int64),
        angle=torch.zeros(num),
        scale=torch.ones(num),
    )


def as_pil(image: Tensor) -> Image.Image:
    return V.to_pil_image(image)


FLIPPED = torch.tensor([False, True, False, True, True, False])
SHIFT = torch.tensor([[0, 0], [0, 0], [1, 3], [1, 3], [-4, 2], [2, -5]])


@pytest.mark.parametrize(("channels", "side"), SHAPES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_mirror_images_and_shifts_are_exactly_pils(
    channels: int, side: int, dtype: torch.dtype
) -> None:
    images = noise(channels, side).to(dtype)
    out = flip_and_shift(images, FLIPPED, SHIFT)
    assert out.dtype == dtype
    for before, after, flipped, (down, right) in zip(images, out, FLIPPED, SHIFT, strict=True):
        picture = as_pil(before.to(torch.uint8))
        black = Image.new(picture.mode, picture.size)
        black.paste(ImageOps.mirror(picture) if flipped else picture, (int(right), int(down)))
        assert torch.equal(after, V.pil_to_tensor(black).to(dtype))


@pytest.mark.parametrize(("channels", "side"), SHAPES)
def test_whole_pixel_moves_are_the_same_when_resampled(channels: int, side: int) -> None:
    images = noise(channels, side)
    moves = replace(staying(6, side), flipped=FLIPPED, shift=SHIFT)
    exact = flip_and_shift(images, FLIPPED, SHIFT).float()
    torch.testing.assert_close(warp(images, moves, outside="zeros"), exact, atol=0.02, rtol=0)


@pytest.mark.parametrize(("channels", "side"), SHAPES)
def test_rotation_is_torchvisions_and_counter_clockwise(channels: int, side: int) -> None:
    images = noise(channels, side)
    angles = torch.tensor([0.0, 7.5, -30.0, 90.0, 133.0, 180.0])
    out = warp(images, replace(staying(6, side), angle=angles), outside="zeros")
    for before, after, angle in zip(images, out, angles.tolist(), strict=True):
        theirs = V.rotate(before.float(), angle, BILINEAR)
        assert (after - theirs).abs().mean() < 0.01
        assert (after - theirs).abs().max() < 0.1
    quarter = torch.rot90(images[3].float(), 1, (1, 2))  # counter-clockwise
    torch.testing.assert_close(out[3], quarter, atol=0.05, rtol=0)


@pytest.mark.parametrize(("channels", "side"), SHAPES)
def test_rotation_is_pils_inside_the_picture(channels: int, side: int) -> None:
    images = noise(channels, side)
    angles = torch.linspace(-40, 40, 6)
    out = warp(images, replace(staying(6, side), angle=angles), outside="zeros")
    reach = torch.arange(side) - (side - 1) / 2
    inner = reach.square()[:, None] + reach.square() < (side / 2 - 1.5) ** 2
    for before, after, angle in zip(images, out, angles.tolist(), strict=True):
        turned = as_pil(before).rotate(angle, Image.Resampling.BILINEAR)
        difference = (after - V.pil_to_tensor(turned)).abs()[:, inner]
        assert difference.max() < 1.01  # PIL cuts to whole numbers


@pytest.mark.parametrize(("channels", "side"), SHAPES)
def test_zoom_is_torchvisions(channels: int, side: int) -> None:
    images = noise(channels, side)
    scales = torch.tensor([0.5, 0.8, 0.95, 1.0, 1.3, 2.0])
    out = warp(images, replace(staying(6, side), scale=scales), outside="zeros")
    for before, after, scale in zip(images, out, scales.tolist(), strict=True):
        theirs = V.affine(before.float(), 0.0, [0, 0], scale, [0.0, 0.0], BILINEAR)
        torch.testing.assert_close(after, theirs, atol=0.1, rtol=0)


@pytest.mark.parametrize(("channels", "side"), SHAPES)
def test_a_box_is_the_resized_crop_of_torchvision_and_pil(channels: int, side: int) -> None:
    images = noise(channels, side)
    boxes = torch.tensor(
        [
            [0, 0, side, side],
            [2, 5, side - 5, side - 8],
            [0, 3, side // 2, side // 2 + 1],
            [side // 3, 0, side // 2, side // 2],
            [1, side // 2, side - 1, side - side // 2],
            [side // 2, side // 2, side - side // 2, side - side // 2],
        ]
    )
    out = warp(images, replace(staying(6, side), box=boxes.float()), outside="border")
    torch.testing.assert_close(out[0], images[0].float(), atol=0.02, rtol=0)
    for before, after, box in zip(images, out, boxes.tolist(), strict=True):
        theirs = V.resized_crop(before.float(), *box, [side, side], BILINEAR, antialias=False)
        top, left, height, width = box
        area = (left, top, left + width, top + height)
        pil = as_pil(before).resize((side, side), Image.Resampling.BILINEAR, area)
        # theirs ends at the box, ours at the image: the last half pixel beside the box differs
        edges = [(top, height), (left, width)]
        inner = [
            slice(
                0 if start == 0 else -(-side // (2 * length)),
                side if start + length == side else side + -side // (2 * length),
            )
            for start, length in edges
        ]
        ours = after[:, inner[0], inner[1]]
        assert ours.numel() > 0.6 * after.numel()
        torch.testing.assert_close(ours, theirs[:, inner[0], inner[1]], atol=0.1, rtol=0)
        assert (
            ours - V.pil_to_tensor(pil)[:, inner[0], inner[1]]
        ).abs().max() < 1.6  # rounds twice


def test_all_moves_together_are_theirs_one_after_the_other() -> None:
    side = 64
    axis = torch.linspace(0, 3, side)
    smooth = 127 + 60 * torch.sin(2 * axis)[:, None] + 60 * torch.cos(axis + 1)
    images = torch.stack([smooth, smooth.T])[None]
    moves = Moves(
        box=torch.tensor([[5.0, 9.0, 52.0, 44.0]]),
        flipped=torch.tensor([True]),
        shift=torch.tensor([[4, -7]]),
        angle=torch.tensor([25.0]),
        scale=torch.tensor([1.2]),
    )
    theirs = V.resized_crop(images, 5, 9, 52, 44, [side, side], BILINEAR, antialias=False)
    theirs = V.affine(V.horizontal_flip(theirs), 0.0, [-7, 4], 1.0, [0.0, 0.0], BILINEAR)
    theirs = V.rotate(theirs, 25.0, BILINEAR)
    theirs = V.affine(theirs, 0.0, [0, 0], 1.2, [0.0, 0.0], BILINEAR)
    inner = (slice(None), slice(None), slice(18, 46), slice(18, 46))
    difference = (warp(images, moves, outside="zeros") - theirs)[inner].abs()
    assert difference.max() < 1.5 and theirs[inner].std() > 20


def test_outside_is_black_or_the_edge() -> None:
    white = torch.full((1, 1, 32, 32), 255, dtype=torch.uint8)
    turned = replace(staying(1, 32), angle=torch.tensor([45.0]))
    assert warp(white, turned, outside="zeros")[0, 0, 0, 0] == 0
    corner = replace(staying(1, 32), box=torch.tensor([[0.0, 0.0, 8.0, 8.0]]))
    assert torch.equal(warp(white, corner, outside="border"), white.float())


@pytest.mark.parametrize("least", [0.08, 0.35, 0.9])
def test_boxes_are_spread_as_torchvisions(least: float) -> None:
    side, num = 224, 4000
    ours = random_boxes(num, side, least, torch.Generator().manual_seed(0))
    assert torch.equal(ours, ours.round())
    top, left, height, width = ours.unbind(1)
    assert min(top.min(), left.min()) >= 0 and (top + height).max() <= side
    assert (left + width).max() <= side
    area = height * width / side**2
    assert least - 0.01 < area.min() < least + 0.02 and area.max() > 0.97
    shape = width / height
    assert 0.74 < shape.min() < 0.8 or least == 0.9
    assert 1.25 < shape.max() < 1.35 or least == 0.9
    with torch.random.fork_rng():
        torch.manual_seed(1)
        image = torch.empty(1, side, side)
        params = RandomResizedCrop.get_params
        theirs = np.array(
            [params(image, [least, 1.0], [3 / 4, 4 / 3]) for _ in range(num)], dtype=float
        )
    other_top, other_left, other_height, other_width = theirs.T
    for mine, other in (
        (area, other_height * other_width / side**2),
        (shape, other_width / other_height),
        (top, other_top),
        (left, other_left),
    ):
        assert stats.ks_2samp(mine.numpy(), other).pvalue > 0.001
