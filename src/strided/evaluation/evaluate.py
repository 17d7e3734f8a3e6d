"""Evaluate a classifier on a split: metrics with intervals, and a row per image."""

import itertools
import logging
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from strided.data import ImageDataModule
from strided.errors import UserError
from strided.evaluation.classifier import NOT_FINITE, Classifier
from strided.evaluation.intervals import wilson_interval
from strided.evaluation.metrics import classification_metrics, confusion_matrix
from strided.runs.predictions_csv import Row

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """The result on `count` images; metrics have prefixed names, `confusion` is (K, K)."""

    split: str
    metrics: dict[str, Any]
    count: int
    confusion: list[list[int]]
    rows: list[Row]

    def headline(self) -> str:
        """Accuracy with its interval, and the loss."""
        low, high = self.metrics[f"{self.split}/acc_ci95"]
        return (
            f"{self.split} accuracy {self.metrics[f'{self.split}/acc']:.4f} "
            f"(95 % interval {low:.4f} to {high:.4f}), "
            f"loss {self.metrics[f'{self.split}/loss']:.4f}, {self.count} images"
        )


def evaluate(
    classifier: Classifier, data: ImageDataModule, split: str, limit: int | float | None = None
) -> Evaluation:
    """Run the classifier over a split of a data module that is set up.

    `<split>/loss` is the training loss in evaluation mode. Images that cannot be read, and images
    with outputs that are not finite, have a row with the reason and do not count in the metrics.
    `limit` is a number or a fraction of the batches, as trainer.limit_test_batches. Raises
    UserError if no output is finite.
    """
    all_logits, all_labels = _logits(classifier, data, split, limit)
    finite = all_logits.isfinite().all(1)
    if not finite.any():
        raise UserError(
            f"{NOT_FINITE}, and so for every other of {split}; expected a network that tells "
            "classes apart. Try a checkpoint from before the training failed"
        )
    if left_out := int((~finite).sum()):
        log.warning("%d images of %s are not measured: %s", left_out, split, NOT_FINITE)
    rows = [
        Row(path, classifier.classes[label], probabilities=row)
        if is_finite
        else Row(path, classifier.classes[label], error=NOT_FINITE)
        for path, label, row, is_finite in zip(
            data.paths(split),
            all_labels.tolist(),
            all_logits.softmax(1).tolist(),
            finite.tolist(),
            strict=False,
        )
    ]
    if limit is None:
        rows += [
            Row(path, classifier.classes[label], error=reason)
            for path, label, reason in data.unreadable(split)
        ]
    logits, labels = all_logits[finite], all_labels[finite]
    confusion = confusion_matrix(logits.softmax(1).argmax(1), labels, len(classifier.classes))
    metrics = _metrics(classifier, logits, labels, split)
    return Evaluation(split, metrics, len(labels), confusion.tolist(), rows)


def _metrics(classifier: Classifier, logits: Tensor, labels: Tensor, split: str) -> dict[str, Any]:
    # on the CPU in float32, whatever the training precision was
    loss = classifier.task.criterion.cpu()(logits, labels).item()
    named: dict[str, Any] = {f"{split}/loss": loss}
    metrics = classification_metrics(logits.softmax(1), labels, classifier.classes)
    for name, value in metrics.items():
        named[f"{split}/{name}"] = value
        if name == "acc":
            named[f"{split}/acc_ci95"] = wilson_interval(float(value or 0.0), len(labels))
    return named


def _logits(
    classifier: Classifier, data: ImageDataModule, split: str, limit: int | float | None
) -> tuple[Tensor, Tensor]:
    loader = data.loader(split)
    batches = len(loader)
    if limit is not None:
        batches = limit if isinstance(limit, int) else max(1, int(batches * limit))
    # into one tensor each: small tensors between large freed ones would keep their memory too
    logits = torch.empty(len(data.splits[split]), len(classifier.classes))
    labels = torch.empty(len(logits), dtype=torch.int64)
    count = 0
    for batch in itertools.islice(loader, batches):
        place = slice(count, count + len(batch.labels))
        logits[place], labels[place] = classifier.logits(batch.images), batch.labels
        count = place.stop
    return logits[:count], labels[:count]


def count_hits(
    classifier: Classifier, data: ImageDataModule, split: str, most: int
) -> tuple[int, int]:
    """Return the numbers of hits and of images, over at most `most` images of a split."""
    right = count = 0
    for batch in data.loader(split, data.spread(split, most)):
        right += int((classifier.logits(batch.images).argmax(1) == batch.labels).sum())
        count += len(batch.labels)
    return right, count
