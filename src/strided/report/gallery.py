"""Notable images of a test, and images of training as the network is given them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from strided.data import ImageDataModule
from strided.data.reading.files import as_text
from strided.evaluation.examples import Example
from strided.report.contact_sheet import Captioned, draw_sheet

SAMPLES = 8  # of the training images


def draw_examples(examples: Sequence[Example], file: Path) -> Path:
    """Draw the pictures on one sheet, each with its true and predicted class and probability."""
    captioned = [
        Captioned(
            example.picture,
            [f"true {example.label}", f"predicted {example.predicted} ({example.probability:.2f})"],
        )
        for example in examples
    ]
    return draw_sheet(captioned, file)


@dataclass(frozen=True)
class Sample:
    """A training image, uint8 (S, S, 3), and an augmented version of it, if any."""

    label: str
    picture: np.ndarray
    augmented: np.ndarray | None


def training_samples(data: ImageDataModule, augmented: bool) -> list[Sample]:
    """Some training images, spread over the whole split."""
    batch = next(iter(data.loader("train", data.spread("train", SAMPLES))))
    generator = torch.Generator().manual_seed(batch.seed)
    images = data.augmentation(batch.images, generator)
    images, _ = data.augmentation.mix(images, batch.labels, len(data.classes), generator)
    shown = images.round().clamp(0, 255).to(torch.uint8)
    return [
        Sample(as_text(data.classes[label]), _as_rgb(before), _as_rgb(after) if augmented else None)
        for label, before, after in zip(
            batch.labels.tolist(), batch.images.numpy(), shown.numpy(), strict=True
        )
    ]


def draw_samples(samples: Sequence[Sample], file: Path) -> Path:
    """Draw training images above their augmented versions."""
    captioned = [Captioned(sample.picture, [sample.label]) for sample in samples]
    captioned += [
        Captioned(sample.augmented, ["augmented"])
        for sample in samples
        if sample.augmented is not None
    ]
    return draw_sheet(captioned, file, len(samples))


def _as_rgb(picture: np.ndarray) -> np.ndarray:
    """(C, S, S) to (S, S, 3); grey is repeated three times."""
    return np.broadcast_to(picture, (3, *picture.shape[1:])).transpose(1, 2, 0)
