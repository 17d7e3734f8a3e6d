"""Evaluate a classifier on a split: metrics with intervals, and a row per image."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from strided.config.keys import InferencePrecision, Views
from strided.data import ImageDataModule
from strided.decision.calibration import NOT_FINITE
from strided.decision.decision import Decided, Decision
from strided.decision.gate import Gated
from strided.errors import UserError
from strided.evaluation.at_operating_point import at_operating_point
from strided.evaluation.calibration import coverage_of, errors_of, floors_of, reliability
from strided.evaluation.classifier import Classifier, decide
from strided.evaluation.evaluation import Evaluation
from strided.evaluation.gating import gated_outputs, refusals_of
from strided.evaluation.intervals import wilson_interval
from strided.evaluation.metric_intervals import named_intervals
from strided.evaluation.metrics import classification_metrics, confusion_matrix
from strided.evaluation.overlap import Overlap
from strided.evaluation.subgroups import Parts, by_subgroup
from strided.runs.predictions_csv import Row

log = logging.getLogger(__name__)

SEEN = "seen in training: left out by overlap=exclude"


class Judge(Protocol):
    """What an evaluation needs beside logits: a Classifier, or several that answer as one."""

    classes: list[str]
    decision: Decision | None
    precision: InferencePrecision
    criterion: nn.Module

    @property
    def views(self) -> Views | None:
        """Of an image, whose answers are averaged; None: networks of several."""


def evaluate(
    classifier: Classifier,
    data: ImageDataModule,
    split: str,
    overlap: Callable[[], Overlap | None] = lambda: None,
    *,
    whole: bool = True,
) -> Evaluation:
    """Run the classifier over a split of a data module that is set up.

    `<split>/loss` is the training loss in evaluation mode. Images that cannot be read, and images
    with outputs that are not finite, have a row with the reason and do not count in the metrics.
    `whole`: the split was not cut short by trainer.limit_test_batches. `overlap` is asked once the
    images are read, since data.pipeline=streaming does not know them before. Raises UserError if no
    output is finite.
    """
    logits, labels, gated = gated_outputs(classifier, data, split, data.splits[split])
    return evaluation_of(classifier, data, split, logits, labels, overlap(), gated, whole=whole)


def evaluation_of(
    classifier: Judge,
    data: ImageDataModule,
    split: str,
    logits: Tensor,
    labels: Tensor,
    found: Overlap | None = None,
    gated: Gated | None = None,
    *,
    whole: bool = True,
) -> Evaluation:
    """Measure logits (N, K) of the first N readable images of a split, as `evaluate` does.

    Images that the gate refuses do not count. Raises UserError if no others are left.

    `whole`: these are all, so that the unreadable ones get rows as well.
    """
    seen = np.zeros(len(labels), dtype=bool) if found is None else found.seen[: len(labels)]
    excluded = found is not None and found.excluded
    reasons = [SEEN if excluded and is_seen else "" for is_seen in seen.tolist()]
    finite = logits.isfinite().all(1)
    _require_finite(finite if not excluded else finite[~torch.from_numpy(seen)], split)
    reasons = [why if ok else NOT_FINITE for why, ok in zip(reasons, finite.tolist(), strict=True)]
    decided = decide(classifier.decision, logits.where(finite[:, None], 0.0), gated)
    rows = _rows(classifier, data, split, decided, labels, reasons)
    refusals = refusals_of(rows)
    measured = np.array([not row.error and not row.refused for row in rows], dtype=bool)
    if not measured.any():
        raise UserError(
            f"the gate refuses every image of {split}; expected some of the kind that the network "
            "was trained on. Try src/predict.py, whose predictions.csv says why"
        )
    if whole:
        rows += [
            Row(path, classifier.classes[label], error=reason)
            for path, label, reason in data.unreadable(split)
        ]
    unseen = measured & ~seen
    without = None
    if seen.any() and not excluded and unseen.any():
        without = _metrics(classifier, logits[unseen], decided.at(unseen), labels[unseen], split)
    logits, labels, decided = logits[measured], labels[measured], decided.at(measured)
    own = Parts.of(rows[place] for place in np.flatnonzero(measured))
    metrics = _metrics(classifier, logits, decided, labels, split)
    return Evaluation(
        split,
        metrics | intervals_of(classifier, decided, labels, own, split),
        len(labels),
        confusion_of(decided, labels),
        rows,
        classifier.precision,
        None if found is None else int(seen.sum()),
        excluded,
        without,
        *_judged(classifier, logits, decided, labels),
        own.num_groups,
        by_subgroup(decided.probabilities, labels.numpy(), classifier.classes, own),
        refusals,
    )


def intervals_of(
    classifier: Judge, decided: Decided, labels: Tensor, parts: Parts, split: str
) -> dict[str, Any]:
    """The intervals of all metrics but acc, and each class at its operating point."""
    given = (decided.probabilities, labels.numpy(), classifier.classes, parts.groups)
    found: dict[str, Any] = dict(named_intervals(*given))
    if classifier.decision is not None and classifier.decision.operating_point is not None:
        found |= at_operating_point(classifier.decision.operating_point, *given)
    return {f"{split}/{name}": value for name, value in found.items()}


def confusion_of(decided: Decided, labels: Tensor) -> list[list[int]]:
    """Counts (K, K): a row for each true class."""
    predicted = torch.from_numpy(decided.probabilities.argmax(1))
    classes = decided.probabilities.shape[1]
    found: list[list[int]] = confusion_matrix(predicted, labels, classes).tolist()
    return found


def _judged(
    classifier: Judge, logits: Tensor, decided: Decided, labels: Tensor
) -> tuple[dict[str, Any], dict[str, Any] | None, dict[str, list[Mapping[str, Any]]]]:
    """What an Evaluation has of the probabilities and the sets."""
    known, after = labels.numpy(), decided.probabilities
    calibration: dict[str, Any] = {"images": len(known), "after": errors_of(after, known)}
    calibration["floor"] = floors_of(after)
    bins = {"after": reliability(after, known)}
    if is_calibrated(classifier.decision):
        before = logits.softmax(1).double().numpy()
        calibration["before"] = errors_of(before, known)
        bins["before"] = reliability(before, known)
    sets = None
    if decided.sets is not None:
        sets = coverage_of(decided.sets, known, classifier.classes)
    return calibration, sets, bins


def is_calibrated(decision: Decision | None) -> bool:
    """Whether probabilities differ from those of the network."""
    return decision is not None and decision.calibration.method != "none"


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
    classifier: Judge,
    data: ImageDataModule,
    split: str,
    decided: Decided,
    labels: Tensor,
    reasons: Sequence[str],
) -> list[Row]:
    """A row for each readable image; one with a reason is not measured."""
    judged = classifier.decision is not None
    return [
        Row(
            path,
            classifier.classes[label],
            reason,
            None if reason else row,
            group=group,
            subgroups=subgroups,
            **(decided.said(place, classifier.classes) if judged and not reason else {}),
        )
        for place, (path, label, row, reason, (group, subgroups)) in enumerate(
            zip(
                data.paths(split),
                labels.tolist(),
                decided.probabilities.tolist(),
                reasons,
                data.belongings(split),
                strict=False,
            )
        )
    ]


def _metrics(
    classifier: Judge, logits: Tensor, decided: Decided, labels: Tensor, split: str
) -> dict[str, Any]:
    # on the CPU in float32, whatever the training precision was
    loss = classifier.criterion.cpu()(logits, labels).item()
    named: dict[str, Any] = {f"{split}/loss": loss}
    probabilities = torch.from_numpy(decided.probabilities)
    metrics = classification_metrics(probabilities, labels, classifier.classes)
    if is_calibrated(classifier.decision):
        raw = errors_of(logits.softmax(1).double().numpy(), labels.numpy())
        metrics |= {f"{name}_raw": raw[name] for name in ("ece", "nll", "brier")}
    for name, value in metrics.items():
        named[f"{split}/{name}"] = value
        if name == "acc":
            named[f"{split}/acc_ci95"] = wilson_interval(float(value or 0.0), len(labels))
    if decided.sets is not None:
        held = coverage_of(decided.sets, labels.numpy(), classifier.classes)
        named[f"{split}/set_coverage"] = held["coverage"]
        named[f"{split}/set_size"] = held["size"]
        named |= {f"{split}/set_coverage/{e['class']}": e["coverage"] for e in held["classes"]}
    return named
