"""Prediction sets: thresholds by hand, what they promise, MAPIE's, what a damaged file gives."""

import json
from pathlib import Path

import numpy as np
import pytest
from mapie.classification import SplitConformalClassifier
from sklearn.base import BaseEstimator, ClassifierMixin

from strided.decision.calibration import Calibration
from strided.decision.scaling import log_softmax
from strided.decision.sets import METHODS, PredictionSets, class_scores, label_scores
from strided.runs.predictions_csv import Predictions


def drawn(count: int, seed: int, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, K) of a calibrated model, and labels."""
    generator = np.random.default_rng(seed)
    p = np.exp(log_softmax(generator.normal(size=(count, classes)) * 2))
    return p, (p.cumsum(1) < generator.random((count, 1))).sum(1).clip(max=classes - 1)


def test_scores_by_hand() -> None:
    p = np.array([[0.5, 0.3, 0.2], [0.25, 0.25, 0.5]])
    assert class_scores("lac", p) == pytest.approx(1 - p)
    # the probability of all classes that are more probable; the first of equals comes first
    assert class_scores("aps", p) == pytest.approx(np.array([[0.0, 0.5, 0.8], [0.5, 0.75, 0.0]]))
    assert label_scores("aps", p, np.array([2, 2])) == pytest.approx([0.8, 0.0])
    with pytest.raises(ValueError, match="lac, aps"):
        class_scores("lca", p)


def test_the_threshold_is_the_conformal_quantile() -> None:
    scores = np.arange(1, 20) / 20  # 19: the 18th of them is the 90 % quantile of 19 and a new one
    own = PredictionSets.of_scores("lac", scores[::-1], 0.9)
    assert own.threshold == pytest.approx(scores[17]) and own.images == 19
    assert PredictionSets.of_scores("lac", scores, 0.95).threshold == pytest.approx(scores[18])
    few = PredictionSets.of_scores("lac", scores[:8], 0.9)  # too few for nine of ten
    assert few.threshold == float("inf") and few.sets(drawn(5, 0)[0]).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("coverage", [0.8, 0.95])
def test_coverage_over_many_calibrations_is_what_was_asked_for(
    method: str, coverage: float
) -> None:
    p, labels = drawn(20_000, seed=1)
    covered = []
    for start in range(0, 10_000, 100):
        part = slice(start, start + 100)
        own = PredictionSets.fit(method, p[part], labels[part], coverage)
        covered.append(own.sets(p[10_000:])[np.arange(10_000), labels[10_000:]].mean())
    # exactly between coverage and coverage + 1 / 101, unless scores are equal, as aps's zeros are
    assert np.mean(covered) > coverage - 0.012
    assert np.mean(covered) < coverage + (0.02 if method == "lac" else 0.06)


@pytest.mark.parametrize("method", ["platt", "isotonic", "vector"])
def test_sets_keep_their_promise_after_a_calibration_with_a_part_for_each_class(
    method: str,
) -> None:
    """Fitted and scored on the same 300 images, isotonic's sets would cover 0.87."""
    p, labels = drawn(8000, seed=4)
    logits = 1.6 * np.log(p)
    covered = []
    for start in range(0, 3000, 300):
        part = slice(start, start + 300)
        scored = Calibration.left_out(method, logits[part], labels[part], np.arange(300))
        own = PredictionSets.fit("lac", scored, labels[part], 0.9)
        fitted = Calibration.fit(method, logits[part], labels[part])
        sets = own.sets(fitted.probabilities(logits[3000:]))
        covered.append(sets[np.arange(5000), labels[3000:]].mean())
    assert 0.89 < np.mean(covered) < 0.93


@pytest.mark.parametrize("method", ["platt", "isotonic", "vector"])
def test_copies_of_a_picture_are_left_out_of_the_fit_together(method: str) -> None:
    p, labels = drawn(60, seed=4)
    logits, of = np.repeat(np.log(p), 5, axis=0), np.repeat(labels, 5)
    whole = Calibration.left_out(method, logits, of, np.repeat(np.arange(60), 5)).reshape(60, 5, -1)
    parted = Calibration.left_out(method, logits, of, np.arange(300)).reshape(60, 5, -1)
    assert (whole == whole[:, :1]).all() and not (parted == parted[:, :1]).all()
    alone = Calibration.left_out(method, logits, of, np.zeros(300))  # of one patient
    assert np.isfinite(alone).all()


def test_sets_of_aps_are_never_empty_and_those_of_lac_may_be() -> None:
    p, labels = drawn(4000, seed=2)
    own = {m: PredictionSets.fit(m, p[:2000], labels[:2000], 0.5).sets(p[2000:]) for m in METHODS}
    assert own["aps"][np.arange(2000), p[2000:].argmax(1)].all()
    empty = ~own["lac"].any(1)
    assert empty.any() and p[2000:][empty].max() < p[2000:][~empty].max(1).min()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("coverage", [0.3, 0.9])
