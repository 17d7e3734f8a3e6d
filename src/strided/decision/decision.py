"""Decision: what is made of the logits of an image beside its class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Self

import numpy as np

from strided.decision.calibration import Calibration
from strided.decision.gate import Gate, Gated
from strided.decision.operating_point import OperatingPoint
from strided.decision.plain import numbers
from strided.decision.sets import METHODS, PredictionSets, label_scores
from strided.decision.triage import Triage

VALIDATION, INNER_FOLDS = "validation", "inner folds"  # what a decision is fitted on


@dataclass(frozen=True)
class Decided:
    """The answers for N images. What the decision has no part for is None.

    probabilities (N, K) are calibrated, float64; sets (N, K) says which classes a prediction set
    holds; entropy (N,) is in nats; ood (N,) is the gate's score; routes and reasons are texts.
    """

    probabilities: np.ndarray
    sets: np.ndarray | None
    entropy: np.ndarray
    ood: np.ndarray | None = None
    routes: list[str] | None = None
    reasons: list[str] | None = None

    def at(self, places: np.ndarray) -> Self:
        """The answers at indices, or where a mask (N,) is true."""
        chosen: list[int] = np.arange(len(self.probabilities))[places].tolist()
        texts = (self.routes, self.reasons)
        routes, reasons = (t and [t[place] for place in chosen] for t in texts)
        return type(self)(
            self.probabilities[chosen],
            None if self.sets is None else self.sets[chosen],
            self.entropy[chosen],
            None if self.ood is None else self.ood[chosen],
            routes,
            reasons,
        )

    def refusal(self, place: int) -> str:
        """Why an image is refused, or ""."""
        refused = self.routes is not None and self.routes[place] == "refused"
        return self.reasons[place] if refused and self.reasons else ""

    def said(self, place: int, classes: Sequence[str]) -> dict[str, Any]:
        """What is said of one image beside its probabilities: the fields of a `Row`.

        A refused image has no prediction set: that would name classes for it.
        """
        held = None
        if self.sets is not None and not self.refusal(place):
            held = np.flatnonzero(self.sets[place])
        return {
            "prediction_set": None if held is None else [classes[k] for k in held.tolist()],
            "entropy": float(self.entropy[place]),
            "ood": None if self.ood is None else float(self.ood[place]),
            "route": self.routes[place] if self.routes else "",
            "reasons": self.reasons[place] if self.reasons else "",
        }


@dataclass(frozen=True)
class Scores:
    """What the calibration images gave, n numbers of each, so that thresholds can be chosen anew.

    confidence is the calibrated probability of the predicted class, runner_up that of the next;
    correct says whether the predicted class is the label; labels has the score of the label by
    method of prediction sets. classes are the labels.
    """

    confidence: np.ndarray
    runner_up: np.ndarray
    predicted: np.ndarray
    correct: np.ndarray
    labels: dict[str, np.ndarray]
    classes: np.ndarray

    @classmethod
    def of(cls, probabilities: np.ndarray, labels: np.ndarray) -> Self:
        """Take them of calibrated probabilities (n, K) and labels (n,)."""
        predicted = probabilities.argmax(1)
        return cls(
            probabilities.max(1),
            np.sort(probabilities, axis=1)[:, -2],
            predicted,
            predicted == labels,
            {method: label_scores(method, probabilities, labels) for method in METHODS},
            labels,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        scores = {method: values.tolist() for method, values in self.labels.items()}
        return {
            "confidence": self.confidence.tolist(),
            "runner_up": self.runner_up.tolist(),
            "predicted": self.predicted.tolist(),
            "correct": self.correct.astype(int).tolist(),
            "labels": scores,
            "classes": self.classes.tolist(),
        }

    @classmethod
    def from_dict(cls, data: Any, num_classes: int) -> Self:
        """Take over plain data, which may be a stranger's. Raises ValueError."""
        if not isinstance(data, dict) or not isinstance(data.get("labels"), dict):
            raise ValueError("its scores of the calibration images are incomplete")
        confidence = numbers(data.get("confidence"))
        runner_up, predicted, correct = (
            numbers(data.get(name), len(confidence))
            for name in ("runner_up", "predicted", "correct")
        )
        labels = {m: numbers(data["labels"].get(m), len(confidence)) for m in METHODS}
        classes = numbers(data.get("classes"), len(confidence))
        if not np.isin([predicted, classes], range(num_classes)).all():
            raise ValueError("its calibration images are of other classes")
        whole = predicted.astype(int), correct > 0, labels, classes.astype(int)
        return cls(confidence, runner_up, *whole)

    @property
    def of_label(self) -> np.ndarray:
        """The calibrated probabilities (n,) of the labels: lac scores are 1 - these."""
        return 1 - self.labels["lac"]


