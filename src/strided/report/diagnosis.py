"""Over- or underfitting, still improving or not: what the curves of a run say, and how surely.

The rule of thumb for the gap between training and validation accuracy: over 10 points is
overfitting, under 5 generalises, low on both is underfitting. A claim is made only if the
confidence interval supports it.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from strided.config.keys import Config
from strided.config.targets import build
from strided.data import BatchAugment
from strided.evaluation.intervals import wilson_interval

OVERFITTING_GAP = 0.10
GENERALISING_GAP = 0.05
SURE = 2.0  # standard errors
_RISE = 0.1  # of a loss; a smaller rise is noise around 0

Curves = Mapping[str, Sequence[float]]  # columns of metrics.csv


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
        CONCLUSIONS[verdict].format(guessing=guessing),
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
    "underfitting": "Both are low: underfitting. The network has not learned its own training "
    "images, so that more of them would not help.",
    "overfitting": "The gap is surely above 10 points: overfitting. What was learned of the "
    "training images holds for others only in part.",
    "generalises": "The gap is surely below 5 points: what was learned generalises to images "
    "that were not trained on.",
    "between": "The gap lies between 5 and 10 points: some overfitting, as is usual.",
    "undecided": "So few images do not tell whether that is below 5, or above 10 points: more "
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
        noise = SURE * math.hypot(_standard_error(low, images), _standard_error(high, images))
        sure = "more than" if abs(high - low) > noise else "within"
        sentences.append(
            f"Stage {before} reached {low:.1%} of validation at best, {name} {high:.1%}: "
            f"{100 * (high - low):+.1f} points, {sure} the uncertainty of {images:,} images."
        )
    return sentences


def trend(curves: Curves, images: int) -> list[tuple[str, str]]:
    """(name, sentence) of what the end of the curves shows: improving, plateau, early, diverged."""
    acc = np.asarray(curves.get("val/acc", []), dtype=float)
    loss = np.asarray(curves.get("train/loss", []), dtype=float)
    found = []
    if len(loss) > 2 and not loss[-1] < max(1.2 * loss[0], loss[0] + _RISE):
        found.append(
            (
                "diverged",
                f"The training loss ended at {loss[-1]:.3g}, above the {loss[0]:.3g} of its first "
                "epoch: it diverged.",
            )
        )
    validated = np.isfinite(acc)
    acc = acc[validated]
    if len(acc) < 3:
        return [*found, ("short", "Fewer than three validated epochs show no trend.")]
    epochs = np.asarray(curves["epoch"], dtype=int)[validated]
    window = max(3, len(acc) // 3)
    slope, error = _slope(acc[-window:], images)
    rise = f"{100 * slope * (window - 1):+.1f} points from epoch {epochs[-window]} to {epochs[-1]}"
    best = int(acc.argmax())
    if slope > SURE * error:
        found.append(("improving", f"Validation accuracy was still rising: {rise}."))
    elif slope < -SURE * error:
        found.append(("falling", f"Validation accuracy was falling: {rise}."))
    elif len(acc) >= 6:
        found.append(("plateau", f"Validation accuracy stood still, within its noise: {rise}."))
    fallen = acc[best] - acc[-window:].mean()
    noise = 1.5 * SURE * _standard_error(acc[best], images)  # the best of many is partly luck
    if len(acc) >= 6 and best < len(acc) / 2 and fallen > noise:
        found.append(
            (
                "early",
                f"The best epoch was an early one, {epochs[best]}; later ones were "
                f"{100 * fallen:.1f} points worse.",
            )
        )
    return found


def _slope(values: np.ndarray, images: int) -> tuple[float, float]:
    """Rise for each epoch by least squares, and its standard error; `images` bounds the noise."""
    epochs = np.arange(len(values)) - (len(values) - 1) / 2
    slope = float((epochs * values).sum() / (epochs**2).sum())
    residuals = values - values.mean() - slope * epochs
    scatter = math.sqrt((residuals**2).sum() / max(1, len(values) - 2))
    noise = max(scatter, _standard_error(float(values.mean()), images))
    return slope, noise / math.sqrt((epochs**2).sum())


def _standard_error(share: float, images: int) -> float:
    return math.sqrt(max(share * (1 - share), 1 / images) / images)


def is_augmented(config: Config, stages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the last stage saw augmented images; stored features of a single view did not."""
    kept = stages[-1].get("features") if stages else None
    chosen: bool = build(config["augment"], "augment") != BatchAugment()
    return chosen and (kept is None or kept["views"] > 1)


def advise(found: set[str], config: Config, stages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Advice for what was found, except augmentation and weights that the run already has."""
    model = config["model"]
    augmented = is_augmented(config, stages)
    pretrained = bool(model.get("pretrained") or model.get("weights"))
    has_weights = "pretrained" in model
    advice = []
    if "overfitting" in found or "early" in found:
        if not augmented:
            views = " transfer.cached_views=5" if stages and "features" in stages[-1] else ""
            advice.append(
                f"Augment the training images: augment=standard{views}, then augment=strong."
            )
        if not pretrained and has_weights:
            advice.append(
                "Begin with pretrained weights: model.pretrained=true transfer=two_stage."
            )
        advice.append("More weight decay (optimizer=adamw optimizer.weight_decay=0.05), dropout.")
        advice.append("More training images help more than anything else.")
    if found & {"underfitting", "chance", "unlearned"}:
        advice.append("Look for a better learning rate: callbacks.lr_finder.steps=100.")
        advice.append("Train for longer (trainer.max_epochs), or a larger network (model=).")
        if augmented:
            advice.append("Augment less: augment=none.")
    if "improving" in found and len(stages) > 1:
        advice.append(
            "Train for longer: a new run with more of "
            f"transfer.stages.{stages[-1]['name']}.epochs, and of trainer.max_epochs with it."
        )
    elif "improving" in found:
        advice.append(
            "Train for longer: resume=<this folder> trainer.max_epochs=<more>; where a schedule "
            "has let the learning rate fall, a new run that is longer from the start."
        )
    if "diverged" in found:
        advice.append("A lower optimizer.lr, or trainer.gradient_clip_val=1.0.")
    if "plateau" in found and "overfitting" not in found and "underfitting" not in found:
        advice.append(
            "More epochs alone will change little; callbacks.early_stopping.patience=5 would end "
            "the run sooner."
        )
    return advice


def _percent(share: Share) -> str:
    low, high = share.interval
    return f"{share.value:.1%} ({low:.1%} to {high:.1%}) of {share.count:,}"
