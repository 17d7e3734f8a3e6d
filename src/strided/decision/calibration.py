"""Calibration: probabilities of logits that can be taken at their word, and the error that is left.

A calibration is fitted on images that the network was not trained on. It is applied to all others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np

from strided.decision.isotonic import fit_rising
from strided.decision.plain import numbers
from strided.decision.scaling import (
    LEAST_TEMPERATURE,
    MOST_TEMPERATURE,
    fit_sigmoid,
    fit_temperature,
    fit_vector,
    log_odds,
    log_softmax,
    sigmoid,
)
from strided.errors import UserError
from strided.system.plain_data import is_number

NOT_FINITE = "the network's outputs for this image are not finite (NaN or infinity)"
METHODS = ("temperature", "platt", "isotonic", "vector", "none")
OF_CLASSES = ("platt", "isotonic", "vector")  # that fit something for each class
ENOUGH = 100  # images for calibration=auto
LEAST = 10  # images for any other, of each class for OF_CLASSES
_FOLDS = 5
BINS = 15  # of the expected calibration error
_SIMULATIONS = 500


@dataclass(frozen=True)
class Calibration:
    """A method with what was fitted for it.

    temperature: one number that divides the logits (Guo et al. 2017). vector: a weight and an
    offset of each class's log-probability. platt: a sigmoid of each class's log-odds against the
    rest. isotonic: a rising curve of each class's probability. The last two are brought to a sum of
    1, and have one curve for two classes. Only temperature never changes which class is the first.
    """

    method: str = "none"
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def fit(cls, method: str, logits: np.ndarray, labels: np.ndarray) -> Self:
        """Fit on logits (N, K) and labels (N,), with N from 1 on."""
        if method == "temperature":
            return cls(method, {"temperature": fit_temperature(logits, labels)})
        if method == "vector":
            weight, bias = fit_vector(logits, labels)
            return cls(method, {"weight": weight.tolist(), "bias": bias.tolist()})
        if method == "platt":
            odds = log_odds(logits)
            fitted = [fit_sigmoid(odds[:, k], labels == k) for k in _curves(logits.shape[1])]
            return cls(method, {"slope": [a for a, _ in fitted], "offset": [b for _, b in fitted]})
        if method == "isotonic":
            p = np.exp(log_softmax(logits))
            curves = [fit_rising(p[:, k], labels == k) for k in _curves(logits.shape[1])]
            return cls(
                method,
                {"at": [a.tolist() for a, _ in curves], "value": [v.tolist() for _, v in curves]},
            )
        if method == "none":
            return cls()
        raise ValueError(f"calibration {method!r} is none of {', '.join(METHODS)}")

    @classmethod
    def left_out(
        cls, method: str, logits: np.ndarray, labels: np.ndarray, together: np.ndarray
    ) -> np.ndarray:
        """Return probabilities (N, K) of images by calibrations that were fitted without them.

        Thresholds are chosen on these: a curve of each class follows its own images, so that these
        would look surer and more often right than others. One temperature does not, and is of all.
        Images of one number in `together` (N,), of a patient or copies, are left out together.
        """
        if method not in OF_CLASSES:
            return cls.fit(method, logits, labels).probabilities(logits)
        numbers, members = np.unique(together, return_inverse=True)
        if len(numbers) == 1:  # which cannot be left out
            numbers, members = np.arange(len(labels)), np.arange(len(labels))
        fold = (np.random.default_rng(0).permutation(len(numbers)) % _FOLDS)[members]
        found = np.empty(logits.shape)
        for own in (fold == number for number in np.unique(fold)):
            found[own] = cls.fit(method, logits[~own], labels[~own]).probabilities(logits[own])
        return found

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return probabilities (N, K) in float64; each row sums to 1."""
        given = self.parameters
        if self.method == "temperature":
            return np.exp(log_softmax(log_softmax(logits) / given["temperature"]))
        if self.method == "vector":
            return np.exp(log_softmax(log_softmax(logits) * given["weight"] + given["bias"]))
        if self.method == "none":
            return np.exp(log_softmax(logits))
        if self.method == "platt":
            odds = log_odds(logits)[:, _curves(logits.shape[1])]
            return _of_curves(sigmoid(odds * given["slope"] + given["offset"]))
        p = np.exp(log_softmax(logits))
        curves = zip(_curves(p.shape[1]), given["at"], given["value"], strict=True)
        return _of_curves(np.stack([np.interp(p[:, k], at, to) for k, at, to in curves], axis=1))

    @property
    def temperature(self) -> float | None:
        """The temperature, of that method."""
        return self.parameters.get("temperature")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"method": self.method, **self.parameters}

    @classmethod
    def from_dict(cls, data: Any, classes: int) -> Self:
        """Take over plain data, which may be a stranger's. Raises ValueError."""
        if not isinstance(data, dict) or data.get("method") not in METHODS:
            raise ValueError("its calibration has no known method")
        curves = len(_curves(classes))
        sizes = {
            "vector": {"weight": classes, "bias": classes},
            "platt": {"slope": curves, "offset": curves},
        }
        method = data["method"]
        if method == "temperature":
            found = data.get("temperature")
            if not is_number(found) or not LEAST_TEMPERATURE <= found <= MOST_TEMPERATURE:
                raise ValueError("its temperature is out of range")
            return cls(method, {"temperature": float(found)})
        if method == "isotonic":
            return cls(method, _rising(data, curves))
        return cls(
            method, {k: numbers(data.get(k), n).tolist() for k, n in sizes.get(method, {}).items()}
        )


