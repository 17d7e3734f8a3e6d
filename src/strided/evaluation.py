"""Evaluate a classifier on a split: metrics with intervals, and a row per image."""

import itertools
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from strided.config.schema import check
from strided.config.targets import build
from strided.data import ImageDataModule
from strided.errors import UserError
from strided.metrics import classification_metrics, confusion_matrix, wilson_interval
from strided.prediction import Classifier
from strided.runs.predictions_csv import Row, write_predictions

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """What a classifier made of `count` images; metrics are prefixed, `confusion` is (K, K)."""

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

    `<split>/loss` is the training loss in evaluation mode; unreadable images that were skipped
    have a row with the reason, and no part in the metrics. `limit` is a number of batches, or a
    fraction of them, as trainer.limit_test_batches.
    """
    logits, labels = _logits(classifier, data, split, limit)
    probabilities = logits.softmax(1)
    # on the CPU in float32, whatever the training precision was
    loss = classifier.task.criterion.cpu()(logits, labels).item()
    metrics = classification_metrics(probabilities, labels, classifier.classes)
    named: dict[str, Any] = {f"{split}/loss": loss}
    for name, value in metrics.items():
        named[f"{split}/{name}"] = value
        if name == "acc":
            named[f"{split}/acc_ci95"] = wilson_interval(float(value or 0.0), len(labels))
    confusion = confusion_matrix(probabilities.argmax(1), labels, len(classifier.classes))
    rows = [
        Row(path, classifier.classes[label], probabilities=row)
        for path, label, row in zip(
            data.paths(split), labels.tolist(), probabilities.tolist(), strict=False
        )
    ]
    if limit is None:
        rows += [
            Row(path, classifier.classes[label], error=reason)
            for path, label, reason in data.unreadable(split)
        ]
    return Evaluation(split, named, len(labels), confusion.tolist(), rows)


def _logits(
    classifier: Classifier, data: ImageDataModule, split: str, limit: int | float | None
) -> tuple[Tensor, Tensor]:
    loader = data.loader(split)
    batches = len(loader)
    if limit is not None:
        batches = limit if isinstance(limit, int) else max(1, int(batches * limit))
    # into one tensor each: small ones, kept between large ones that are freed, would keep those too
    logits = torch.empty(len(data.splits[split]), len(classifier.classes))
    labels = torch.empty(len(logits), dtype=torch.int64)
    count = 0
    for batch in itertools.islice(loader, batches):
        place = slice(count, count + len(batch.labels))
        logits[place], labels[place] = classifier.logits(batch.images), batch.labels
        count = place.stop
    return logits[:count], labels[:count]


def hits(classifier: Classifier, data: ImageDataModule, split: str, most: int) -> tuple[int, int]:
    """How many of at most so many images of a split are classified rightly, and of how many."""
    right = count = 0
    for batch in data.loader(split, data.spread(split, most)):
        right += int((classifier.logits(batch.images).argmax(1) == batch.labels).sum())
        count += len(batch.labels)
    return right, count


def require_split(data: ImageDataModule, split: str) -> None:
    """Raise UserError unless the data set has this split."""
    if split not in data.splits:
        raise UserError(
            f"split={split}, but {data.name} has only {', '.join(data.splits)}. "
            "Try split=val, or data=<a data set with a test split>"
        )


def match_classes(classifier: Classifier, data: ImageDataModule) -> None:
    """Raise UserError unless the data set's classes are the classifier's, in that order."""
    if data.classes == classifier.classes:
        return
    missing = sorted(set(classifier.classes) - set(data.classes))
    foreign = sorted(set(data.classes) - set(classifier.classes))
    difference = f"only the checkpoint knows {missing}, only the data {foreign}"
    if not missing and not foreign:
        difference = f"the same names in another order: {data.classes} in the data"
    raise UserError(
        f"the classes of {data.name} are not those of the checkpoint: {difference}. "
        "Expected the same classes. Try data=<the data set it was trained on>"
    )


def data_of(classifier: Classifier, typed: dict[str, Any] | None) -> ImageDataModule:
    """Build the data to evaluate on: that of the checkpoint, with what was typed on top.

    Raises UserError where that would split the training data anew: images that were trained on
    would be measured.
    """
    trained_on = classifier.task.hparams["data"]
    node = typed if typed and "_target_" in typed else {**trained_on, **(typed or {})}
    check({"data": node})
    data: ImageDataModule = build(node, "data")
    if node["_target_"] != trained_on["_target_"]:
        return data
    before: ImageDataModule = build(trained_on, "data")
    if data.root.resolve() == before.root.resolve():
        keys = ("split_seed", "val_fraction", "test_fraction", "split_column", "group_column")
        for key in keys:  # the columns only where the data are a table
            now, known = (getattr(module, key, None) for module in (data, before))
            if now != known:
                now, known = ("null" if value is None else value for value in (now, known))
                raise UserError(
                    f"data.{key}={now} would split the training data anew, and "
                    f"measure images that were trained on; expected the split of the training. "
                    f"Try data.{key}={known}"
                )
    return data


def require_known_split(classifier: Classifier, data: ImageDataModule, split: str) -> None:
    """Raise UserError if a split carved from the training's data is not the one it had then.

    The same data are those of the same folder, or anywhere with the same content. A split that the
    data set itself gives is taken at its word.
    """
    known = classifier.task.trained_on
    if not known:
        log.warning("an older checkpoint: it does not say which images it was trained on")
        return
    here = {data.fingerprint, data.listing_fingerprint}  # of which streaming knows the latter only
    same_content = not here.isdisjoint((known["fingerprint"], known.get("listing")))
    same_data = same_content or _same_place(classifier, data)
    carved = split not in data.source.split
    if same_data and carved and data.split_hashes[split] != known["split_hashes"].get(split):
        raise UserError(
            f"split={split} of {data.name} has other images than at the training: files were "
            "added, removed or renamed, or it is split anew, so that images that were trained on "
            "would be measured; expected the split of the training. Try restoring them, or "
            "data.root=<a folder of new images>"
        )


def _same_place(classifier: Classifier, data: ImageDataModule) -> bool:
    trained_on = classifier.task.hparams["data"]
    if trained_on["_target_"].rpartition(".")[2] != type(data).__name__:
        return False
    before: ImageDataModule = build(trained_on, "data")
    return data.root.resolve() == before.root.resolve()


def evaluate_checkpoint(config: dict[str, Any], folder: Path, results: dict[str, Any]) -> None:
    """The eval verb: measure `checkpoint` on a split, write metrics and predictions."""
    split = config["split"]
    classifier = Classifier.load(config["checkpoint"], device=config["accelerator"])
    data = data_of(classifier, config.get("data"))
    match_classes(classifier, data)
    data.use(classifier.preprocessing)
    data.setup()
    require_split(data, split)
    require_known_split(classifier, data, split)
    evaluation = evaluate(classifier, data, split)
    write_predictions(folder / "predictions.csv", evaluation.rows, classifier.classes)
    results.update(
        evaluation.metrics,
        confusion=evaluation.confusion,
        classes=classifier.classes,
        splits={split: evaluation.count},
        split_hash=data.split_hash,
        data_fingerprint=data.fingerprint,
        skipped=len(data.skipped),
    )
    log.info("%s", evaluation.headline())
