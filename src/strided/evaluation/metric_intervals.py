"""95 % intervals of every metric of a test, in closed form: no image is drawn again.

A figure of one class is a proportion (Wilson's interval), an AUROC (Newcombe's) or an average
precision. The interval of an average over classes has the squares of the classes' widths added up;
how the classes go together is told by the influences of the images. Percentiles of a bootstrap
would cover an AUROC near 1 far too seldom (docs/results.md).

Where there are groups (patients), they are what was drawn, not their images: what a group's images
add to a figure is added up, and a proportion has the interval of as many independent images as that
variance amounts to (Korn and Graubard 1998).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from strided.evaluation.intervals import Z, wilson_interval
from strided.evaluation.ranking import Curve, auroc_interval, in_top5

Ends = list[float] | None


@dataclass(frozen=True)
class Figure:
    """A metric of one class: its interval, and what each image (N,) adds to it."""

    value: float
    ends: list[float]
    influences: np.ndarray


def student(count: int) -> float:
    """The quantile of Student's t for an interval of 95 % from so many images or groups."""
    from scipy.special import stdtrit

    return float(stdtrit(max(count - 1, 1), 0.975))


class Drawn:
    """What was drawn independently: images, or whole groups of them."""

    def __init__(self, groups: np.ndarray | None) -> None:
        """groups (N,) are equal for images that belong together; None: each for itself."""
        self.group_of = None if groups is None else np.unique(groups, return_inverse=True)[1]

    def count(self, chosen: np.ndarray) -> int:
        """How many images, or groups, are among those chosen, bool (N,)."""
        if self.group_of is None:
            return int(chosen.sum())
        return int((np.bincount(self.group_of, chosen) > 0).sum())

    def variance(self, influences: np.ndarray) -> float:
        """The variance of a figure to which each image adds so much."""
        if self.group_of is None:
            return float(np.square(influences).sum())
        sums = np.bincount(self.group_of, influences)
        return float(np.square(sums).sum() * len(sums) / max(len(sums) - 1, 1))

    def quantile(self, count: int) -> float:
        """How many standard deviations wide a proportion's interval is to either side."""
        return Z if self.group_of is None else student(count)

    def part_worth(self, influences: np.ndarray, chosen: np.ndarray) -> float:
        """As what part of their number the chosen images (N,) count, being of the same groups."""
        if self.group_of is None:
            return 1.0
        apart = float(np.square(influences).sum())
        if apart == 0:  # all right or all wrong: that does not tell, and this is the least
            return self.count(chosen) / float(chosen.sum())
        return 1 / max(1.0, self.variance(influences) / apart)


def metric_intervals(
    probabilities: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    groups: np.ndarray | None = None,
) -> dict[str, Ends]:
    """The two ends of the interval of each metric, by its name as in `classification_metrics`.

    probabilities are (N, K), labels (N,) are places in `classes`, groups (N,) are equal for images
    that belong together. None for a metric that is not defined. There is none of `ece` and `aurc`,
    which are no means of images. A single group has no interval at all.
    """
    drawn = Drawn(groups)
    if drawn.count(np.ones(len(labels), dtype=bool)) < 2:
        return {}
    predicted = probabilities.argmax(1)
    found: dict[str, Ends] = {"acc": share(predicted == labels, None, drawn).ends}
    if len(classes) > 5:
        found["acc_top5"] = share(in_top5(probabilities, labels), None, drawn).ends
    found["acc_at_80"] = share(predicted == labels, surest(probabilities.max(1), 0.8), drawn).ends
    of_label = probabilities[np.arange(len(labels)), labels].astype(float).clip(1e-12)
    distance = np.square(probabilities - np.eye(len(classes))[labels]).sum(1) / 2
    found["nll"] = mean(-np.log(of_label), drawn)
    found["brier"] = mean(distance, drawn, largest=1.0)
    averages: dict[str, _Average] = {}
    for k, label in enumerate(classes):
        for name, figure in _of_class(probabilities[:, k], labels == k, predicted == k, drawn):
            found[f"{name}/{label}"] = None if figure is None else figure.ends
            averages.setdefault(name, _Average()).add(figure, drawn)
    means = {name: average.ends(drawn) for name, average in averages.items()}
    return {**found, **means, "balanced_acc": means["recall"]}


def named_intervals(
    probabilities: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    groups: np.ndarray | None = None,
) -> dict[str, Ends]:
    """The same as results.json names them: <metric>_ci95, and <metric>_ci95/<class>.

    acc_ci95 is Wilson's in every run, over images. With groups there is acc_group_ci95 too.
    """
    found = metric_intervals(probabilities, labels, classes, groups)
    acc = found.pop("acc", None)
    named: dict[str, Ends] = {} if groups is None or acc is None else {"acc_group_ci95": acc}
    for key, ends in found.items():
        metric, slash, label = key.partition("/")
        named[f"{metric}_ci95{slash}{label}"] = ends
    return named


