"""Prediction sets: split conformal prediction on images that the network was not trained on."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from strided.system.plain_data import is_number

METHODS = ("lac", "aps")


@dataclass(frozen=True)
class PredictionSets:
    """All classes whose score is at most the threshold; `images` were calibrated on.

    A new image's set holds its class with a probability of at least `coverage`, if that image and
    those of the calibration could have been exchanged (Vovk et al. 2005). That is an average over
    all images: one class may be covered less than another.

    lac: a class's score is 1 - its probability (Sadinle et al. 2019). Its sets are the smallest on
    average; a set may be empty. aps: the score is the probability of all more probable classes
    (Romano et al. 2020, with u = 1 in place of a random number, so that the same image always has
    the same set). No set of it is empty.
    """

    method: str
    coverage: float
    threshold: float
    images: int

    @classmethod
    def fit(
        cls, method: str, probabilities: np.ndarray, labels: np.ndarray, coverage: float
    ) -> Self:
        """Fit on calibrated probabilities (N, K) and labels (N,)."""
        return cls.of_scores(method, label_scores(method, probabilities, labels), coverage)

    @classmethod
    def of_scores(cls, method: str, scores: np.ndarray, coverage: float) -> Self:
        """Fit on the scores (N,) of the labels; too few for this coverage give sets of all."""
        count = len(scores)
        place = int(np.ceil((count + 1) * coverage - 1e-9))
        threshold = float(np.sort(scores)[place - 1]) if place <= count else float("inf")
        return cls(method, coverage, threshold, count)

    def sets(self, probabilities: np.ndarray) -> np.ndarray:
        """Return which classes each set holds: bool (N, K)."""
        return class_scores(self.method, probabilities) <= self.threshold

    def are_single(self, confidence: np.ndarray, runner_up: np.ndarray) -> np.ndarray:
        """Whether sets hold one class: bool (N,).

        confidence and runner_up (N,) are the largest and the next probability of each image.
        """
        if self.method == "lac":
            first, second = 1 - confidence, 1 - runner_up
        else:
            first, second = np.zeros_like(confidence), confidence
        single: np.ndarray = (first <= self.threshold) & (second > self.threshold)
        return single

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; a threshold of infinity is None."""
        threshold = self.threshold if np.isfinite(self.threshold) else None
        return {
            "method": self.method,
            "coverage": self.coverage,
            "threshold": threshold,
            "images": self.images,
        }

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """Take over plain data, which may be a stranger's. Raises ValueError."""
        if not isinstance(data, dict) or data.get("method") not in METHODS:
            raise ValueError("its prediction sets have no known method")
        coverage, threshold, images = (data.get(k) for k in ("coverage", "threshold", "images"))
        if not is_number(coverage) or not 0 < coverage < 1:
            raise ValueError("the coverage of its prediction sets is no share")
        if threshold is not None and (not is_number(threshold) or not -1 <= threshold <= 2):
            raise ValueError("the threshold of its prediction sets is no score")
        if not isinstance(images, int) or isinstance(images, bool) or not 0 <= images < 1 << 63:
            raise ValueError("its prediction sets were fitted on no number of images")
        return cls(
            data["method"],
            float(coverage),
            float("inf") if threshold is None else float(threshold),
            int(images),
        )


def class_scores(method: str, probabilities: np.ndarray) -> np.ndarray:
    """Return the score of each class (N, K): the less, the better it fits."""
    p = probabilities.astype(np.float64)
    if method == "lac":
        return 1 - p
    if method == "aps":
        order = np.argsort(-p, axis=1, kind="stable")
        above = np.cumsum(np.take_along_axis(p, order, axis=1), axis=1)
        above = np.concatenate([np.zeros((len(p), 1)), above[:, :-1]], axis=1)
        scores = np.empty_like(p)
        np.put_along_axis(scores, order, above, axis=1)
        return scores
    raise ValueError(f"prediction sets {method!r} are none of {', '.join(METHODS)}")


def label_scores(method: str, probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the score (N,) of each image's label."""
    return class_scores(method, probabilities)[np.arange(len(labels)), labels]
