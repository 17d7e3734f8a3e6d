"""Random changes of whole batches of training images, on the device they are on."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
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
    takes the image's mean colour (Zhong et al. 2017, arXiv:1708.04896). rand_augment_ops: so many
    of RandAugment's operations, each of strength rand_augment_magnitude of 30 (Cubuk et al. 2020,
    arXiv:1909.13719). mixup, cutmix: alpha of the Beta(alpha, alpha) that says how much of a second
    image of the batch comes in, as a blend (Zhang et al. 2018, arXiv:1710.09412) or as a rectangle
    (Yun et al. 2019, arXiv:1905.04899); with both on, one of them for each batch.

    In this order: mirror and shift, RandAugment, turn and zoom, light, erasing, mixing.
    """

    horizontal_flip: bool = False
    crop_padding: float = 0.0
    rotation: float = 0.0
    zoom: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    erasing: float = 0.0
    rand_augment_ops: int = 0
    rand_augment_magnitude: int = 9
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        limits = {
            "crop_padding": 0.5,
            "rotation": 180.0,
            "zoom": 0.9,
            "brightness": 1.0,
            "contrast": 1.0,
            "erasing": 1.0,
            "rand_augment_ops": math.inf,
            "rand_augment_magnitude": 30,
            "mixup": math.inf,
            "cutmix": math.inf,
        }
        for key, most in limits.items():
            value = getattr(self, key)
            if not 0 <= value <= most or value == math.inf:
                bound = f" <= {most:g}" if most < math.inf else ""
                raise UserError(
                    f"augment.{key}={value}; expected 0 <= {key}{bound}."
                    f" Try augment.{key}=0 to switch it off"
                )

    @property
    def mixes(self) -> bool:
        """Whether `mix` makes probabilities of the labels."""
        return self.mixup > 0 or self.cutmix > 0

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """(B, C, S, S) of 0..255, uint8 or float, to the same shape; whole-pixel moves keep uint8,
        which RandAugment needs.

        The generator must be on the images' device.
        """
        if self.horizontal_flip or self.crop_padding:
            images = self._flip_and_crop(images, generator)
        if self.rand_augment_ops:
            images = self._rand_augment(images, generator)
        if self.rotation or self.zoom:
            images = self._rotate_and_zoom(images.float(), generator)
        if self.brightness or self.contrast:
            images = self._relight(images.float(), generator)
        if self.erasing:
            images = self._erase(images.float(), generator)
        return images

    def mix(
        self, images: Tensor, labels: Tensor, num_classes: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Mix each image with its neighbour in the batch, and the labels in the same proportion.

        Images (B, C, S, S) of 0..255 and labels int64 (B,) to float32 (B, K) whose rows sum to 1;
        both unchanged where mixing is off. The same for the same seed of the generator.
        """
        if not self.mixes:
            return images, labels
        from torchvision.transforms import v2

        with _drawing(generator.initial_seed() + 1):  # another stream than RandAugment's
            if self.mixup and (not self.cutmix or torch.rand(()) < 0.5):
                images = images.float()
                mixing = v2.MixUp(alpha=self.mixup, num_classes=num_classes)
            else:
                mixing = v2.CutMix(alpha=self.cutmix, num_classes=num_classes)
            mixed: tuple[Tensor, Tensor] = mixing(images, labels)
        return mixed

    def _rand_augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        from torchvision.transforms import v2

        change = v2.RandAugment(self.rand_augment_ops, self.rand_augment_magnitude)
        with _drawing(generator.initial_seed()):
            return torch.stack([change(image) for image in images])

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


@contextmanager
def _drawing(seed: int) -> Iterator[None]:
    """Within this torch's global CPU generator, which torchvision draws from, starts at `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed GPUs too
        yield


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