def _rising(data: Mapping[str, Any], curves: int) -> dict[str, list[Any]]:
    """The points of each curve. Raises ValueError."""
    found = {key: part for key in ("at", "value") if isinstance(part := data.get(key), list)}
    if [len(part) for part in found.values()] != [curves, curves]:
        raise ValueError("its isotonic calibration has other numbers of curves than classes")
    for at, value in zip(found["at"], found["value"], strict=True):
        points, values = numbers(at), numbers(value)
        if len(points) != len(values) or not len(points) or (np.diff(points) <= 0).any():
            raise ValueError("a curve of its isotonic calibration does not rise")
        if (np.diff(values) < 0).any() or values.min() < 0 or values.max() > 1:
            raise ValueError("a curve of its isotonic calibration does not rise from 0 to 1")
    return found


def _curves(classes: int) -> range:
    """The classes that have a curve of their own: of two, the second."""
    return range(1, 2) if classes == 2 else range(classes)


def _of_curves(values: np.ndarray) -> np.ndarray:
    """Probabilities of the values of each curve; equal ones where all are 0."""
    if values.shape[1] == 1:
        return np.concatenate([1 - values, values], axis=1)
    total = values.sum(1, keepdims=True)
    return np.divide(values, total, out=np.full_like(values, 1 / values.shape[1]), where=total > 0)


def require_finite(logits: np.ndarray) -> None:
    """Raise UserError unless all logits (N, K) are finite: others give no probabilities."""
    if not np.isfinite(logits).all():
        raise UserError(
            f"{NOT_FINITE}; expected a network that tells classes apart. Try a checkpoint from "
            "before the training failed"
        )


def ece(
    probabilities: np.ndarray,
    labels: np.ndarray,
    bins: int = BINS,
    equal: Literal["width", "mass"] = "width",
) -> float:
    """Return the expected calibration error of the predicted class (Guo et al. 2017).

    Bins are of equal width, the last one closed, or of (nearly) equal numbers of images.
    """
    p = probabilities.astype(np.float64)
    confidence, correct = p.max(1), p.argmax(1) == labels
    gap = np.bincount(bin_of(confidence, bins, equal), weights=confidence - correct)
    return float(np.abs(gap).sum() / len(labels))


def bin_of(confidence: np.ndarray, bins: int, equal: Literal["width", "mass"]) -> np.ndarray:
    """Return the bin (0 to bins - 1) of each confidence; equal ones are in one bin."""
    if equal == "width":
        return (confidence * bins).astype(int).clip(max=bins - 1)
    edges = np.quantile(confidence, np.arange(1, bins) / bins)
    return np.searchsorted(edges, confidence, side="right")


def ece_floor(
    probabilities: np.ndarray, bins: int = BINS, equal: Literal["width", "mass"] = "width"
) -> tuple[float, float]:
    """Return mean and 95th percentile of the ECE of a perfectly calibrated model.

    It has these confidences, and is right with just that probability: by simulation, with a fixed
    seed. The ECE of few images is never 0, however good the calibration.
    """
    confidence = np.sort(probabilities.astype(np.float64).max(1))
    starts = np.unique(bin_of(confidence, bins, equal), return_index=True)[1]  # it is sorted
    generator = np.random.default_rng(0)
    found = []
    for _ in range(_SIMULATIONS):  # one by one, as there may be very many images
        correct = generator.random(len(confidence)) < confidence
        found.append(np.abs(np.add.reduceat(confidence - correct, starts)).sum())
    return float(np.mean(found)) / len(confidence), float(np.quantile(found, 0.95)) / len(
        confidence
    )
