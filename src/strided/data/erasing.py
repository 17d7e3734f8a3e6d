"""Rectangles of whole batches that take the image's mean colour, each image by its own draw."""

import math

import torch
from torch import Tensor

from strided.system.devices import sent

_AREA = 0.02, 0.33  # of a random rectangle; Zhong et al. 2017, arXiv:1708.04896, section 4
_WIDEST = 3.3  # its sides, one over the other


def erase(images: Tensor, probability: float, generator: torch.Generator) -> None:
    """Erase a random rectangle of some images float (B, C, S, S), in place."""
    side = images.shape[-1]
    chosen = (torch.rand(len(images), generator=generator) < probability).nonzero().flatten()
    least, most = _AREA
    area = least + (most - least) * torch.rand(len(chosen), generator=generator)
    reach = math.log(_WIDEST) * (2 * torch.rand(len(chosen), generator=generator) - 1)
    shape = torch.exp(reach)
    rows = _spans((area * shape).sqrt() * side, side, generator)
    columns = _spans((area / shape).sqrt() * side, side, generator)
    _fill(images, chosen, rows, columns)


def cut_out(images: Tensor, fraction: float, generator: torch.Generator) -> None:
    """Erase a square of this fraction of the side in each image float (B, C, S, S), in place."""
    num, side = len(images), images.shape[-1]
    lengths = torch.full((num,), fraction * side)
    rows, columns = (_spans(lengths, side, generator) for _ in range(2))
    _fill(images, torch.arange(num), rows, columns)


def mean_colour(images: Tensor) -> Tensor:
    """Return the mean over the pixels, (B, C, 1, 1), the same with any number of threads.

    There are two steps because torch splits the sum of a whole tensor among its threads.
    """
    return images.mean(dim=3, keepdim=True).mean(dim=2, keepdim=True)


def _spans(lengths: Tensor, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw a place for each of N lengths: the first pixel and the one after the last, (N,) each."""
    lengths = lengths.round().clamp(1, side)
    start = (torch.rand(len(lengths), generator=generator) * (side - lengths + 1)).floor()
    return start, start + lengths


def _fill(
    images: Tensor, chosen: Tensor, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor]
) -> None:
    """Fill a rectangle of each of the `chosen` images (N,) with its mean colour, in place."""
    drawn = sent(torch.stack([chosen.float(), *rows, *columns]), images.device)
    where, top, bottom, left, right = drawn.unsqueeze(2)
    axis = torch.arange(images.shape[-1], device=images.device)
    inside_rows, inside_columns = (
        (axis >= top) & (axis < bottom),
        (axis >= left) & (axis < right),
    )
    mask = (inside_rows.unsqueeze(2) & inside_columns.unsqueeze(1)).unsqueeze(1)
    places = where.flatten().long()
    part = images[places]
    images[places] = torch.where(mask, mean_colour(part), part)
