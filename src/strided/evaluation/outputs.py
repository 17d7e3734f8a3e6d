"""Run a classifier over images of a split, on the device without waits."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from strided.config.keys import Config
from strided.data import ImageDataModule
from strided.data.loader import Batch
from strided.evaluation.classifier import Classifier
from strided.system.devices import synchronise

MOST_IMAGES = 5000  # of validation, to calibrate and to measure the gap to training on


def most_validated(config: Config, data: ImageDataModule) -> int:
    """How many validation images are looked at after training; a quick run has limited them."""
    limit = config["trainer"].get("limit_val_batches")
    return min(MOST_IMAGES, limit * data.batch_size if isinstance(limit, int) else MOST_IMAGES)


class Watch(Protocol):
    """Is shown what the linear `layer` is given for each image, in the pass that gives logits."""

    layer: str

    def see(self, features: np.ndarray, pixels: np.ndarray) -> None:
        """Features (B, F) and the network's uint8 pixels (B, C, S, S) of the next images."""


def outputs_of(
    classifier: Classifier,
    data: ImageDataModule,
    split: str,
    chosen: np.ndarray,
    watch: Watch | None = None,
) -> tuple[Tensor, Tensor]:
    """Return logits (N, K) and labels (N,) of the readable images among the `chosen` indices."""
    device = classifier.device
    # into one tensor each: small tensors between large freed ones would keep their memory too. A
    # GPU writes into pinned memory by itself, so that nothing waits before the end
    on_gpu = device.type == "cuda"
    logits = torch.empty(len(chosen), len(classifier.classes), pin_memory=on_gpu)
    labels = torch.empty(len(logits), dtype=torch.int64)
    count = 0
    for batch, pixels in _with_pixels(classifier, data, split, chosen, watch):
        place = slice(count, count + len(batch.labels))
        if watch is None:
            outputs = classifier.outputs(batch.images)
        else:
            outputs, features = classifier.outputs_and_features(batch.images, watch.layer)
            watch.see(features.cpu().numpy(), pixels.numpy())
        logits[place].copy_(outputs, non_blocking=on_gpu)
        labels[place] = batch.labels
        count = place.stop
    synchronise(device)
    return logits[:count], labels[:count]


def _with_pixels(
    classifier: Classifier,
    data: ImageDataModule,
    split: str,
    chosen: np.ndarray,
    watch: Watch | None,
) -> Iterator[tuple[Batch, Tensor]]:
    """The batches of a classifier's loader, with their pixels even if it reads kept features."""
    batches = classifier.loader(data, split, chosen)
    if watch is None or classifier.reads_pixels:
        yield from ((batch, batch.images) for batch in batches)
    else:
        pictures = data.loader(split, chosen)
        yield from ((b, p.images) for b, p in zip(batches, pictures, strict=True))


def count_hits(
    classifier: Classifier, data: ImageDataModule, split: str, most: int
) -> tuple[int, int]:
    """Return the numbers of hits and of images, over at most `most` images of a split.

    They are the network's own: a calibration that ranks classes anew has seen some of the images.
    """
    right = count = 0
    for batch in classifier.loader(data, split, data.spread(split, most)):
        right += int((classifier.logits(batch.images).argmax(1) == batch.labels).sum())
        count += len(batch.labels)
    return right, count


def predicted(classifier: Classifier, pixels: Tensor) -> Tensor:
    """Return the most probable class (B,) for preprocessed pixels, as `Classifier.logits` has."""
    return classifier.probabilities(classifier.logits(pixels)).argmax(1)
