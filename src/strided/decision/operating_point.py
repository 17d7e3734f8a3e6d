"""Operating points: for each class the threshold that reaches a chosen sensitivity."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from strided.system.plain_data import is_number

_ROUNDING = 1e-12  # of a threshold that was stored as its difference from 1


@dataclass(frozen=True)
class OperatingPoint:
    """An image is of a class, as one among others, if its probability is at least the threshold.

    The threshold is the highest that reaches `sensitivity` on the calibration images of the class.
    It is None for a class without any. That is no promise for other images: the sensitivity there
    is measured, and has an interval.
    """

    sensitivity: float
    thresholds: Sequence[float | None]

    @classmethod
    def fit(
        cls, sensitivity: float, of_label: np.ndarray, labels: np.ndarray, classes: int
    ) -> Self:
        """Fit on the probabilities (n,) that calibration images have of their own labels (n,)."""
        chosen: list[float | None] = []
        for k in range(classes):
            own = np.sort(of_label[labels == k])[::-1]
            place = int(np.ceil(len(own) * sensitivity - 1e-9))
            chosen.append(float(own[place - 1]) if len(own) else None)
        return cls(sensitivity, chosen)

    def named(self, probabilities: np.ndarray) -> np.ndarray:
        """Whether each image reaches each class's threshold: bool (N, K)."""
        limits = [np.inf if limit is None else limit for limit in self.thresholds]
        named: np.ndarray = probabilities >= np.array(limits) - _ROUNDING
        return named

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"sensitivity": self.sensitivity, "thresholds": list(self.thresholds)}

    @classmethod
    def from_dict(cls, data: Any, classes: int) -> Self:
        """Take over plain data of so many classes; a stranger's may raise ValueError."""
        if not isinstance(data, dict) or not isinstance(data.get("thresholds"), list):
            raise ValueError("its operating point has no thresholds")
        sensitivity, limits = data.get("sensitivity"), data["thresholds"]
        if not is_number(sensitivity) or not 0 < sensitivity < 1:
            raise ValueError("the sensitivity of its operating point is no share")
        if len(limits) != classes or not all(v is None or is_number(v) for v in limits):
            raise ValueError("its operating point has no threshold for each class")
        return cls(float(sensitivity), [None if v is None else float(v) for v in limits])
