"""What the curves of a run show: still rising, a plateau, falling, or nothing that is sure.

Each claim is tested against the noise. That a rise is not sure does not make a plateau: a plateau
has to be shown too, by an interval of what more epochs would gain that lies within a small margin
(an equivalence test: Schuirmann 1987).
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from strided.report.ending import FEWEST, Curves, End, standard_error

SURE = 2.0  # standard errors
_RISE = 0.1  # of a loss; a smaller rise is noise around 0

Found = list[tuple[str, str]]  # name and sentence


def last_stage(curves: Curves, stages: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """The rows of the last stage that was trained."""
    epochs = curves.get("epoch", [])
    first = max((s["first_epoch"] for s in stages if s["first_epoch"] in epochs), default=0)
    return {
        key: [value for epoch, value in zip(epochs, column, strict=True) if epoch >= first]
        for key, column in curves.items()
    }


def of_stages(curves: Curves, stages: Sequence[Mapping[str, Any]], images: int) -> list[str]:
    """Sentences on each stage's gain in validation over the best stage before it."""
    if len(stages) < 2 or "val/acc" not in curves:
        return []
    best: list[tuple[str, float]] = []
    ends = [stage["first_epoch"] for stage in stages[1:]] + [math.inf]
    for stage, end in zip(stages, ends, strict=True):
        own = [
            acc
            for epoch, acc in zip(curves["epoch"], curves["val/acc"], strict=True)
            if stage["first_epoch"] <= epoch < end and math.isfinite(acc)
        ]
        if own:
            best.append((stage["name"], max(own)))
    sentences = []
    for (before, low), (name, high) in itertools.pairwise(best):
        noise = SURE * math.hypot(standard_error(low, images), standard_error(high, images))
        sure = "more than" if abs(high - low) > noise else "within"
        sentences.append(
            f"Stage {before} reached {low:.1%} of validation at best, {name} {high:.1%}: "
            f"{100 * (high - low):+.1f} points, {sure} the uncertainty of {images:,} images."
        )
    return sentences


def trend(curves: Curves, images: int) -> Found:
    """What the end of the curves shows, of a stage validated on so many images.

    Names: improving, falling, loss_falling, plateau, settled (flat at a low learning rate), or
    unclear; loss_rising, early, diverged, short.
    """
    found = _diverged(curves)
    acc = np.asarray(curves.get("val/acc", []), dtype=float)
    validated = np.isfinite(acc)
    if validated.sum() < 3:
        return [*found, ("short", "Fewer than three validated epochs show no trend.")]
    end = End.of(curves, validated, images)
    found += _direction(end)
    if end.loss and end.loss.slope > end.loss.sure and end.train_falls:
        found.append(
            (
                "loss_rising",
                f"Validation loss was rising, by {end.loss_change:.0%} {end.span}, while training "
                "loss fell: the network overfits, also where accuracy does not show it.",
            )
        )
    return found + _early(acc[validated], end)


def _direction(end: End) -> Found:
    """The one trend of accuracy."""
    rise = f"{100 * end.acc.slope * end.length:+.1f} points {end.span}"
    if end.acc.slope > end.acc.sure:
        return [("improving", f"Validation accuracy was still rising: {rise}.")]
    if end.acc.slope < -end.acc.sure:
        return [("falling", f"Validation accuracy was falling: {rise}.")]
    if end.loss and end.loss.slope < -end.loss.sure:
        return [
            (
                "loss_falling",
                f"Validation loss was still falling, by {-end.loss_change:.0%} {end.span}, without "
                "a sure rise of accuracy: more epochs may still gain.",
            )
        ]
    low, high = end.gain
    gain = f"{100 * low:+.1f} to {100 * high:+.1f} points"
    if not end.stands:
        return [
            (
                "unclear",
                "Whether more epochs would gain, this curve does not tell: at its slope, "
                f"{end.further:.0f} more would change validation accuracy by {gain} (90 % "
                "interval).",
            )
        ]
    stood = f"Validation accuracy stood still: {rise}"
    if end.lowered < 1:
        return [
            (
                "settled",
                f"{stood}, at a learning rate that had fallen to {end.lowered:.1%} of its highest. "
                "That says nothing of a longer schedule.",
            )
        ]
    return [
        (
            "plateau",
            f"{stood}. At its slope, {end.further:.0f} more epochs would change it by {gain} (90 % "
            "interval).",
        )
    ]


def _diverged(curves: Curves) -> Found:
    loss = np.asarray(curves.get("train/loss", []), dtype=float)
    if len(loss) < 3 or loss[-1] < max(1.2 * loss[0], loss[0] + _RISE):
        return []
    return [
        (
            "diverged",
            f"The training loss ended at {loss[-1]:.3g}, above the {loss[0]:.3g} of its first "
            "epoch: it diverged.",
        )
    ]


def _early(acc: np.ndarray, end: End) -> Found:
    """Whether the best epoch was an early one, by more than the luck of the best of many."""
    best = int(acc.argmax())
    fallen = acc[best] - end.level
    noise = 2 * SURE * max(standard_error(acc[best], end.images), end.acc_half.scatter)
    if len(acc) < FEWEST or best >= len(acc) / 2 or fallen <= noise:
        return []
    return [
        (
            "early",
            f"The best epoch was an early one, {end.epochs[best]:.0f}; later ones were "
            f"{100 * fallen:.1f} points worse.",
        )
    ]
