"""Prediction sets: thresholds by hand, what they promise, what a damaged file gives."""

import json

import numpy as np
import pytest

from strided.decision.scaling import log_softmax
from strided.decision.sets import METHODS, PredictionSets, class_scores, label_scores


def drawn(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, 4) of a calibrated model, and labels."""
    generator = np.random.default_rng(seed)
    p = np.exp(log_softmax(generator.normal(size=(count, 4)) * 2))
    return p, (p.cumsum(1) < generator.random((count, 1))).sum(1).clip(max=3)


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


def test_sets_of_aps_are_never_empty_and_those_of_lac_may_be() -> None:
    p, labels = drawn(4000, seed=2)
    own = {m: PredictionSets.fit(m, p[:2000], labels[:2000], 0.5).sets(p[2000:]) for m in METHODS}
    assert own["aps"][np.arange(2000), p[2000:].argmax(1)].all()
    empty = ~own["lac"].any(1)
    assert empty.any() and p[2000:][empty].max() < p[2000:][~empty].max(1).min()


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
