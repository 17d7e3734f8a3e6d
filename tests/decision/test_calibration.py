"""Calibrations against scikit-learn's; the calibration error against that of chance alone."""

import json

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from strided.decision.calibration import METHODS, Calibration, bin_of, ece, ece_floor
from strided.decision.scaling import fit_temperature, log_odds, log_softmax


def overconfident(
    classes: int, count: int = 400, scale: float = 3.0
) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, K) whose softmax is too sure by `scale`, and labels drawn from the true ones."""
    generator = np.random.default_rng(classes)
    logits = generator.normal(size=(count, classes)) * 1.5
    p = np.exp(log_softmax(logits))
    labels = (p.cumsum(1) < generator.random((count, 1))).sum(1).clip(max=classes - 1)
    return logits * scale, labels


class Given(LogisticRegression):
    """A classifier of scikit-learn's whose features are the scores themselves."""

    def __init__(self, scores: str = "logits") -> None:
        super().__init__()
        self.scores = scores

    def fit(self, logits: np.ndarray, labels: np.ndarray) -> "Given":
        self.classes_ = np.arange(logits.shape[1])
        self.coef_, self.intercept_ = np.eye(logits.shape[1]), np.zeros(logits.shape[1])
        return self

    def decision_function(self, logits: np.ndarray) -> np.ndarray:
        found = {
            "logits": log_softmax(logits),
            "odds": log_odds(logits),
            "probabilities": np.exp(log_softmax(logits)),
        }[self.scores]
        return found[:, 1] if found.shape[1] == 2 and self.scores != "logits" else found


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize(
    ("method", "theirs", "scores"),
    [("platt", "sigmoid", "odds"), ("isotonic", "isotonic", "probabilities")],
)
def test_curves_are_those_of_scikit_learn(
    classes: int, method: str, theirs: str, scores: str
) -> None:
    logits, labels = overconfident(classes)
    oracle = CalibratedClassifierCV(
        FrozenEstimator(Given(scores).fit(logits, labels)), method=theirs
    )
    oracle.fit(logits, labels)
    own = Calibration.fit(method, logits, labels)
    new = overconfident(classes, count=300)[0]
    assert own.probabilities(new) == pytest.approx(oracle.predict_proba(new), abs=1e-4)


@pytest.mark.parametrize("scale", [0.4, 1.0, 3.0])
def test_the_temperature_is_that_of_scikit_learn(scale: float) -> None:
    pytest.importorskip("sklearn", minversion="1.8", reason="fits no temperature before")
    logits, labels = overconfident(3, scale=scale)
    oracle = CalibratedClassifierCV(
        FrozenEstimator(Given().fit(logits, labels)), method="temperature"
    )
    oracle.fit(logits, labels)
    own = Calibration.fit("temperature", logits, labels)
    assert own.probabilities(logits) == pytest.approx(oracle.predict_proba(logits), abs=1e-5)
    assert own.temperature == pytest.approx(scale, rel=0.2)
    assert (own.probabilities(logits).argmax(1) == logits.argmax(1)).all()


def test_a_temperature_stays_in_its_range() -> None:
    labels = np.arange(30) % 3
    right = 0.5 * np.eye(3)[labels]
    assert fit_temperature(right, labels) == pytest.approx(0.05, rel=1e-3)
    assert fit_temperature(right, (labels + 1) % 3) == pytest.approx(20, rel=1e-3)
    # nothing to gain
    assert fit_temperature(1000 * right, labels) == fit_temperature(0 * right, labels) == 1


def test_vector_scaling_finds_what_a_temperature_cannot() -> None:
    true, labels = overconfident(4, count=4000, scale=1.0)
    logits = true * [1.0, 2.0, 3.0, 1.0] + [0.0, 1.0, 0.0, -1.0]
    losses = {}
    for method in ("none", "temperature", "vector"):
        p = Calibration.fit(method, logits, labels).probabilities(logits)
        losses[method] = -np.log(p[np.arange(len(labels)), labels]).mean()
    ideal = -log_softmax(true)[np.arange(len(labels)), labels].mean()
    assert losses["vector"] < losses["temperature"] < losses["none"]
    assert losses["vector"] < losses["temperature"] - 0.5 * (losses["temperature"] - ideal)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("method", METHODS)
def test_any_method_survives_a_file_and_extreme_logits(method: str, classes: int) -> None:
    logits, labels = overconfident(classes)
    own = Calibration.fit(method, logits, labels)
    again = Calibration.from_dict(json.loads(json.dumps(own.to_dict())), classes)
    extreme = np.concatenate([logits, 1e4 * np.eye(classes), np.zeros((1, classes))])
    p = own.probabilities(extreme.astype(np.float32))
    assert np.array_equal(p, again.probabilities(extreme.astype(np.float32)))
    assert np.isfinite(p).all() and p.sum(1) == pytest.approx(1) and p.min() >= 0
    assert own.probabilities(logits + 7.0) == pytest.approx(own.probabilities(logits))


def test_one_class_of_the_labels_is_enough() -> None:
    logits, labels = overconfident(3, count=5)
    for method in METHODS:
        p = Calibration.fit(method, logits, np.zeros_like(labels)).probabilities(logits)
        assert p.sum(1) == pytest.approx(1)


@pytest.mark.parametrize(
    "damaged",
    [
        {"method": "magic"},
        {"method": "temperature", "temperature": 0.0},
        {"method": "temperature", "temperature": float("nan")},
        {"method": "temperature", "temperature": True},
        {"method": "vector", "weight": [1.0], "bias": [0.0, 0.0]},
        {"method": "platt", "slope": [1.0], "offset": ["0"]},
        {"method": "isotonic", "at": [[0.0, 1.0]], "value": [[1.0, 0.0]]},
        {"method": "isotonic", "at": [[0.5, 0.5]], "value": [[0.0, 1.0]]},
        {"method": "isotonic", "at": [], "value": []},
        ["temperature", 1.0],
    ],
)
def test_a_damaged_calibration_is_refused(damaged: object) -> None:
    with pytest.raises(ValueError, match="its|it holds|a curve"):
        Calibration.from_dict(damaged, classes=2)


def test_the_calibration_error_of_bins_by_hand() -> None:
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    labels = np.array([0, 1, 0, 1])
    # width of 1/15: 0.9 (twice, one right), 0.6 (right), 0.8 (right)
    assert ece(p, labels) == pytest.approx((2 * 0.4 + 0.4 + 0.2) / 4)
    # two bins of two images: 0.6 and 0.8 (both right), 0.9 twice (one right)
    assert ece(p, labels, bins=2, equal="mass") == pytest.approx((0.6 + 2 * 0.4) / 4)
    confidence = np.linspace(0.1, 1.0, 1001)
    assert np.ptp(np.bincount(bin_of(confidence, 15, "mass"))) <= 1
    assert bin_of(np.array([1.0]), 15, "width")[0] == 14


def test_a_perfectly_calibrated_model_shows_the_floor() -> None:
    generator = np.random.default_rng(1)
    logits = generator.normal(size=(500, 3)) * 2
    p = np.exp(log_softmax(logits))
    shown = []
    for _ in range(200):
        labels = (p.cumsum(1) < generator.random((500, 1))).sum(1).clip(max=2)
        shown.append(ece(p, labels))
    mean, p95 = ece_floor(p)
    assert mean == pytest.approx(np.mean(shown), rel=0.1)
    assert p95 == pytest.approx(np.quantile(shown, 0.95), rel=0.15)
    assert ece_floor(p) == (mean, p95)
    assert ece_floor(p[:50])[0] > 2 * mean
