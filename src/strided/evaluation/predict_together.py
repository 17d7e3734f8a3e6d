"""Classify files with several checkpoints as one: the networks run one after the other."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from strided.config.keys import Config, InferencePrecision, Views
from strided.decision.gate import Gated
from strided.evaluation.classifier import Classifier
from strided.evaluation.members import Answers, decision_of, gated_together, mean_logits
from strided.evaluation.overlap import seen_by
from strided.evaluation.predict_files import Found, predict_files
from strided.evaluation.views import common_views
from strided.runs.predictions_csv import Row
from strided.training.seen_images import are_seen

log = logging.getLogger(__name__)


@dataclass
class Answered:
    """A row of predictions.csv for each file, the classes in order; the network's precision, views.

    seen bool (M,): which of the M images whose folder names their class were seen in training; None
    if there are none, or that is not known.
    """

    rows: list[Row]
    classes: list[str]
    precision: InferencePrecision
    views: Views | None  # None: networks of several
    seen: np.ndarray | None = None


def predict_alone(
    classifier: Classifier, checkpoint: Path | None, found: Found, batch_size: int
) -> Answered:
    """Classify files with one network."""
    rows = predict_files(classifier, found, batch_size)
    known = checkpoint is not None and any(row.label for row in rows)
    entries = seen_by(classifier, checkpoint) if known and checkpoint else None
    seen = None
    if entries is not None:
        digests = [row.digest for row in rows if row.label and row.digest is not None]
        seen = are_seen(entries, np.array(digests, dtype=np.uint64), trained=False)
    return Answered(rows, classifier.classes, classifier.precision, classifier.views, seen)


def predict_together(checkpoints: Sequence[Path], found: Found, config: Config) -> Answered:
    """Classify files by the mean of several networks. Raises UserError for other classes."""
    each: list[Answers] = []
    answered: list[Answered] = []
    for checkpoint in checkpoints:
        classifier = Classifier.load(
            checkpoint, device=config["accelerator"], precision=config["precision"]
        )
        classifier.use_views((config.get("evaluation") or {}).get("views"))
        own = predict_alone(classifier, checkpoint, found, config["batch_size"])
        of = Answers(checkpoint, classifier.classes, _array(own), classifier.decision)
        each.append(of if not each else of.in_order_of(each[0].classes))
        answered.append(own)
    decision, why = decision_of(each, config)
    if why:
        log.info("the mean of the networks is not calibrated once more: %s", why)
    logits = mean_logits(each).numpy()
    finite = np.isfinite(logits).all(1)
    gated = gated_together([_gated(own.rows) for own in answered])
    decided = decision(np.where(finite[:, None], logits, 0.0), gated)
    first, rows = answered[0], []
    for place, several in enumerate(zip(*(own.rows for own in answered), strict=True)):
        row = next((row for row in several if row.error), several[0])
        if not row.error:
            said = decided.said(place, first.classes)
            row = replace(row, probabilities=decided.probabilities[place].tolist(), **said)
        rows.append(row)
    known = [own.seen for own in answered if own.seen is not None]
    seen = np.any(known, axis=0) if len(known) == len(answered) else None
    views = common_views([own.views for own in answered])
    return Answered(rows, first.classes, first.precision, views, seen)


def _gated(rows: Sequence[Row]) -> Gated | None:
    """What a member's gate said of the images of its rows; None if it has none."""
    if all(row.ood is None for row in rows):
        return None
    ood = np.array([row.ood or 0.0 for row in rows])  # 0: it could not be read
    return Gated(ood, [row.reasons if row.refused else "" for row in rows])


def _array(answered: Answered) -> np.ndarray:
    """Probabilities (N, K) of the rows; NaN for what could not be read."""
    missing = [float("nan")] * len(answered.classes)
    rows = [missing if row.probabilities is None else row.probabilities for row in answered.rows]
    return np.array(rows, dtype=np.float64)
