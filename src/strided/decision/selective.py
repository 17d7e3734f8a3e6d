"""Deciding only the surest cases: the risk at each coverage, and a threshold that keeps a risk."""

from dataclasses import dataclass
from typing import Self

import numpy as np

LEVEL = 0.95  # probability with which a threshold keeps its risk


@dataclass(frozen=True)
class RiskCoverage:
    """What is decided, and what of it is wrong, as the threshold falls (El-Yaniv and Wiener 2010).

    Arrays (M,), the highest of M different confidences first: a case is decided from `thresholds`
    on, `counts` are decided then and `errors` of these are wrong. Cases of equal confidence are
    decided together.
    """

    thresholds: np.ndarray
    counts: np.ndarray
    errors: np.ndarray

    @classmethod
    def of(cls, confidence: np.ndarray, correct: np.ndarray) -> Self:
        """Take confidences (N,) of 0 to 1, and whether each prediction is right, bool (N,)."""
        thresholds, number, counts = np.unique(-confidence, return_inverse=True, return_counts=True)
        wrong = np.bincount(number, weights=~np.asarray(correct, dtype=bool), minlength=len(counts))
        return cls(-thresholds, counts.cumsum(), wrong.cumsum().round().astype(np.int64))

    @property
    def coverage(self) -> np.ndarray:
        """The decided share of all cases (M,)."""
        shares: np.ndarray = self.counts / self.counts[-1]
        return shares

    @property
    def risk(self) -> np.ndarray:
        """The share of errors among those decided (M,)."""
        shares: np.ndarray = self.errors / self.counts
        return shares

    def aurc(self) -> float:
        """Area under the curve (Geifman et al. 2019): the mean over cases of the risk at each."""
        return float((np.diff(self.coverage, prepend=0) * self.risk).sum())

    def accuracy_at(self, coverage: float) -> tuple[float, int]:
        """Accuracy of the surest share of the cases, above 0 to 1, and how many these are."""
        decided = max(1, round(coverage * int(self.counts[-1])))
        return 1 - float(self._errors_of(np.array(decided))) / decided, decided

    def decided_from(self, threshold: float | None) -> tuple[int, int]:
        """How many cases have this confidence or more, and how many of them are wrong."""
        place = 0 if threshold is None else int((self.thresholds >= threshold).sum())
        return (int(self.counts[place - 1]), int(self.errors[place - 1])) if place else (0, 0)

    def _errors_of(self, decided: np.ndarray) -> np.ndarray:
        """Errors among so many of the surest; of equally sure ones, what their share would give."""
        counts, errors = ([0, *ends.tolist()] for ends in (self.counts, self.errors))
        found: np.ndarray = np.interp(decided, counts, errors)
        return found


def threshold(
    confidence: np.ndarray, correct: np.ndarray, max_risk: float, level: float = LEVEL
) -> float | None:
    """The lowest confidence from which the risk is at most `max_risk` with probability `level`.

    By "learn then test" (Angelopoulos et al. 2021) in a fixed sequence: from a first threshold
    down, the hypothesis of a risk above `max_risk` is tested at each confidence (N,) that occurs,
    until it cannot be rejected. The test is the exact binomial one: it rejects where Clopper and
    Pearson's (1934) upper limit at `level` is at most `max_risk`. No correction for their number
    is needed, as the sequence ends with the first failure. The first threshold is the one that
    the confidences themselves promise to be the safest; the labels have no part in it. The images
    must be new to the network, and like those to come; the guarantee supposes that surer cases
    are no more often wrong. None if no threshold passes: none is safe, or there are too few
    images to tell (with `level` 0.95, 59 for a risk of 0.05).
    """
    if not len(confidence):
        return None
    curve = RiskCoverage.of(confidence, correct)
    enough = np.flatnonzero((1 - max_risk) ** curve.counts <= 1 - level)
    if not len(enough):
        return None
    found = None
    for place in range(_safest(confidence, curve, max_risk, int(enough[0])), len(curve.counts)):
        if _at_most(curve.errors[place], curve.counts[place], max_risk) > 1 - level:
            break
        found = float(curve.thresholds[place])
    return found


def _safest(confidence: np.ndarray, curve: RiskCoverage, max_risk: float, first: int) -> int:
    """Where the errors that the confidences promise are the most deviations below `max_risk`."""
    promised = (1 - np.sort(confidence)[::-1]).cumsum()[curve.counts - 1]
    spread = np.sqrt(curve.counts * max_risk * (1 - max_risk))
    return first + int(((curve.counts * max_risk - promised) / spread)[first:].argmax())


def _at_most(errors: int, count: int, risk: float) -> float:
    """Probability of at most so many errors among `count` cases, if each has this risk."""
    if errors >= count:
        return 1.0
    # log of the binomial coefficients: of count over 0, 1, ... errors
    chosen = np.arange(1, errors + 1)
    coefficients = np.concatenate([[0.0], np.log((count + 1 - chosen) / chosen).cumsum()])
    numbers = np.arange(errors + 1)
    logs = coefficients + numbers * np.log(risk) + (count - numbers) * np.log1p(-risk)
    return float(min(1.0, np.exp(logs).sum()))
