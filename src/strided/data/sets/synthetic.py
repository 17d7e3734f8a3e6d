"""Generated stripes whose direction is the class: learnt in seconds, no files needed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from strided.data.datamodule import NO_FILES, ImageDataModule
from strided.data.preprocessing import check_at_least
from strided.data.source import Source, digest


@dataclass(frozen=True)
class Stripes:
    """Generates image `index` from these numbers alone."""

    num_classes: int
    side: int
    channels: int

    def __call__(self, index: int) -> Image.Image:
        generator = np.random.default_rng(index)
        angle = np.pi * (index % self.num_classes) / self.num_classes
        y, x = np.mgrid[: self.side, : self.side] * (2 * np.pi / self.side)
        waves, phase = generator.uniform(3, 4), generator.uniform(0, 2 * np.pi)
        wave = np.cos(waves * (x * np.cos(angle) + y * np.sin(angle)) + phase)
        colour = generator.uniform(40, 80, size=self.channels)
        noise = generator.normal(0, 20, size=(self.side, self.side, self.channels))
        pixels = (127.5 + wave[:, :, None] * colour + noise).clip(0, 255).astype(np.uint8)
        return Image.fromarray(pixels if self.channels == 3 else pixels[:, :, 0])


class Synthetic(ImageDataModule):
    """Class k of n has stripes at k * 180 / n degrees, of random width and place, in noise.

    Args:
        num_images: How many are generated, of all splits together.
        num_classes: How many directions the stripes have, 2 or more.
        side: Of the generated images, in pixels.
    """

    name = "synthetic"
    default_channels = 3
    unread = NO_FILES

    def __init__(
        self,
        *,
        num_images: int = 600,
        num_classes: int = 4,
        side: int = 32,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_at_least("num_classes", num_classes, 2)
        check_at_least("num_images", num_images, 3 * num_classes)
        check_at_least("side", side, 8)
        self.num_images = num_images
        self.num_classes = num_classes
        self.side = side

    def make_source(self) -> Source:
        """List the images; image i is generated from i alone when it is read."""
        return Source(
            classes=[f"stripes{k:02d}" for k in range(self.num_classes)],
            paths=[f"{index:05d}" for index in range(self.num_images)],
            labels=np.arange(self.num_images, dtype=np.int64) % self.num_classes,
            split=np.full(self.num_images, ""),
            read=Stripes(self.num_classes, self.side, self.channels),
            listing=digest(
                "synthetic", self.num_images, self.num_classes, self.side, self.channels
            ),
            native_size=self.side,
        )
