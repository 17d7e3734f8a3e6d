"""Over- or underfitting: what the best checkpoint shows of it, and how surely.

The rule of thumb for the gap between training and validation accuracy: over 10 points is
overfitting, under 5 generalises, low on both is underfitting. A claim is made only if the
confidence interval supports it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from strided.config.keys import Config
from strided.evaluation.intervals import wilson_interval
from strided.report.advice import advise
from strided.report.ending import Curves
from strided.report.trend import last_stage, of_stages, trend

OVERFITTING_GAP = 0.10
GENERALISING_GAP = 0.05


@dataclass(frozen=True)
class Share:
    """`hits` of `count` images: the best checkpoint in evaluation mode, without augmentation."""

    hits: int
    count: int

    @property
    def value(self) -> float:
        return self.hits / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval, at 95 %."""
        low, high = wilson_interval(self.value, self.count)
        return low, high


@dataclass(frozen=True)
class Diagnosis:
    """verdict: overfitting, generalises, underfitting, chance, unlearned, between, or undecided.

    gap is training minus validation accuracy with its 95 % interval; evidence and advice are
    sentences.
    """

    verdict: str
    gap: float
    gap_ci95: list[float]
    train: dict[str, int]
    val: dict[str, int]
    evidence: list[str]
    advice: list[str]


def diagnose(
    train: Share,
    val: Share,
    guessing: float,
    curves: Curves,
    config: Config,
    stages: Sequence[Mapping[str, Any]],
) -> Diagnosis:
    """Diagnose a finished run; `stages` as in results.json.

    guessing: the share of validation that always naming its largest class gets right.
    """
    gap, interval = train.value - val.value, gap_interval(train, val)
    verdict = judge(train, val, guessing)
    evidence = [
        f"The best checkpoint is right on {_percent(train)} training images and "
        f"{_percent(val)} of validation: a gap of "
        f"{100 * gap:.1f} points (95 % interval {100 * interval[0]:.1f} to "
        f"{100 * interval[1]:.1f}).",
        CONCLUSIONS[verdict].format(guessing=guessing, limits=_open_limits(*interval)),
    ]
    found = trend(last_stage(curves, stages), val.count)
    evidence += of_stages(curves, stages, val.count) + [sentence for _, sentence in found]
    signs = {verdict, *(name for name, _ in found)}
    return Diagnosis(
        verdict,
        gap,
        list(interval),
        asdict(train),
        asdict(val),
        evidence,
        advise(signs, config, stages),
    )


CONCLUSIONS = {
    "chance": "Neither is surely above the {guessing:.1%} of naming the largest class always: "
    "nothing is shown to have been learned.",
    "underfitting": "Training accuracy is surely less than half of the way from guessing to 100 %: "
    "underfitting. The network has not learned its own training images.",
    "overfitting": "The gap is surely above 10 points: overfitting. What was learned of the "
    "training images holds for others only in part.",
    "generalises": "The gap is surely below 5 points: what was learned generalises to images "
    "that were not trained on.",
    "between": "The gap lies between 5 and 10 points: some overfitting, as is usual.",
    "undecided": "So few images do not tell on which side of {limits} points that is: more "
    "validation images would (data.val_fraction).",
    "unlearned": "Validation is not surely above the {guessing:.1%} of naming the largest class "
    "always: a small gap says nothing there.",
}


def gap_interval(train: Share, val: Share) -> tuple[float, float]:
    """95 % interval of train - val (Newcombe 1998, method 10: from the Wilson intervals)."""
    gap = train.value - val.value
    (train_low, train_high), (val_low, val_high) = train.interval, val.interval
    return (
        gap - math.hypot(train.value - train_low, val_high - val.value),
        gap + math.hypot(train_high - train.value, val.value - val_low),
    )


def _open_limits(low: float, high: float) -> str:
    """The limits of the rule of thumb that lie in the interval of a gap, in points."""
    limits = GENERALISING_GAP, OVERFITTING_GAP
    return " and of ".join(f"{100 * limit:.0f}" for limit in limits if low <= limit <= high)


def judge(train: Share, val: Share, guessing: float) -> str:
    """Return the first verdict that the intervals leave no doubt about."""
    low, high = gap_interval(train, val)
    above = val.interval[0] > guessing
    # not half of the way from guessing to certainty
    poor = train.interval[1] < (1 + guessing) / 2
    if poor and not above and train.interval[0] <= guessing:
        return "chance"
    if low > OVERFITTING_GAP:
        return "overfitting"
    if poor:
        return "underfitting"
    if not above:
        return "unlearned"
    if high < GENERALISING_GAP:
        return "generalises"
    if low > GENERALISING_GAP and high < OVERFITTING_GAP:
        return "between"
    return "undecided"


def _percent(share: Share) -> str:
    low, high = share.interval
    return f"{share.value:.1%} ({low:.1%} to {high:.1%}) of {share.count:,}"
