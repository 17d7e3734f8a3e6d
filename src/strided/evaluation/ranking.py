"""How well scores rank one class above the others: AUROC, AUPRC, and what each image adds to them.

What an image adds is its influence: the derivative of the figure by the image's weight. Squared and
summed, influences are the figure's variance; those of a patient's images are added up before
(Efron 1982, "The Jackknife, the Bootstrap and Other Resampling Plans", chapter 6). For the AUROC
that is DeLong's variance (1988), and with groups Obuchowski's (1997).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np

from strided.evaluation.intervals import Z


@dataclass(frozen=True)
class Curve:
    """Hits and false alarms (T,) of each threshold, the highest first; equal scores are one.

    thresholds (T,) are scores: at or above one, an image counts as of the class.
    """

    thresholds: np.ndarray
    hits: np.ndarray
    alarms: np.ndarray
    place: np.ndarray  # (N,): the threshold of each image

    @classmethod
    def of(cls, scores: np.ndarray, positive: np.ndarray) -> Self:
        """Of scores (N,) and whether each image is of the class, bool (N,); both must occur."""
        order = np.argsort(-scores, kind="stable")
        falls = np.diff(scores[order]) != 0
        last = np.flatnonzero(np.append(falls, True))
        hits = np.cumsum(positive[order])[last].astype(float)
        place = np.empty(len(scores), dtype=np.int64)
        place[order] = np.concatenate([[0], np.cumsum(falls)])
        return cls(scores[order][last], hits, last + 1 - hits, place)

    @property
    def recall(self) -> np.ndarray:
        return self.hits / self.hits[-1]

    @property
    def fall_out(self) -> np.ndarray:
        """1 - specificity."""
        return self.alarms / self.alarms[-1]

    @property
    def precision(self) -> np.ndarray:
        return self.hits / (self.hits + self.alarms)

    def auroc(self) -> float:
        """The area under the ROC curve."""
        return float(np.diff(self.recall, prepend=0) @ self._others_below())

    def auprc(self) -> float:
        """The average precision."""
        return float(np.diff(self.recall, prepend=0) @ self.precision)

    def _others_below(self) -> np.ndarray:
        """The share of the other classes' images below each threshold, equal ones as half."""
        return 1 - self.fall_out + np.diff(self.fall_out, prepend=0) / 2

    def auroc_influences(self, positive: np.ndarray) -> np.ndarray:
        """What each image (N,) adds to the AUROC; squared and summed, DeLong's variance."""
        area, ours, others = self.auroc(), self.hits[-1], self.alarms[-1]
        own_above = self.recall - np.diff(self.recall, prepend=0) / 2
        of_ours = (self._others_below() - area) / math.sqrt(ours * max(ours - 1, 1))
        of_others = (own_above - area) / math.sqrt(others * max(others - 1, 1))
        return np.where(positive, of_ours[self.place], of_others[self.place])

    def auprc_influences(self, positive: np.ndarray) -> np.ndarray:
        """What each image (N,) adds to the average precision."""
        ours, named = self.hits[-1], self.hits + self.alarms
        steps = np.diff(self.recall, prepend=0)
        # an image counts at its own threshold and at all below it
        gain = np.cumsum((steps * self.alarms / named**2)[::-1])[::-1]
        loss = np.cumsum((steps * self.hits / named**2)[::-1])[::-1]
        of_ours = (self.precision - self.auprc()) / ours + gain
        return np.where(positive, of_ours[self.place], -loss[self.place])


def in_top5(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether each label (N,) is among the five most probable classes (N, K): bool (N,).

    Of equally probable classes the first one comes first, as in `argmax`.
    """
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)
    before = np.arange(probabilities.shape[1]) < labels[:, None]
    ahead = (probabilities > own) | ((probabilities == own) & before)
    found: np.ndarray = ahead.sum(1) < 5
    return found


def auroc_interval(area: float, ours: float, others: float, z: float = Z) -> list[float]:
    """Newcombe's interval of an AUROC (2006, part 2, method 5), of so many images of each side.

    It covers where DeLong's is far too short: at areas near 1, and of few images.
    """

    def is_inside(value: float) -> bool:
        spread = value * (1 - value) * _spread(value, max(0.0, (ours + others) / 2 - 1))
        return abs(value - area) <= z * math.sqrt(spread / (ours * others))

    return [_last_inside(is_inside, area, end) for end in (0.0, 1.0)]


def _last_inside(is_inside: Callable[[float], bool], inside: float, outside: float) -> float:
    for _ in range(40):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if is_inside(middle) else (inside, middle)
    return inside


def _spread(value: float, more: float) -> float:
    """Hanley and McNeil's factor (1982), of two sides with `more` + 1 images each."""
    return 1 + more * (1 - value) / (2 - value) + more * value / (1 + value)
