"""From pixels to the network's numbers, of zero mean and unit deviation, on the device."""

from functools import lru_cache

import torch
from torch import Tensor


def normalise(
    images: Tensor,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    memory_format: torch.memory_format | None = None,
) -> Tensor:
    """`Preprocessing.normalise` with this mean and std, of 0..1 pixels.

    A GPU reads each pixel once, and writes it in `memory_format`. A CPU keeps planes: it subtracts
    and divides them several times faster, the later copy to channels_last included.
    """
    if images.device.type == "cuda":
        return in_one_pass(images, mean, std, memory_format or torch.contiguous_format)
    means, stds = _per_channel(mean, images.device), _per_channel(std, images.device)
    # in place: allocating memory for each step takes twice as long on a CPU
    return images.to(torch.float32, copy=True).sub_(means).div_(stds)


def in_one_pass(
    images: Tensor,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    memory_format: torch.memory_format,
) -> Tensor:
    """`normalise` as one kernel, x / (255 std) - mean / std, which rounds a little differently."""
    factor, offset = _factor_and_offset(mean, std, images.device)
    out = torch.empty(
        images.shape, dtype=torch.float32, device=images.device, memory_format=memory_format
    )
    return torch.addcmul(offset, images, factor, out=out)


@lru_cache(maxsize=16)
def _factor_and_offset(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    """1 / (255 std) and -mean / std as float32 (C, 1, 1), copied to each device once."""
    means, stds = torch.tensor([mean, std], dtype=torch.float64).view(2, -1, 1, 1)
    return (1 / (255 * stds)).float().to(device), (-means / stds).float().to(device)


@lru_cache(maxsize=16)
def _per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Values of the 0..1 scale as (C, 1, 1) on the 0..255 scale, copied to each device once."""
    return torch.tensor(values, dtype=torch.float32, device=device).mul(255).view(-1, 1, 1)
