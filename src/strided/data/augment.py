"""Random changes of whole batches of training images, on the device they are on."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from strided.errors import UserError


@dataclass(frozen=True)
class BatchAugment:
    """Each image of a batch changed by its own draw; everything is off by default.

    horizontal_flip: with probability 1/2. crop_padding: shift by up to this fraction of the side,
    black coming in. rotation: up to this many degrees either way. zoom, brightness, contrast: a
    factor in 1 - value .. 1 + value. erasing: probability that a rectangle of 2 to 33 % of the area
    takes the image's mean colour (Zhong et al. 2017, arXiv:1708.04896).
    """

    horizontal_flip: bool = False
    crop_padding: float = 0.0
    rotation: float = 0.0
    zoom: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    erasing: float = 0.0

    def __post_init__(self) -> None:
        limits = {
            "crop_padding": 0.5,
            "rotation": 180.0,
            "zoom": 0.9,
            "brightness": 1.0,
        }
        for key, most in (limits | {"contrast": 1.0, "erasing": 1.0}).items():
            value = getattr(self, key)
            if not 0 <= value <= most:
                raise UserError(
                    f"augment.{key}={value}; expected 0 <= {key} <= {most:g}."
                    f" Try augment.{key}=0 to switch it off"
                )

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """(B, C, S, S) of 0..255, uint8 or float, to the same shape; whole-pixel moves keep uint8.

        The generator must be on the images' device.
        """
        if self.horizontal_flip or self.crop_padding:
            images = self._flip_and_crop(images, generator)
        if self.rotation or self.zoom:
            images = self._rotate_and_zoom(images.float(), generator)
        if self.brightness or self.contrast:
            images = self._relight(images.float(), generator)
        if self.erasing:
            images = self._erase(images.float(), generator)
        return images

    def _flip_and_crop(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """One gather for both: which row and column each output pixel comes from."""
        batch, channels, side, _ = images.shape
        padding = round(self.crop_padding * side)
        axis = torch.arange(side, device=images.device)
        flipped = _uniform(images, generator) < (0.5 if self.horizontal_flip else 0.0)
        columns = torch.where(flipped.view(-1, 1), side - 1 - axis, axis)
        shift = (2, batch, 1)
        down, right = torch.randint(
            2 * padding + 1, shift, generator=generator, device=images.device
        )
        padded = F.pad(images, [padding] * 4)
        index = torch.arange(max(batch, channels), device=images.device)
        return padded[
            index[:batch].view(-1, 1, 1, 1),
            index[:channels].view(1, -1, 1, 1),
            (axis + down).view(batch, 1, side, 1),
            (columns + right).view(batch, 1, 1, side),
        ]

    def _rotate_and_zoom(self, images: Tensor, generator: torch.Generator) -> Tensor:
        angle = _factor(images, generator, self.rotation, centre=0.0).deg2rad()
        scale = _factor(images, generator, self.zoom)
        cos, sin, zero = (
            angle.cos() / scale,
            angle.sin() / scale,
            torch.zeros_like(angle),
        )
        rows = [torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)]
        grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, align_corners=False)

    def _relight(self, images: Tensor, generator: torch.Generator) -> Tensor:
        contrast = _factor(images, generator, self.contrast).view(-1, 1, 1, 1)
        brightness = _factor(images, generator, self.brightness).view(-1, 1, 1, 1)
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        return (((images - mean) * contrast + mean) * brightness).clamp(0, 255)

    def _erase(self, images: Tensor, generator: torch.Generator) -> Tensor:
        side = images.shape[-1]
        area = 0.02 + 0.31 * _uniform(images, generator)
        aspect = torch.exp(_factor(images, generator, 1.2, centre=0.0))  # 1.2: ln of 3.3
        height = (area * aspect).sqrt().clamp(max=1) * side
        width = (area / aspect).sqrt().clamp(max=1) * side
        inside = (
            _span(images, generator, height)[:, :, None] & _span(images, generator, width)[:, None]
        )
        chosen = _uniform(images, generator) < self.erasing
        mask = (inside & chosen.view(-1, 1, 1)).unsqueeze(1)
        return torch.where(mask, images.mean(dim=(2, 3), keepdim=True), images)


def _uniform(images: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(len(images), generator=generator, device=images.device)


def _factor(
    images: Tensor, generator: torch.Generator, reach: float, centre: float = 1.0
) -> Tensor:
    """One number in centre - reach .. centre + reach for each image."""
    return centre + reach * (2 * _uniform(images, generator) - 1)


def _span(images: Tensor, generator: torch.Generator, length: Tensor) -> Tensor:
    """(B, S) marking, in each image, a run of `length` pixels somewhere along the side."""
    side = images.shape[-1]
    length = length.round().clamp(1, side)
    start = (_uniform(images, generator) * (side - length + 1)).floor()
    axis = torch.arange(side, device=images.device)
    return (axis >= start[:, None]) & (axis < (start + length)[:, None])
