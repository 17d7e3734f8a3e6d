"""Predictive values at a prevalence: published ones, and how often their intervals cover."""

import numpy as np
import pytest

from strided.evaluation.intervals import wilson_interval
from strided.evaluation.prevalence import Share, at_prevalence


def measured(hits: int, count: int) -> Share:
    return Share(hits / count, *wilson_interval(hits / count, count))


def test_published_values() -> None:
    # Altman and Bland 1994: sensitivity 0.90, specificity 0.63, prevalence 0.25
    ppv, npv = at_prevalence(measured(231, 258), measured(54, 86), 0.25)
    assert ppv and ppv.value == pytest.approx(0.45, abs=0.005)
    assert npv and npv.value == pytest.approx(0.95, abs=0.005)


def test_at_the_prevalence_of_the_images_they_are_precision_and_npv() -> None:
    ppv, npv = at_prevalence(measured(30, 40), measured(50, 60), 0.4)
    assert ppv and ppv.value == pytest.approx(30 / 40)
    assert npv and npv.value == pytest.approx(50 / 60)


@pytest.mark.parametrize("found", [(40, 60), (40, 0), (0, 60), (0, 0)])
def test_figures_of_0_and_1_have_intervals_too(found: tuple[int, int]) -> None:
    each = at_prevalence(measured(found[0], 40), measured(found[1], 60), 0.02)
    answered = found[0] > 0 or found[1] < 60, found[1] > 0 or found[0] < 40  # so, and not so
    for own, is_known in zip(each, answered, strict=True):
        assert (own is not None) == is_known
        assert own is None or 0 <= own.low <= own.value <= own.high <= 1
        assert own is None or own.low < own.high


@pytest.mark.parametrize(("positives", "negatives"), [(124, 1000), (20, 200)])
def test_intervals_cover_the_truth(positives: int, negatives: int) -> None:
    noise, rates, share = np.random.default_rng(0), (0.9, 0.97), 0.05
    truth = (
        rates[0] * share / (rates[0] * share + (1 - rates[1]) * (1 - share)),
        rates[1] * (1 - share) / (rates[1] * (1 - share) + (1 - rates[0]) * share),
    )
    covered = []
    for _ in range(1000):
        hits = [noise.binomial(n, p) for n, p in zip((positives, negatives), rates, strict=True)]
        found = at_prevalence(measured(hits[0], positives), measured(hits[1], negatives), share)
        covered.append(
            [
                own is not None and own.low <= p <= own.high
                for own, p in zip(found, truth, strict=True)
            ]
        )
    assert (np.mean(covered, axis=0) > 0.93).all()
