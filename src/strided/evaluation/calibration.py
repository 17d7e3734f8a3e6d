"""Whether probabilities can be trusted, and what prediction sets hold: figures of a split."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from strided.decision.calibration import BINS, bin_of, ece, ece_floor
from strided.evaluation.intervals import wilson_interval

KINDS: dict[str, Literal["width", "mass"]] = {"ece": "width", "ece_mass": "mass"}


def reliability(
    probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS
) -> list[Mapping[str, Any]]:
    """Left edge, mean confidence, accuracy and count of each bin of confidence that has images."""
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
    index = bin_of(confidence, bins, "width")
    return [
        {
            "left": number / bins,
            "confidence": float(confidence[index == number].mean()),
            "accuracy": float(correct[index == number].mean()),
            "count": int((index == number).sum()),
        }
        for number in np.unique(index).tolist()
    ]


def errors_of(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """ECE by bins of equal width (`ece`) and of equal numbers of images (`ece_mass`), NLL, Brier.

    The Brier score is half the squared distance, as for two classes: between 0 and 1.
    """
    of_label = probabilities[np.arange(len(labels)), labels]
    squares = np.square(probabilities).sum(1) - np.square(of_label) + np.square(1 - of_label)
    return {
        **{name: ece(probabilities, labels, equal=equal) for name, equal in KINDS.items()},
        "nll": float(-np.log(of_label.clip(1e-12)).mean()),
        "brier": float(squares.mean() / 2),
    }


def floors_of(probabilities: np.ndarray) -> dict[str, dict[str, float]]:
    """The ECE that a perfectly calibrated model of as many images would show, by kind of bins."""
    found = {}
    for name, equal in KINDS.items():
        mean, p95 = ece_floor(probabilities, equal=equal)
        found[name] = {"mean": mean, "p95": p95}
    return found


def coverage_of(sets: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """What prediction sets (N, K) hold: the share that covers the label, with Wilson's interval.

    Also of each class, the mean number of classes in a set, and the shares of sets with none and
    with one.
    """
    covered, sizes = sets[np.arange(len(labels)), labels], sets.sum(1)
    each = [{"class": name, **_covered(covered[labels == k])} for k, name in enumerate(classes)]
    return {
        **_covered(covered),
        "size": float(sizes.mean()),
        "empty": float((sizes == 0).mean()),
        "single": float((sizes == 1).mean()),
        "classes": each,
    }


def _covered(covered: np.ndarray) -> dict[str, Any]:
    if not len(covered):
        return {"images": 0, "coverage": None, "low": None, "high": None}
    share = float(covered.mean())
    low, high = wilson_interval(share, len(covered))
    return {"images": len(covered), "coverage": share, "low": low, "high": high}
