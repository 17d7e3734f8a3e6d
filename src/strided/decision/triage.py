"""Who decides a case: the network alone, or a person, and which cases a person should see first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from strided.decision.selective import threshold
from strided.system.plain_data import is_number

SEPARATOR = "|"  # of reasons
ROUTES = ("auto", "review", "urgent", "refused")  # a refused case is no image of this kind
REASONS = {
    "urgent_class": "it was predicted as a class of triage.urgent",
    "low_confidence": "its confidence is below the threshold that keeps triage.max_risk",
    "several_classes": "its prediction set holds more than one class",
    "no_class_fits": "its prediction set is empty: it is unlike the images of every class",
    "risk_not_reached": "no threshold keeps triage.max_risk on the validation images",
    "no_triage_policy": "triage.max_risk is not set, so a person decides every case",
}


@dataclass(frozen=True)
class Triage:
    """A policy: cases from `threshold` on are decided without a person.

    Its risk, the share of errors among these, is at most `max_risk` with probability 0.95. `urgent`
    are the places of classes whose cases a person sees first; they are never decided alone.
    threshold None: nothing is, since max_risk is None or was not reached.
    """

    threshold: float | None
    max_risk: float | None
    urgent: tuple[int, ...] = ()

    @classmethod
    def fit(
        cls,
        confidence: np.ndarray,
        predicted: np.ndarray,
        correct: np.ndarray,
        max_risk: float | None,
        urgent: Sequence[int] = (),
        single: np.ndarray | None = None,
    ) -> Self:
        """Choose the threshold on N images that the network was not trained on.

        Each array is (N,): calibrated confidence, predicted class, whether it is right, and
        whether its prediction set holds one class. The risk is that of what the policy would
        decide, so urgent cases and those of no class or of several do not count.
        """
        if max_risk is None:
            return cls(None, None, tuple(urgent))
        decided = ~np.isin(predicted, list(urgent))
        if single is not None:
            decided &= single
        found = threshold(confidence[decided], correct[decided], max_risk)
        return cls(found, max_risk, tuple(urgent))

    def __call__(
        self, probabilities: np.ndarray, sets: np.ndarray | None, refusals: Sequence[str]
    ) -> tuple[list[str], list[str]]:
        """Return the routes of N cases, each one of ROUTES, and the reasons, joined by a |.

        probabilities (N, K) are calibrated, sets (N, K) say which classes a prediction set holds.
        `refusals` says why the gate refuses each case: "" for an image of this kind.
        """
        sizes = np.ones(len(probabilities), int) if sets is None else sets.sum(1)
        confidence, predicted = probabilities.max(1).tolist(), probabilities.argmax(1).tolist()
        found = [
            self._route(*case)
            for case in zip(confidence, predicted, sizes.tolist(), refusals, strict=True)
        ]
        return [route for route, _ in found], [SEPARATOR.join(why) for _, why in found]

    def _route(
        self, confidence: float, predicted: int, size: int, refusal: str
    ) -> tuple[str, list[str]]:
        if refusal:
            return "refused", [refusal]
        reasons = ["urgent_class"] if predicted in self.urgent else []
        if self.max_risk is None:
            reasons += ["no_triage_policy"] * (not reasons)
        elif self.threshold is None:
            reasons.append("risk_not_reached")
        elif confidence < self.threshold:
            reasons.append("low_confidence")
        if size != 1:
            reasons.append("several_classes" if size else "no_class_fits")
        return "urgent" if predicted in self.urgent else "review" if reasons else "auto", reasons

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as a checkpoint holds it."""
        return {
            "threshold": self.threshold,
            "max_risk": self.max_risk,
            "urgent": list(self.urgent),
        }

    @classmethod
    def from_dict(cls, values: Any, classes: int) -> Self:
        """Read what `to_dict` wrote, which may be a stranger's. Raises ValueError."""
        if not isinstance(values, dict) or values.keys() != {"threshold", "max_risk", "urgent"}:
            raise ValueError("its triage policy has other parts than it should")
        lowest, max_risk = values["threshold"], values["max_risk"]
        if not all(share is None or _is_share(share) for share in (lowest, max_risk)):
            raise ValueError("its triage policy has other shares than 0 to 1")
        urgent = values["urgent"]
        places = range(classes)
        if not isinstance(urgent, list) or not all(type(k) is int and k in places for k in urgent):
            raise ValueError("its triage policy has urgent classes that are none")
        return cls(lowest, max_risk, tuple(urgent))


def _is_share(value: Any) -> bool:
    return is_number(value) and 0 <= value <= 1
