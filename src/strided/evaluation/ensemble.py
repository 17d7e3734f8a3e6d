"""Measure several checkpoints as one, and against each of them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from strided.config.keys import Config
from strided.data import ImageDataModule
from strided.decision.gate import Gated
from strided.errors import UserError
from strided.evaluation.calibration import errors_of
from strided.evaluation.classifier import Classifier
from strided.evaluation.evaluate import Judge, evaluation_of, is_calibrated
from strided.evaluation.evaluation import Evaluation
from strided.evaluation.fitting import chosen_decision, typed_choices
from strided.evaluation.gating import gated_outputs
from strided.evaluation.held_out import (
    require_known_split,
    require_split,
    set_up_data,
    tell_part,
)
from strided.evaluation.intervals import holm, mcnemar_exact, paired_interval
from strided.evaluation.members import (
    Answers,
    Ensemble,
    answers,
    decision_of,
    disagreement,
    gated_together,
    mean_logits,
)
from strided.evaluation.overlap import Overlap, is_own, seen_by, without_seen
from strided.evaluation.resampling import mean_by_group
from strided.evaluation.views import common_views

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ran:
    """A classifier, and its logits (N, K) for the readable images of a split with labels (N,).

    gated is what its gate says of them, if it has one.
    """

    classifier: Classifier
    data: ImageDataModule
    logits: Tensor
    labels: Tensor
    overlap: Overlap | None
    gated: Gated | None


def run_over_split(checkpoint: Path, config: Config) -> Ran:
    """Load a checkpoint, and run it over the split of the data that eval is to measure.

    Raises UserError for images that it knows from training, and for other data than its own.
    """
    split = config["split"]
    classifier = Classifier.load(
        checkpoint, device=config["accelerator"], precision=config["precision"]
    )
    classifier.use_views((config.get("evaluation") or {}).get("views"))
    classifier.decision = chosen_decision(classifier.decision, config, classifier.classes)
    entries = seen_by(classifier, checkpoint)
    exclude = config["overlap"] == "exclude"
    # a new split is no harm if the images that were trained on are known, and left out
    new_split = exclude and entries is not None
    data = set_up_data(classifier, config.get("data"), new_split=new_split)
    require_split(data, split)
    tell_part(classifier, data, split)
    overlap = partial(without_seen, entries, classifier, data, split, exclude=exclude)
    if data.pipeline == "store":
        overlap()  # refuses before the network runs
    if not new_split:
        require_known_split(classifier, data, split)
    logits, labels, gated = gated_outputs(classifier, data, split, data.splits[split])
    return Ran(classifier, data, logits, labels, overlap(), gated)


def tell_fitted(ran: Ran, split: str) -> None:
    """Say that a split is what the run has fitted its decision on."""
    known = ran.classifier.decision
    if split != "val" or known is None or not is_own(ran.classifier, ran.data, split):
        return
    if is_calibrated(known) or any((known.sets, known.triage, known.operating_point)):
        log.info("calibration, sets and thresholds were chosen on these images: figures flatter")


def measure(
    checkpoints: Sequence[Path], config: Config
) -> tuple[Evaluation, Judge, ImageDataModule, dict[str, Any] | None]:
    """Measure one checkpoint, or several as one, on the split of eval.

    Returns the evaluation, who gave it, the data, and the entry `ensemble` of results.json.
    """
    if len(checkpoints) > 1:
        return _measure_all(checkpoints, config)
    ran = run_over_split(checkpoints[0], config)
    tell_fitted(ran, config["split"])
    given = (ran.classifier, ran.data, config["split"], ran.logits, ran.labels, ran.overlap)
    return evaluation_of(*given, ran.gated), ran.classifier, ran.data, None


def _measure_all(
    checkpoints: Sequence[Path], config: Config
) -> tuple[Evaluation, Ensemble, ImageDataModule, dict[str, Any]]:
    split, first = config["split"], run_over_split(checkpoints[0], config)
    tell_fitted(first, split)
    each = [answers(first.classifier, checkpoints[0], first.logits)]
    overlaps, gated, views = [first.overlap], [first.gated], [first.classifier.views]
    for checkpoint in checkpoints[1:]:  # one network after the other: each has its own input
        ran = run_over_split(checkpoint, config)
        own = answers(ran.classifier, checkpoint, ran.logits).in_order_of(each[0].classes)
        _require_same_images(first, ran, checkpoint, split)
        each.append(own)
        overlaps.append(ran.overlap)
        gated.append(ran.gated)
        views.append(ran.classifier.views)
    decision, why = decision_of(each, config)
    if why and (typed := typed_choices(config)):
        raise UserError(
            f"{typed}, but {why}; expected checkpoints with the same held-out images: what is "
            f"asked for is chosen on these. Try runs of one split, or without {typed}"
        )
    if why:
        log.info("the mean of the networks is not calibrated once more: %s", why)
    ensemble = Ensemble(
        each[0].classes,
        decision,
        first.classifier.precision,
        common_views(views),
        first.classifier.criterion,
    )
    logits = mean_logits(each)
    given = (ensemble, first.data, split, logits, first.labels, _union(overlaps))
    evaluation = evaluation_of(*given, gated_together(gated))
    facts = disagreement(each)
    evaluation.metrics.update({f"{split}/{name}": value for name, value in facts.items()})
    compared = against_members(evaluation, each, first.labels.numpy())
    return evaluation, ensemble, first.data, {"not_calibrated": why or None, "members": compared}


def _require_same_images(first: Ran, other: Ran, checkpoint: Path, split: str) -> None:
    paths = [ran.data.paths(split) for ran in (first, other)]
    labels = [[ran.classifier.classes[k] for k in ran.labels.tolist()] for ran in (first, other)]
    if paths[0] != paths[1] or labels[0] != labels[1]:
        raise UserError(
            f"{checkpoint} has other images in split={split} than the first checkpoint, or other "
            "labels; expected the same images for all. Try runs of the same split, or "
            "data.root=<a folder of new images>"
        )


def _union(overlaps: Sequence[Overlap | None]) -> Overlap | None:
    """What any of the members has seen; None if that is not known of all."""
    known = [overlap for overlap in overlaps if overlap is not None]
    excluded = any(overlap.excluded for overlap in known)
    if len(known) < len(overlaps) and not excluded:
        return None
    return Overlap(np.any([overlap.seen for overlap in known], axis=0), excluded)


def against_members(
    evaluation: Evaluation, each: Sequence[Answers], labels: np.ndarray
) -> list[dict[str, Any]]:
    """An entry for each member: its errors, and the ensemble less the member on the same images.

    McNemar's exact test, Holm's correction for their number, and where there are groups an interval
    by drawing these (images of a group are not independent, which McNemar's test does not know).
    """
    rows = evaluation.rows[: len(labels)]
    used = np.array([not row.error and not row.refused for row in rows], dtype=bool)
    used &= np.isfinite([one.probabilities.sum(1) for one in each]).all(0)
    right = np.array(
        [
            bool(row.probabilities) and np.argmax(row.probabilities) == k  # type: ignore[arg-type]
            for row, k in zip(rows, labels.tolist(), strict=True)
        ]
    )[used]
    groups = np.array([row.group for row in rows])[used]
    found: list[dict[str, Any]] = []
    for one in each:
        p = one.probabilities[used]
        own = p.argmax(1) == labels[used]
        only = int((right & ~own).sum()), int((own & ~right).sum())
        low, high = paired_interval(*only, len(own))
        difference = right.astype(float) - own
        found.append(
            {
                "checkpoint": str(one.checkpoint),
                "images": len(own),
                "acc": float(own.mean()),
                **errors_of(p, labels[used]),
                "only_ensemble_right": only[0],
                "only_member_right": only[1],
                "acc_difference": float(difference.mean()),
                "acc_difference_ci95": [low, high],
                "acc_difference_ci95_by_group": (
                    mean_by_group(difference, groups) if groups.all() else None
                ),
                "p": mcnemar_exact(*only),
            }
        )
    for entry, p_holm in zip(found, holm([entry["p"] for entry in found]), strict=True):
        entry["p_holm"] = p_holm
        log.info(
            "%s: accuracy %.4f alone; the ensemble less this %+.2f points (95 %% interval %+.2f "
            "to %+.2f; McNemar's exact p with Holm's correction %.3g)",
            entry["checkpoint"],
            entry["acc"],
            100 * entry["acc_difference"],
            *(100 * end for end in entry["acc_difference_ci95"]),
            p_holm,
        )
    return found
