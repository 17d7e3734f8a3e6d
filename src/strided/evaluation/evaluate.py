"""Evaluate a classifier on a split: metrics with intervals, and a row per image."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from strided.config.keys import InferencePrecision
from strided.data import ImageDataModule
from strided.errors import UserError
from strided.evaluation.classifier import NOT_FINITE, Classifier
from strided.evaluation.intervals import wilson_interval
from strided.evaluation.metrics import classification_metrics, confusion_matrix
from strided.evaluation.overlap import Overlap
from strided.runs.predictions_csv import Row
from strided.system.devices import synchronise

log = logging.getLogger(__name__)

SEEN = "seen in training: left out by overlap=exclude"


@dataclass(frozen=True)
class Evaluation:
    """The result on `count` images; metrics have prefixed names, `confusion` is (K, K).

    `precision` is the one that the network ran in; the metrics are of its float32 outputs.

    `shared` of the split's images were seen in training, None if that is unknown. They are
    `excluded` from the metrics, or `without` has the metrics of the others, if there are any.
    """

    split: str
    metrics: dict[str, Any]
    count: int
    confusion: list[list[int]]
    rows: list[Row]
    precision: InferencePrecision
    shared: int | None = None
    excluded: bool = False
    without: dict[str, Any] | None = None

    def headline(self) -> str:
        """Accuracy with its interval, the loss, and how many images were seen in training."""
        return f"{_accuracy(self.metrics, self.split)}, {self.count} images{self._told()}"

    def _told(self) -> str:
        if self.shared is None:
            return ""
        if self.excluded:
            return f"; {self.shared} others, which were seen in training, are left out"
        if not self.shared:
            return ", none of them seen in training"
        told = f", {self.shared} of them seen in training; without these "
        if self.without is None:
            return f"{told}none are left"
        return f"{told}{_accuracy(self.without, self.split)}, {self.count - self.shared} images"

    def overlap(self) -> dict[str, Any] | None:
        """What results.json holds of `shared`, `excluded` and `without`; None if unknown."""
        if self.shared is None:
            return None
        return {"shared": self.shared, "excluded": self.excluded, "without": self.without}


def _accuracy(metrics: dict[str, Any], split: str) -> str:
    low, high = metrics[f"{split}/acc_ci95"]
    return (
        f"{split} accuracy {metrics[f'{split}/acc']:.4f} (95 % interval {low:.4f} to {high:.4f}), "
        f"loss {metrics[f'{split}/loss']:.4f}"
    )


def evaluate(
    classifier: Classifier,
    data: ImageDataModule,
    split: str,
    limit: int | float | None = None,
    overlap: Callable[[], Overlap | None] = lambda: None,
) -> Evaluation:
    """Run the classifier over a split of a data module that is set up.

    `<split>/loss` is the training loss in evaluation mode. Images that cannot be read, and images
    with outputs that are not finite, have a row with the reason and do not count in the metrics.
    `limit` is a number or a fraction of the batches, as trainer.limit_test_batches. `overlap` is
    asked once the images are read, since data.pipeline=streaming does not know them before. Raises
    UserError if no output is finite.
    """
    logits, labels = _logits(classifier, data, split, limit)
    found = overlap()
    seen = np.zeros(len(labels), dtype=bool) if found is None else found.seen[: len(labels)]
    excluded = found is not None and found.excluded
    reasons = [SEEN if excluded and is_seen else "" for is_seen in seen.tolist()]
    finite = logits.isfinite().all(1)
    _require_finite(finite if not excluded else finite[~torch.from_numpy(seen)], split)
    reasons = [why if ok else NOT_FINITE for why, ok in zip(reasons, finite.tolist(), strict=True)]
    rows = _rows(classifier, data, split, logits, labels, reasons)
    if limit is None:
        rows += [
            Row(path, classifier.classes[label], error=reason)
            for path, label, reason in data.unreadable(split)
        ]
    measured = torch.tensor([not reason for reason in reasons])
    unseen = measured & ~torch.from_numpy(seen)
    without = None
    if seen.any() and not excluded and unseen.any():
        without = _metrics(classifier, logits[unseen], labels[unseen], split)
    logits, labels = logits[measured], labels[measured]
    return Evaluation(
        split,
        _metrics(classifier, logits, labels, split),
        len(labels),
        confusion_matrix(logits.softmax(1).argmax(1), labels, len(classifier.classes)).tolist(),
        rows,
        classifier.precision,
        None if found is None else int(seen.sum()),
        excluded,
        without,
    )


def _require_finite(finite: Tensor, split: str) -> None:
    """Warn of images without finite outputs. Raises UserError if no other images are left."""
    if not finite.any():
        raise UserError(
            f"{NOT_FINITE}, and so for every other of {split}; expected a network that tells "
            "classes apart. Try a checkpoint from before the training failed"
        )
    if left_out := int((~finite).sum()):
        log.warning("%d images of %s are not measured: %s", left_out, split, NOT_FINITE)


def _rows(
    classifier: Classifier,
    data: ImageDataModule,
    split: str,
    logits: Tensor,
    labels: Tensor,
    reasons: Sequence[str],
) -> list[Row]:
    """A row for each readable image; one with a reason is not measured."""
    return [
        Row(
            path,
            classifier.classes[label],
            reason,
            None if reason else row,
            group=group,
            subgroups=subgroups,
        )
        for path, label, row, reason, (group, subgroups) in zip(
            data.paths(split),
            labels.tolist(),
            logits.softmax(1).tolist(),
            reasons,
            data.belongings(split),
            strict=False,
        )
    ]


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
    device, chosen = classifier.device, data.splits[split]
    if limit is not None:
        batches = -(-len(chosen) // data.batch_size)
        batches = limit if isinstance(limit, int) else max(1, int(batches * limit))
        chosen = chosen[: batches * data.batch_size]
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
        right += int((classifier.logits(batch.images).argmax(1) == batch.labels).sum())
        count += len(batch.labels)
    return right, count
