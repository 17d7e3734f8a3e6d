"""Thresholds of a chosen sensitivity: those of scikit-learn's ROC curve, and a stranger's file."""

from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from strided.decision.calibration import Calibration
from strided.decision.decision import Decision, Scores
from strided.decision.operating_point import OperatingPoint

NOISE = np.random.default_rng(0)
LABELS = NOISE.integers(0, 3, 200)
LOGITS = NOISE.normal(size=(200, 4)) + np.eye(4)[LABELS]  # no image of the last class
PROBABILITIES = Calibration().probabilities(LOGITS)
OF_LABEL = PROBABILITIES[np.arange(200), LABELS]


@pytest.mark.parametrize("sensitivity", [0.5, 0.8, 0.95, 0.999])
def test_the_threshold_is_the_highest_that_reaches_the_sensitivity(sensitivity: float) -> None:
    point = OperatingPoint.fit(sensitivity, OF_LABEL, LABELS, 4)
    assert point.thresholds[3] is None and not point.named(PROBABILITIES)[:, 3].any()
    for k, threshold in enumerate(point.thresholds[:3]):
        _, recall, thresholds = sk.roc_curve(
            k == LABELS, PROBABILITIES[:, k], drop_intermediate=False
        )
        assert threshold == thresholds[recall >= sensitivity - 1e-12].max()


def test_a_decision_keeps_its_thresholds_and_chooses_others_without_data() -> None:
    scores = Scores.of(PROBABILITIES, LABELS)
    decision = Decision(Calibration(), scores=scores).with_operating_point(0.9, 4)
    again = Decision.from_dict(decision.to_dict(), 4)
    assert again.operating_point == decision.operating_point
    assert again.with_operating_point(None, 4) is again
    other = again.with_operating_point(0.95, 4).operating_point
    expected = OperatingPoint.fit(0.95, OF_LABEL, LABELS, 4)
    assert other is not None and other.sensitivity == 0.95
    assert other.thresholds[:3] == pytest.approx(expected.thresholds[:3])
    named = other.named(PROBABILITIES)[np.arange(200), LABELS]
    assert all(named[k == LABELS].mean() >= 0.95 for k in range(3))
    with pytest.raises(ValueError, match="no scores"):
        Decision(Calibration()).with_operating_point(0.9, 4)


@pytest.mark.parametrize(
    "data",
    [
        None,
        {"sensitivity": 0.9},
        {"sensitivity": 0.9, "thresholds": [0.5]},
        {"sensitivity": 0.9, "thresholds": [0.5, "0.5"]},
        {"sensitivity": 1.5, "thresholds": [0.5, 0.5]},
        {"sensitivity": True, "thresholds": [0.5, 0.5]},
    ],
)
def test_a_damaged_operating_point_is_refused(data: Any) -> None:
    with pytest.raises(ValueError, match="operating point"):
        OperatingPoint.from_dict(data, 2)
