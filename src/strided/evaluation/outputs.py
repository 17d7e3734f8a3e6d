"""Run a classifier over images of a split, on the device without waits."""

import numpy as np
import torch
from torch import Tensor

from strided.config.keys import Config
from strided.data import ImageDataModule
from strided.evaluation.classifier import Classifier
from strided.system.devices import synchronise

MOST_IMAGES = 5000  # of validation, to calibrate and to measure the gap to training on


def most_validated(config: Config, data: ImageDataModule) -> int:
    """How many validation images are looked at after training; a quick run has limited them."""
    limit = config["trainer"].get("limit_val_batches")
    return min(MOST_IMAGES, limit * data.batch_size if isinstance(limit, int) else MOST_IMAGES)


def limited(data: ImageDataModule, split: str, limit: int | float | None) -> np.ndarray:
    """The indices of a split's images, or of those in so many batches, or in so large a part."""
    chosen: np.ndarray = data.splits[split]
    if limit is None:
        return chosen
    batches = -(-len(chosen) // data.batch_size)
    batches = limit if isinstance(limit, int) else max(1, int(batches * limit))
    return chosen[: batches * data.batch_size]


def outputs_of(
    classifier: Classifier, data: ImageDataModule, split: str, chosen: np.ndarray
) -> tuple[Tensor, Tensor]:
    """Return logits (N, K) and labels (N,) of the readable images among the `chosen` indices."""
    device = classifier.device
    # into one tensor each: small tensors between large freed ones would keep their memory too. A
    # GPU writes into pinned memory by itself, so that nothing waits before the end
    on_gpu = device.type == "cuda"
    logits = torch.empty(len(chosen), len(classifier.classes), pin_memory=on_gpu)
    labels = torch.empty(len(logits), dtype=torch.int64)
    count = 0
    for batch in classifier.loader(data, split, chosen):
        place = slice(count, count + len(batch.labels))
        logits[place].copy_(classifier.outputs(batch.images), non_blocking=on_gpu)
        labels[place] = batch.labels
        count = place.stop
    synchronise(device)
    return logits[:count], labels[:count]


def count_hits(
    classifier: Classifier, data: ImageDataModule, split: str, most: int
) -> tuple[int, int]:
    """Return the numbers of hits and of images, over at most `most` images of a split."""
    right = count = 0
    for batch in classifier.loader(data, split, data.spread(split, most)):
        right += int((predicted(classifier, batch.images) == batch.labels).sum())
        count += len(batch.labels)
    return right, count


def predicted(classifier: Classifier, pixels: Tensor) -> Tensor:
    """Return the most probable class (B,) for preprocessed pixels, as `Classifier.logits` has."""
    return classifier.probabilities(classifier.logits(pixels)).argmax(1)
