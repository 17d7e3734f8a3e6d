"""Fit a decision on images that were not trained on: calibration, and prediction sets."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from strided.config.keys import Config, EvaluationKeys
from strided.data import ImageDataModule
from strided.decision.calibration import ENOUGH, LEAST, OF_CLASSES, Calibration, ece_floor
from strided.decision.decision import INNER_FOLDS, VALIDATION, Decision, Scores
from strided.decision.sets import PredictionSets
from strided.errors import UserError, one_line
from strided.evaluation.calibration import errors_of
from strided.evaluation.classifier import Classifier
from strided.evaluation.evaluation import Evaluation
from strided.evaluation.gating import facts_of_gate
from strided.evaluation.outputs import most_validated, outputs_of
from strided.evaluation.selective import policy_of
from strided.runs.predictions_csv import Row, write_predictions
from strided.runs.results import Results
from strided.training.transfer.inner_folds import belonging_together

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeldOut:
    """Images that were not trained on: finite logits (n, K), labels (n,), and their paths.

    `together` (n,) has equal numbers for images of one group and for copies. `source` is
    decision.VALIDATION or INNER_FOLDS.
    """

    logits: np.ndarray
    labels: np.ndarray
    paths: Sequence[str]
    together: np.ndarray
    source: str


def validation_of(classifier: Classifier, data: ImageDataModule, most: int) -> HeldOut:
    """Run the classifier over at most `most` validation images, spread over all."""
    chosen = data.spread("val", most)
    logits, labels = outputs_of(classifier, data, "val", chosen)
    readable = data.readable("val")  # known by now, of streamed images too
    of_index = dict(zip(readable.tolist(), data.paths("val"), strict=True))
    finite = logits.isfinite().all(1)
    indices = chosen[np.isin(chosen, readable)][finite.numpy()]
    return HeldOut(
        logits[finite].numpy(),
        labels[finite].numpy(),
        [of_index[index] for index in indices.tolist()],
        belonging_together(data, indices),
        VALIDATION,
    )


def fit_decision(config: Config, held: HeldOut | None, classes: Sequence[str]) -> Decision | None:
    """Fit what the config asks for; None without images. Raises UserError for a typed method."""
    policy = policy_of(config, classes)
    method = str(config.get("calibration") or "auto")
    keys: EvaluationKeys = config.get("evaluation") or {}
    point = keys.get("operating_point")
    if held is None or not len(held.labels):
        if point is not None:
            raise UserError(
                f"evaluation.operating_point={point}, and there is no validation image to choose "
                "thresholds on; expected some. Try data.val_fraction=0.1"
            )
        if method in ("auto", "none"):
            alone = Decision(Calibration()).with_triage(*policy)  # that reviews everything
            return alone if alone.triage else None
        raise UserError(
            f"calibration={method}, and there is no validation image to fit it on; expected some. "
            "Try data.val_fraction=0.1"
        )
    if method == "auto":
        method = "temperature" if len(held.labels) >= ENOUGH else "none"
    _require_enough(method, held.labels, classes)
    calibration = Calibration.fit(method, held.logits, held.labels)
    probabilities = Calibration.left_out(method, held.logits, held.labels, held.together)
    scores = Scores.of(probabilities, held.labels)
    sets = None
    if (kind := keys.get("sets")) is not None:
        coverage = keys.get("coverage") or 0.9
        sets = PredictionSets.of_scores(kind, scores.labels[kind], coverage)
    fitted = Decision(calibration, sets, fitted_on=held.source, scores=scores)
    return fitted.with_operating_point(point, probabilities.shape[1]).with_triage(*policy)


def refuse_calibration(config: Config, data: ImageDataModule) -> None:
    """Raise UserError for a calibration that could not be fitted after training."""
    chosen = data.spread("val", most_validated(config, data))
    if not len(chosen):  # then inner folds of the training images are held out
        chosen = data.splits["train"]
    method = str(config.get("calibration") or "auto")
    _require_enough(method, data.source.labels[chosen], data.classes)


def _require_enough(method: str, labels: np.ndarray, classes: Sequence[str]) -> None:
    counts = np.bincount(labels, minlength=len(classes))
    if method in OF_CLASSES and counts.min() < LEAST:
        what = f"class {one_line(classes[int(counts.argmin())])} has {counts.min()} held-out images"
        expected = f"{LEAST} of each class or more, as it fits something for each"
    elif method == "temperature" and len(labels) < LEAST:
        what, expected = f"{len(labels)} images are held out of training", f"{LEAST} or more"
    else:
        return
    raise UserError(
        f"calibration={method}, but {what}; expected {expected}. Try "
        f"calibration={'temperature' if len(labels) >= LEAST else 'none'}, or a larger "
        "data.val_fraction"
    )


_OF_SCORES = ("sets", "coverage", "operating_point")  # keys that eval may choose anew


def typed_choices(config: Config) -> str:
    """The keys of eval that choose anew what calibration images decide, or ""."""
    keys, triage = config.get("evaluation") or {}, config.get("triage") or {}
    words = [f"evaluation.{k}" for k in _OF_SCORES if keys.get(k) is not None]
    words += [f"triage.{k}" for k in ("max_risk", "urgent") if triage.get(k) is not None]
    return " and ".join(words)


def chosen_decision(
    stored: Decision | None, config: Config, classes: Sequence[str]
) -> Decision | None:
    """Return what eval decides by: the checkpoint's decision, with what was typed for eval.

    Raises UserError for what was not fitted in training.
    """
    method, keys = config.get("calibration"), config.get("evaluation") or {}
    own = stored.calibration.method if stored else "none"
    if method not in (None, "auto", "none", own):
        raise UserError(
            f"calibration={method}, but this checkpoint was calibrated by {own}; expected that, or "
            "none for the network's own probabilities: a calibration is fitted in training, on "
            f"validation images. Try src/train.py calibration={method}"
        )
    kind, coverage, point = keys.get("sets"), keys.get("coverage"), keys.get("operating_point")
    typed = typed_choices(config)
    if method == "none" and own != "none":
        if typed:
            raise UserError(
                f"calibration=none beside {typed}; expected one of them: the sets and thresholds "
                "were fitted on calibrated probabilities. Try it without calibration=none"
            )
        assert stored is not None, "another method was fitted"
        if stored.sets or stored.triage:
            log.info("calibration=none: the checkpoint's sets, thresholds and routes do not apply")
        # the gate looks at no probability
        return Decision(Calibration(), gate=stored.gate) if stored.gate else None
    if stored is None or stored.scores is None:
        if typed:
            raise UserError(
                f"{typed}, but this checkpoint has not kept what its validation images gave; "
                "expected one that was trained with calibration. Try training again with "
                "src/train.py"
            )
        return stored
    chosen = stored.with_sets(kind, coverage).with_operating_point(point, len(classes))
    return chosen.with_triage(*policy_of(config, classes, stored.triage)) if typed else chosen


def describe_fit(decision: Decision, held: HeldOut) -> dict[str, Any]:
    """Return the entry `calibration` of results.json, as far as the fit tells it, and log it.

    `before` and `after` are of the images that it was fitted on, so that `after` flatters.
    """
    raw = Calibration().probabilities(held.logits)
    after = decision.calibration.probabilities(held.logits)
    found = facts_of(decision) | {
        "before": errors_of(raw, held.labels),
        "after": errors_of(after, held.labels),
    }
    if decision.calibration.method != "none":
        temperature = decision.calibration.temperature
        log.info(
            "probabilities calibrated by %s on %d images (%s): ECE %.4f, before %.4f; a perfectly "
            "calibrated network would show %.4f",
            decision.calibration.method + (f" {temperature:.3f}" if temperature else ""),
            len(held.labels),
            decision.fitted_on,
            found["after"]["ece"],
            found["before"]["ece"],
            ece_floor(after)[0],
        )
    return found


def facts_of(decision: Decision) -> dict[str, Any]:
    """Method, temperature, and the images that it was fitted on."""
    images = len(decision.scores.confidence) if decision.scores else 0
    return {
        "method": decision.calibration.method,
        "temperature": decision.calibration.temperature,
        "fitted_on": decision.fitted_on if images else None,
        "images": images,
    }


def note_decision(results: Results, decision: Decision | None, evaluation: Evaluation) -> None:
    """Add to results.json what an evaluation says of calibration and prediction sets."""
    if decision is None:
        return
    about = results.get("calibration") or facts_of(decision)
    measured = {"split": evaluation.split, **evaluation.calibration}
    results["calibration"] = {**about, "measured": measured}
    if decision.operating_point is not None:
        results["operating_point"] = decision.operating_point.sensitivity
    if evaluation.refusals is not None:
        refused = {"split": evaluation.split, **evaluation.refusals}
        results["gate"] = {**facts_of_gate(decision.gate), "measured": refused}
    if decision.sets is not None and evaluation.sets is not None:
        held = {"split": evaluation.split, **evaluation.sets}
        results["sets"] = {**decision.sets.to_dict(), "measured": held}


def write_held_out(file: Path, decision: Decision, held: HeldOut, classes: Sequence[str]) -> None:
    """Write what the images give that the decision was fitted on, as predictions.csv."""
    probabilities = decision.calibration.probabilities(held.logits).tolist()
    rows = zip(held.paths, held.labels.tolist(), probabilities, strict=True)
    write_predictions(file, (Row(p, classes[k], probabilities=row) for p, k, row in rows), classes)


def read_inner(file: Path, data: ImageDataModule) -> HeldOut | None:
    """Read the logits that a solved head has kept of inner folds; None if there are none."""
    if not file.is_file():
        return None
    with np.load(file, allow_pickle=False) as kept:
        logits, labels, indices = (kept[name] for name in ("logits", "labels", "indices"))
    paths = [data.source.paths[index] for index in indices.tolist()]
    return HeldOut(logits, labels, paths, belonging_together(data, indices), INNER_FOLDS)