def _of_class(
    scores: np.ndarray, ours: np.ndarray, named: np.ndarray, drawn: Drawn
) -> Iterator[tuple[str, Figure | None]]:
    """The figures of one class against the rest: of its images, and of those predicted as such."""
    has_both = 0 < ours.sum() < len(ours)
    yield "precision", share(ours, named, drawn) if ours.any() else None
    yield "recall", share(named, ours, drawn) if ours.any() else None
    yield "f1", _f1(ours, named, drawn) if ours.any() else None
    yield "specificity", share(~named, ~ours, drawn) if has_both else None
    yield "npv", share(~ours, ~named, drawn) if has_both else None
    curve = Curve.of(scores, ours) if has_both else None
    yield "auroc", _auroc(curve, ours, drawn) if curve else None
    yield "auprc", _auprc(curve, ours, drawn) if curve else None


def surest(confidence: np.ndarray, coverage: float) -> np.ndarray:
    """The part (N,), 0 to 1, of each image that is among the surest, as `RiskCoverage` has it.

    Of equally sure ones that are not all among them, each counts the same.
    """
    decided = max(1, round(coverage * len(confidence)))
    last = np.sort(confidence)[-decided]
    above, level = confidence > last, confidence == last
    return above + level * ((decided - above.sum()) / level.sum())


def share(hits: np.ndarray, of: np.ndarray | None, drawn: Drawn) -> Figure:
    """The part of some images (N,), or of all, that are hits; 0 to 1 if there are none.

    `of` says which, or how much of each (`surest`).
    """
    of = np.ones(len(hits), dtype=bool) if of is None else of
    count = round(float(of.sum()))
    if not count:
        return Figure(0.0, [0.0, 1.0], np.zeros(len(hits)))
    value = float((hits * of).sum() / count)
    influences = of * (hits - value) / count
    worth = count * drawn.part_worth(influences, of)
    z = drawn.quantile(drawn.count(of))
    return Figure(value, wilson_interval(value, worth, z), influences)


def _f1(ours: np.ndarray, named: np.ndarray, drawn: Drawn) -> Figure:
    """F1 is 2 J / (1 + J) of the Jaccard index J, which is a proportion."""
    jaccard = share(ours & named, ours | named, drawn)
    value, low, high = (2 * j / (1 + j) for j in (jaccard.value, *jaccard.ends))
    return Figure(value, [low, high], jaccard.influences * 2 / (1 + jaccard.value) ** 2)


def _auroc(curve: Curve, ours: np.ndarray, drawn: Drawn) -> Figure:
    influences = curve.auroc_influences(ours)
    worth = [side.sum() * drawn.part_worth(influences, side) for side in (ours, ~ours)]
    z = drawn.quantile(min(drawn.count(ours), drawn.count(~ours)))
    area = curve.auroc()
    return Figure(area, auroc_interval(area, worth[0], worth[1], z), influences)


def _auprc(curve: Curve, ours: np.ndarray, drawn: Drawn) -> Figure:
    """Wilson's of as many images as the variance amounts to, at most two for each of the class.

    Where nearly all are in order, the variance says nothing: it would be 0 if all were.
    """
    area, influences, count = curve.auprc(), curve.auprc_influences(ours), drawn.count(ours)
    worth, variance = 2.0 * count, drawn.variance(influences)
    if variance > 0:
        worth = max(1.0, min(worth, area * (1 - area) / variance))
    return Figure(area, wilson_interval(area, worth, student(count)), influences)


def mean(values: np.ndarray, drawn: Drawn, largest: float = math.inf) -> list[float]:
    """The ends of the interval of the mean of values (N,) from 0 to the `largest` possible one."""
    middle, count = float(values.mean()), drawn.count(np.ones(len(values), dtype=bool))
    spread = student(count) * math.sqrt(drawn.variance((values - middle) / len(values)))
    return [max(0.0, middle - spread), min(largest, middle + spread)]


class _Average:
    """The mean of a figure over the classes that have it."""

    def __init__(self) -> None:
        self.values: list[float] = []
        self.influences: np.ndarray | float = 0.0
        self.variance = self.squares = 0.0  # sums over the classes; squares: of the widths

    def add(self, figure: Figure | None, drawn: Drawn) -> None:
        """Count a class in, unless the figure is not defined for it."""
        if figure is None:
            return
        self.values.append(figure.value)
        self.influences = self.influences + figure.influences
        self.variance += drawn.variance(figure.influences)
        self.squares += (figure.ends[1] - figure.ends[0]) ** 2

    def ends(self, drawn: Drawn) -> Ends:
        """The interval; None if no class has the figure."""
        if not self.values:
            return None
        # 1 for classes that are independent of each other, more if they go up and down together
        together = 1.0
        if self.variance > 0:
            together = drawn.variance(np.asarray(self.influences)) / self.variance
        count = len(self.values)
        return _wilson_of_width(
            sum(self.values) / count, math.sqrt(together * self.squares) / count
        )


def _wilson_of_width(value: float, width: float) -> list[float]:
    """Wilson's interval of as many images as give it that width."""
    if width >= 1:
        return [0.0, 1.0]
    if width == 0:
        return [value, value]
    # of x = z^2 / n the width is 2 sqrt(v (1 - v) x + x^2 / 4) / (1 + x)
    a, b = 1 - width**2, 4 * value * (1 - value) - 2 * width**2
    root = math.sqrt(b**2 + 4 * a * width**2)
    # the same twice; of a tiny width the first would be a difference of equal numbers, and so 0
    x = (root - b) / (2 * a) if b < 0 else 2 * width**2 / (root + b)
    return wilson_interval(value, Z**2 / x)