@dataclass(frozen=True)
class Decision:
    """From logits to probabilities, prediction set, and what is to be done with the image.

    `fitted_on` says which images it was fitted on, `scores` what these gave. A decision without
    scores is one that chooses nothing anew.
    """

    calibration: Calibration
    sets: PredictionSets | None = None
    gate: Gate | None = None
    triage: Triage | None = None
    fitted_on: str = VALIDATION
    scores: Scores | None = None
    operating_point: OperatingPoint | None = None

    def __call__(self, logits: np.ndarray, gated: Gated | None = None) -> Decided:
        """Decide of logits (N, K), and of what the gate says of the images, if it was asked."""
        return self.of_probabilities(self.calibration.probabilities(logits), gated)

    def of_probabilities(self, probabilities: np.ndarray, gated: Gated | None = None) -> Decided:
        """Decide of probabilities that are calibrated already."""
        sets = self.sets.sets(probabilities) if self.sets else None
        ood, refusals = (gated.ood, gated.reasons) if gated else (None, [])
        routes, reasons = None, refusals or None
        if self.triage:
            routes, reasons = self.triage(
                probabilities, sets, refusals or [""] * len(probabilities)
            )
        elif refusals:
            routes = ["refused" if why else "" for why in refusals]
        return Decided(probabilities, sets, entropy(probabilities), ood, routes, reasons)

    def with_sets(self, method: str | None, coverage: float | None) -> Self:
        """Choose other prediction sets by the scores; None: as before."""
        if (method is None and coverage is None) or self.scores is None:
            return self
        before = self.sets or PredictionSets("lac", 0.9, 0.0, 0)
        method = method or before.method
        coverage = before.coverage if coverage is None else coverage
        chosen = PredictionSets.of_scores(method, self.scores.labels[method], coverage)
        return replace(self, sets=chosen)

    def with_operating_point(self, sensitivity: float | None, classes: int) -> Self:
        """Choose the thresholds of `classes` classes by the stored scores; None: as before.

        Raises ValueError if there are no scores.
        """
        if sensitivity is None:
            return self
        if self.scores is None or not len(self.scores.classes):
            raise ValueError("no scores of calibration images are stored")
        known = self.scores
        chosen = OperatingPoint.fit(sensitivity, known.of_label, known.classes, classes)
        return replace(self, operating_point=chosen)

    def with_triage(self, max_risk: float | None, urgent: Sequence[int]) -> Self:
        """Choose a policy by the scores; without scores, none keeps the risk. None: no policy."""
        if max_risk is None and not urgent:
            return replace(self, triage=None)
        if (known := self.scores) is None:
            return replace(self, triage=Triage(None, max_risk, tuple(urgent)))
        single = self.sets.are_single(known.confidence, known.runner_up) if self.sets else None
        policy = Triage.fit(
            known.confidence, known.predicted, known.correct, max_risk, urgent, single
        )
        return replace(self, triage=policy)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, which JSON can hold."""
        return {
            "calibration": self.calibration.to_dict(),
            "sets": self.sets.to_dict() if self.sets else None,
            "gate": self.gate.to_dict() if self.gate else None,
            "triage": self.triage.to_dict() if self.triage else None,
            "fitted_on": self.fitted_on,
            "scores": self.scores.to_dict() if self.scores else None,
            "operating_point": self.operating_point.to_dict() if self.operating_point else None,
        }

    @classmethod
    def from_dict(
        cls, data: Any, classes: int, arrays: Mapping[str, np.ndarray] = MappingProxyType({})
    ) -> Self:
        """Take over plain data, which may be a stranger's, of so many classes. Raises ValueError.

        `arrays` are the gate's. Parts that are newer than this are passed over.
        """
        if not isinstance(data, dict):
            raise ValueError("its decision is no mapping")
        parts = ("sets", "gate", "scores", "operating_point", "triage")
        sets, gate, scores, point, triage = (data.get(part) for part in parts)
        return cls(
            Calibration.from_dict(data.get("calibration"), classes),
            None if sets is None else PredictionSets.from_dict(sets),
            None if gate is None else Gate.of_arrays(gate, arrays),
            None if triage is None else Triage.from_dict(triage, classes),
            fitted_on=_source(data.get("fitted_on")),
            scores=None if scores is None else Scores.from_dict(scores, classes),
            operating_point=None if point is None else OperatingPoint.from_dict(point, classes),
        )


def _source(value: Any) -> str:
    if value not in (VALIDATION, INNER_FOLDS):
        raise ValueError("it does not say which images its decision was fitted on")
    return str(value)


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Return the entropy (N,) of probabilities (N, K), in nats: 0 to log K."""
    logs = np.log(probabilities, out=np.zeros_like(probabilities), where=probabilities > 0)
    return -(probabilities * logs).sum(1)
