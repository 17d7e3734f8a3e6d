"""Random changes of whole batches of training images, on the device they are on."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from strided.data.erasing import cut_out, erase, mean_colour
from strided.data.geometry import Moves, flip_and_shift, random_bends, random_boxes, warp
from strided.data.rand_augment import rand_augment
from strided.errors import UserError
from strided.system.devices import sent


@dataclass(frozen=True)
class BatchAugment:
    """Changes each image of a batch by its own random draw; everything is off by default.

    The order is crop, mirror, shift, turn, zoom and bend, RandAugment, light, noise, erasing,
    mixing. With both mixup and cutmix on, each batch gets one of them.

    Args:
        horizontal_flip: Mirror each image half of the time.
        flip: Which images are mirrored: a random half of each batch, or alternating, a random half
            of all images in the first epoch and the others in the next, in turn, so that two
            epochs show each image both ways (Jordan 2024, arXiv:2404.00498). Kept views of frozen
            layers are mirrored at random.
        border: What comes in from outside the image: black, or the image as in a mirror at its
            edge, reflect.
        crop_padding: Shift by up to this fraction of the side in each direction; 0: off.
        crop_scale: A box of at least this fraction of the area, 3/4 to 4/3 in shape, fills the
            image (Szegedy et al. 2015, arXiv:1409.4842); 1: off.
        rotation: Turn by up to this many degrees in each direction; 0: off.
        zoom: Scale by a factor in 1 - zoom to 1 + zoom; 0: off.
        brightness: Multiply by a factor in 1 - brightness to 1 + brightness; 0: off.
        contrast: Multiply the distance to the mean by a factor in 1 - contrast to 1 + contrast; 0:
            off.
        elastic: Bend the image by this fraction of the side, the standard deviation of
            displacements at 4 x 4 places, bicubic between them (Ronneberger et al. 2015,
            arXiv:1505.04597, section 3.1); 0: off.
        noise: Add Gaussian noise of a standard deviation up to this fraction of white; 0: off.
        erasing: Probability that a rectangle of 2 to 33 % of the area takes the image's mean colour
            (Zhong et al. 2017, arXiv:1708.04896); 0: off.
        cutout: A square of this fraction of the side, anywhere inside, takes the image's mean
            colour (DeVries & Taylor 2017, arXiv:1708.04552); 0: off.
        rand_augment_ops: RandAugment's operations on each image (Cubuk et al. 2020,
            arXiv:1909.13719); 0: off.
        rand_augment_magnitude: Strength of RandAugment's operations, 0 to 30.
        mixup: Blend pairs of images, the share of the second from Beta(mixup, mixup) (Zhang et al.
            2018, arXiv:1710.09412); 0: off.
        cutmix: Paste a rectangle of a second image, its share from Beta(cutmix, cutmix) (Yun et al.
            2019, arXiv:1905.04899); 0: off.
    """

    horizontal_flip: bool = False
    crop_padding: float = 0.0
    crop_scale: float = 1.0
    rotation: float = 0.0
    zoom: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    elastic: float = 0.0
    noise: float = 0.0
    erasing: float = 0.0
    rand_augment_ops: int = 0
    rand_augment_magnitude: int = 9
    mixup: float = 0.0
    cutmix: float = 0.0
    cutout: float = 0.0
    flip: Literal["random", "alternating"] = "random"
    border: Literal["black", "reflect"] = "black"

    def __post_init__(self) -> None:
        if not 0 < self.crop_scale <= 1:
            raise UserError(
                f"augment.crop_scale={self.crop_scale}; expected the least part of the area to"
                " keep, 0 < crop_scale <= 1. Try augment.crop_scale=1 to switch it off"
            )
        limits = {
            "crop_padding": 0.5,
            "rotation": 180.0,
            "zoom": 0.9,
            "brightness": 1.0,
            "contrast": 1.0,
            "elastic": 0.2,
            "noise": 1.0,
            "erasing": 1.0,
            "cutout": 1.0,
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
    def alternates(self) -> bool:
        """Whether the epoch decides which images are mirrored, where it is known."""
        return self.horizontal_flip and self.flip == "alternating"

    @property
    def mixes(self) -> bool:
        """Whether `mix` makes probabilities of the labels."""
        return self.mixup > 0 or self.cutmix > 0

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Augment (B, C, S, S) of 0..255, uint8 or float, on any device; the shape stays.

        The result is float32, with two exceptions. Moves of whole pixels alone keep the type, and
        RandAugment gives uint8. The generator is a CPU's: a seed draws the same on any device.
        """
        given = images
        if self.horizontal_flip or self.crop_padding or self._resamples:
            images = self._move(images, generator)
        if self.rand_augment_ops:
            images = self._rand_augment(images, generator)
        if any((self.brightness, self.contrast, self.noise, self.erasing, self.cutout)):
            # changed in place: memory for another copy costs more than the arithmetic
            images = images.to(torch.float32, copy=images is given)
            self._relight(images, generator)
            self._add_noise(images, generator)
            if self.erasing:
                erase(images, self.erasing, generator)
            if self.cutout:
                cut_out(images, self.cutout, generator)
        return images

    def with_mirrored(
        self, images: Tensor, mirrored: Tensor | None, generator: torch.Generator
    ) -> Tensor:
        """Call this with the images that are `mirrored`, bool (B,) beside them; None: at random."""
        if mirrored is None:
            return self(images, generator)
        images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(-1), images)
        return replace(self, horizontal_flip=False)(images, generator)

    def mix(
        self, images: Tensor, labels: Tensor, num_classes: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Mix each image with its neighbour in the batch, and the labels in the same proportion.

        Takes images (B, C, S, S) of 0..255 and labels int64 (B,); the labels become float32 (B, K)
        whose rows sum to 1. Both stay unchanged if mixing is off. The same seed gives the same mix.
        """
        if not self.mixes:
            return images, labels
        from torchvision.transforms import v2

        mixup, cutmix = float(self.mixup), float(self.cutmix)  # torch has no Beta of an integer
        with _seeded(generator.initial_seed() + 1):  # a stream other than the generator's
            if mixup and (not cutmix or torch.rand(()) < 0.5):
                images = images.float()
                mixing = v2.MixUp(alpha=mixup, num_classes=num_classes)
            else:
                mixing = v2.CutMix(alpha=cutmix, num_classes=num_classes)
            mixed: tuple[Tensor, Tensor] = mixing(images, labels)
        return mixed

    @property
    def _resamples(self) -> bool:
        return self.crop_scale < 1 or self.rotation > 0 or self.zoom > 0 or self.elastic > 0

    def _move(self, images: Tensor, generator: torch.Generator) -> Tensor:
        num, _, side, _ = images.shape
        padding = round(self.crop_padding * side)
        flipped = torch.rand(num, generator=generator) < (0.5 if self.horizontal_flip else 0.0)
        shift = torch.randint(-padding, padding + 1, (num, 2), generator=generator)
        if not self._resamples:
            return flip_and_shift(images, flipped, shift, reflect=self.border == "reflect")
        box = random_boxes(num, side, self.crop_scale, generator)
        angle = _uniform(num, self.rotation, generator)
        scale = 1 + _uniform(num, self.zoom, generator)
        bend = random_bends(num, self.elastic, generator) if self.elastic else None
        inside = not (padding or self.rotation or self.zoom or self.elastic)
        moves = Moves(box, flipped, shift, angle, scale, bend)
        if inside:
            return warp(images, moves, outside="border")
        return warp(images, moves, outside="reflection" if self.border == "reflect" else "zeros")

    def _rand_augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        if images.is_floating_point():
            images = images.round().to(torch.uint8)
        with _seeded(generator.initial_seed() + 2):  # a stream other than the generator's
            return rand_augment(images, self.rand_augment_ops, self.rand_augment_magnitude)

    def _relight(self, images: Tensor, generator: torch.Generator) -> None:
        """Change contrast about the image's mean, then brightness, as one a * x + b."""
        if not (self.brightness or self.contrast):
            return
        reach = torch.tensor([self.contrast, self.brightness]).view(2, 1, 1, 1, 1)
        draws = torch.rand(2, len(images), 1, 1, 1, generator=generator)
        contrast, brightness = sent(1 + reach * (2 * draws - 1), images.device)
        mean = mean_colour(images).mean(dim=1, keepdim=True)
        images.mul_(contrast * brightness).add_((1 - contrast) * brightness * mean).clamp_(0, 255)

    def _add_noise(self, images: Tensor, generator: torch.Generator) -> None:
        """Add one field of noise to all images, shifted around and of another strength for each.

        A field for each image, drawn on the CPU, would take longer than a GPU's training step.
        """
        if not self.noise:
            return
        num, channels, side, _ = images.shape
        field = torch.randn(channels, side, side, generator=generator)
        strength = 255 * self.noise * torch.rand(num, 1, 1, 1, generator=generator)
        shift = torch.randint(side, (num, 2, 1), generator=generator)
        rows, columns = sent((torch.arange(side) + shift) % side, images.device).unbind(1)
        noise = sent(field, images.device)[:, rows.unsqueeze(2), columns.unsqueeze(1)]
        images.addcmul_(noise.transpose(0, 1), sent(strength, images.device)).clamp_(0, 255)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch's global CPU generator, which torchvision draws from, inside the block."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed GPUs too
        yield


def _uniform(num: int, reach: float, generator: torch.Generator) -> Tensor:
    """Draw numbers in -reach .. reach, (num,)."""
    return reach * (2 * torch.rand(num, generator=generator) - 1)