def test_sets_of_one_class_are_told_by_two_probabilities(method: str, coverage: float) -> None:
    p, labels = drawn(4000, seed=3)
    own = PredictionSets.fit(method, p[:2000], labels[:2000], coverage)
    top = np.sort(p, axis=1)
    assert (own.are_single(top[:, -1], top[:, -2]) == (own.sets(p).sum(1) == 1)).all()


def test_sets_survive_a_file_and_a_damaged_one_is_refused() -> None:
    for scores in (np.linspace(0, 1, 50), np.ones(2)):
        own = PredictionSets.of_scores("aps", scores, 0.9)
        assert PredictionSets.from_dict(json.loads(json.dumps(own.to_dict()))) == own
    whole = own.to_dict()
    for key, value in {
        "method": "other",
        "coverage": 1.0,
        "threshold": "0",
        "images": -1,
    }.items():
        with pytest.raises(ValueError, match="its"):
            PredictionSets.from_dict({**whole, key: value})


class Given(ClassifierMixin, BaseEstimator):
    """What MAPIE takes for a fitted model: its input are the probabilities."""

    def __init__(self, classes: int = 2) -> None:
        self.classes = classes
        self.classes_ = np.arange(classes)

    def predict_proba(self, p: np.ndarray) -> np.ndarray:
        return p

    def predict(self, p: np.ndarray) -> np.ndarray:
        return np.asarray(p.argmax(1))


class Ones(np.random.RandomState):
    """Draws 1 as the random number of APS."""

    def uniform(self, *_: object, size: int | tuple[int, ...] = 1) -> np.ndarray:  # type: ignore[override]
        return np.ones(size)


def by_mapie(
    method: str,
    fitted: tuple[np.ndarray, np.ndarray],
    p: np.ndarray,
    coverage: float,
    noise: np.random.RandomState | None = None,
) -> tuple[float, np.ndarray]:
    """MAPIE's threshold, and its sets of p (N, K)."""
    oracle = SplitConformalClassifier(
        Given(p.shape[1]), coverage, method, random_state=noise or Ones()
    ).conformalize(*fitted)
    sets = oracle.predict_set(p, {"include_last_label": True})[1][:, :, 0]
    return float(np.ravel(oracle._conformity_score.quantiles_)[0]), sets.astype(bool)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("count", [20, 299, 1000])
def test_thresholds_and_sets_are_those_of_mapie(method: str, coverage: float, count: int) -> None:
    """MAPIE's APS draws a number u for each image and takes u times its probability off a score.

    Ours takes all of it off, as if u were 1, so that the same image always has the same set.
    """
    p, labels = drawn(count + 500, count, classes=7)
    fitted = p[:count], labels[:count]
    own = PredictionSets.fit(method, *fitted, coverage)
    threshold, sets = by_mapie(method, fitted, p[count:], coverage)
    assert own.threshold == pytest.approx(threshold, abs=1e-12)
    assert (own.sets(p[count:]) == sets).all()


def test_sets_of_a_run_are_those_of_mapie(trained_run: Path) -> None:
    """Probabilities of a network, some of which are equal, as files round them."""
    known = Predictions.read(trained_run / "val_predictions.csv")
    p = known.probabilities / known.probabilities.sum(1, keepdims=True)
    labels = np.array([known.classes.index(name) for name in known.labels])
    half = len(p) // 2
    for method in METHODS:
        own = PredictionSets.fit(method, p[:half], labels[:half], 0.9)
        threshold, sets = by_mapie(method, (p[:half], labels[:half]), p[half:], 0.9)
        assert own.threshold == pytest.approx(threshold, abs=1e-12)
        assert (own.sets(p[half:]) == sets).all()


def test_where_mapie_differs() -> None:
    p, labels = drawn(1000, 5, classes=7)
    fitted = p[:500], labels[:500]
    own = PredictionSets.fit("aps", *fitted, 0.9)
    # with its random number, MAPIE's scores and threshold are higher, and its sets hold ours
    threshold, sets = by_mapie("aps", fitted, p[500:], 0.9, np.random.RandomState(0))
    assert threshold > own.threshold and (sets >= own.sets(p[500:])).all()
    assert sets.sum() > own.sets(p[500:]).sum()
    # it asks for 20 images where the largest score of 19 is exactly the quantile of 95 %
    assert PredictionSets.fit("lac", p[:19], labels[:19], 0.95).threshold < 1
    with pytest.raises(ValueError, match="Number of samples of the score is too low"):
        by_mapie("lac", (p[:19], labels[:19]), p, 0.95)
