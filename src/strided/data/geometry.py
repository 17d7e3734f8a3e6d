"""Moves the pixels of whole batches, each image by its own amounts."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from strided.system.devices import sent

_TRIES = 10  # as torchvision's RandomResizedCrop
_PLACES = 4  # of a bend in each direction
_WIDEST = 4 / 3  # of a box, width to height or height to width; as torchvision


@dataclass(frozen=True)
class Moves:
    """The moves of each of B images, in this order; all tensors are on the CPU.

    box: float (B, 4), top, left, height and width in pixels of the part that is stretched over the
    whole square. flipped: bool (B,), left and right exchanged. shift: int64 (B, 2), pixels down and
    to the right. angle: float (B,), degrees counter-clockwise about the centre. scale: float (B,),
    above 1 magnifies about the centre. bend, if any: float (B, 2, G, G), how far the places of a
    grid over the whole image are moved to the right and down, as a fraction of the side.
    """

    box: Tensor
    flipped: Tensor
    shift: Tensor
    angle: Tensor
    scale: Tensor
    bend: Tensor | None = None

    def matrix(self, side: int) -> Tensor:
        """float (B, 2, 3): where output pixels come from, as F.affine_grid takes it (x, then y)."""
        top, left, height, width = (self.box / side).unbind(1)
        down, right = (2 * self.shift / side).unbind(1)
        cos = self.angle.deg2rad().cos() / self.scale
        sin = self.angle.deg2rad().sin() / self.scale
        across = torch.where(self.flipped, -width, width)
        x = [across * cos, -across * sin, 2 * left + width - 1 - across * right]
        y = [height * sin, height * cos, 2 * top + height - 1 - height * down]
        return torch.stack([torch.stack(x, 1), torch.stack(y, 1)], 1)


def flip_and_shift(
    images: Tensor, flipped: Tensor, shift: Tensor, *, reflect: bool = False
) -> Tensor:
    """Flip and shift exactly: (B, C, S, S) of any dtype to the same, 0 from outside.

    With `reflect`, what lies beyond an edge is the image again, mirrored at its outermost pixels.
    """
    batch, channels, side, _ = images.shape
    most = int(shift.abs().max())
    if reflect and most:
        wide = reflected(images, most)
        moved = flip_and_shift(wide, flipped, shift)[..., most:-most, most:-most]
        return moved.contiguous()
    # The canvas holds the image and its mirror image side by side in black. Each row of the result
    # is one run of it: copying runs is many times faster than indexing single pixels.
    height, width = side + 2 * most, 2 * side + 3 * most
    canvas = images.new_zeros(batch, channels, height, width)
    inner = canvas[:, :, most : most + side]
    inner[..., most : most + side] = images
    inner[..., 2 * most + side : 2 * (most + side)] = images.flip(-1)
    down, right = shift.unbind(1)
    corner = (most - down) * width + most - right + flipped * (most + side)
    planes = torch.arange(batch * channels, device=images.device) * (height * width)
    rows = torch.arange(side, device=images.device) * width
    starts = planes.view(batch, channels, 1) + rows + sent(corner, images.device).view(batch, 1, 1)
    runs = canvas.as_strided((canvas.numel() - side + 1, side), (1, 1))
    return runs.index_select(0, starts.flatten()).view_as(images)


def reflected(images: Tensor, most: int) -> Tensor:
    """Reflect (B, C, S, S) of any dtype at its edges, by `most` pixels, up to S - 1."""
    side = images.shape[-1]
    places = torch.arange(-most, side + most, device=images.device).abs()
    places = (side - 1) - ((side - 1) - places).abs()
    return images.index_select(-2, places).index_select(-1, places)


def warp(
    images: Tensor, moves: Moves, *, outside: Literal["zeros", "border", "reflection"]
) -> Tensor:
    """Do all of moves in one bilinear sampling: (B, C, S, S) to float32 of the same shape.

    Outside there are zeros, the border again, or the image mirrored at its edge. A box inside the
    image needs the border: magnified, its outermost pixels reach half an input pixel beyond it.
    """
    batch, _, side, _ = images.shape
    matrix = sent(moves.matrix(side), images.device)
    centres = (2 * torch.arange(side, device=images.device) + 1) / side - 1
    grid = matrix.new_empty(batch, side, side, 2)
    for axis in (0, 1):  # as F.affine_grid, in a quarter of the time
        by_column, by_row, offset = matrix[:, axis].unsqueeze(-1).unbind(1)
        rows = (by_row * centres + offset).unsqueeze(2)
        torch.add((by_column * centres).unsqueeze(1), rows, out=grid[..., axis])
    if moves.bend is not None:
        grid += _displacements(sent(moves.bend, images.device), side)
    return F.grid_sample(images.float(), grid, padding_mode=outside, align_corners=False)


def _displacements(bend: Tensor, side: int) -> Tensor:
    """What bend adds to a sampling grid: float (B, S, S, 2), from -1 to 1 across the image."""
    smooth = F.interpolate(2 * bend, (side, side), mode="bicubic", align_corners=True)
    return smooth.permute(0, 2, 3, 1)


def shrunk(images: Tensor, side: int) -> Tensor:
    """Shrink (B, C, S, S) of any dtype to float32 (B, C, side, side), antialiased."""
    return F.interpolate(images.float(), (side, side), mode="bilinear", antialias=True)


def random_bends(num: int, reach: float, generator: torch.Generator) -> Tensor:
    """Draw bends for Moves; reach is their standard deviation."""
    return reach * torch.randn(num, 2, _PLACES, _PLACES, generator=generator)


def random_boxes(num: int, side: int, least: float, generator: torch.Generator) -> Tensor:
    """Draw boxes for Moves as torchvision's RandomResizedCrop does for a square image.

    A box has least..1 of the area, is 3/4 to 4/3 in shape and is rounded to pixels. The first of
    ten draws that fits is taken, else the whole image.
    """
    area = side**2 * (1 - (1 - least) * torch.rand(num, _TRIES, generator=generator))
    reach = 2 * torch.rand(num, _TRIES, generator=generator) - 1
    shape = torch.exp(math.log(_WIDEST) * reach)
    sizes = torch.stack([area / shape, area * shape]).sqrt().round()  # heights, widths
    fits = ((sizes >= 1) & (sizes <= side)).all(0)
    first = fits.int().argmax(1)
    size = torch.where(fits.any(1), sizes[:, torch.arange(num), first], side)
    corner = torch.rand(2, num, generator=generator).mul(side - size + 1).floor()
    return torch.cat([corner, size]).T
