"""Risk by coverage, by hand; the threshold's guarantee, by simulation."""

import numpy as np
import pytest

from strided.decision.selective import RiskCoverage, _at_most, threshold

CONFIDENCE = np.array([0.9, 0.6, 0.8, 0.7, 0.5])
CORRECT = np.array([True, False, True, True, False])


def test_the_curve_of_five_cases_is_as_by_hand() -> None:
    curve = RiskCoverage.of(CONFIDENCE, CORRECT)
    assert curve.thresholds.tolist() == [0.9, 0.8, 0.7, 0.6, 0.5]
    assert curve.coverage.tolist() == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert curve.risk.tolist() == [0, 0, 0, 1 / 4, 2 / 5]
    assert curve.aurc() == pytest.approx((1 / 4 + 2 / 5) / 5)
    assert curve.accuracy_at(0.8) == (0.75, 4)
    assert curve.accuracy_at(0.01) == (1.0, 1)
    assert curve.decided_from(0.65) == (3, 0)
    assert curve.decided_from(0.6) == (4, 1)
    assert curve.decided_from(0.95) == curve.decided_from(None) == (0, 0)


def test_equally_sure_cases_are_decided_together_whatever_their_order() -> None:
    confidence, correct = np.array([0.9, 0.5, 0.5, 0.5, 0.5]), np.array([1, 0, 1, 1, 1], dtype=bool)
    there, back = (
        RiskCoverage.of(confidence[o], correct[o]) for o in (slice(None), [4, 3, 2, 1, 0])
    )
    assert there.counts.tolist() == back.counts.tolist() == [1, 5]
    assert there.accuracy_at(0.6) == back.accuracy_at(0.6) == (pytest.approx(1 - 0.5 / 3), 3)
    assert there.aurc() == back.aurc() == pytest.approx(4 / 5 * 1 / 5)


@pytest.mark.parametrize(
    ("errors", "count", "risk"), [(0, 59, 0.05), (3, 200, 0.05), (240, 5000, 0.05), (5, 5, 0.1)]
)
def test_the_probability_of_few_errors_is_that_of_scipy(
    errors: int, count: int, risk: float
) -> None:
    stats = pytest.importorskip("scipy.stats")
    assert _at_most(errors, count, risk) == pytest.approx(stats.binom.cdf(errors, count, risk))


def test_a_threshold_is_where_the_limit_of_clopper_and_pearson_passes() -> None:
    stats = pytest.importorskip("scipy.stats")
    confidence = np.linspace(1, 0.5, 300)
    correct = np.ones(300, dtype=bool)
    correct[100::5] = False
    chosen = threshold(confidence, correct, max_risk=0.1)
    count, errors = RiskCoverage.of(confidence, correct).decided_from(chosen)

    def limit(errors: int, count: int) -> float:
        return float(stats.beta.ppf(0.95, errors + 1, count - errors))

    assert chosen is not None
    assert limit(errors, count) <= 0.1 < limit(errors + (not correct[count]), count + 1)


def test_no_threshold_without_enough_images_or_with_errors_everywhere() -> None:
    surest = np.full(58, 1.0)
    assert threshold(surest, surest > 0, max_risk=0.05) is None
    assert threshold(np.full(59, 1.0), np.full(59, True), max_risk=0.05) == 1.0
    assert threshold(np.linspace(0.5, 1, 500), np.arange(500) % 2 == 0, max_risk=0.05) is None
    assert threshold(np.empty(0), np.empty(0, dtype=bool), max_risk=0.05) is None


@pytest.mark.parametrize(("max_risk", "honest"), [(0.1, 1.0), (0.05, 1.0), (0.1, 0.95)])
def test_the_risk_is_kept_in_all_but_one_of_twenty_calibrations(
    max_risk: float, honest: float
) -> None:
    """500 sets of 500 images; confidences promise too much if `honest` is below 1."""
    noise = np.random.default_rng(0)
    many = np.sort(noise.beta(3, 1, 200_000))
    risks = 1 - honest * many[::-1].cumsum() / np.arange(1, len(many) + 1)

    def risk_from(chosen: float) -> float:
        return float(risks[len(many) - 1 - np.searchsorted(many, chosen)])

    kept, chosen = 0, 0
    for _ in range(500):
        confidence = noise.beta(3, 1, 500)
        found = threshold(confidence, noise.random(500) < honest * confidence, max_risk)
        chosen += found is not None
        kept += found is None or risk_from(found) <= max_risk
    assert kept >= 500 * 0.95 - 2 * (500 * 0.95 * 0.05) ** 0.5
    assert chosen > (300 if (max_risk, honest) == (0.1, 1.0) else 0)
