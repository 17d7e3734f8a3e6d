"""Paired statistics against closed forms."""

import math

import numpy as np
import pytest

from strided.evaluation.intervals import bootstrap_interval, holm, mcnemar_exact


@pytest.mark.parametrize("pair", [(0, 1), (0, 6), (10, 2), (31, 50), (400, 600), (5000, 5200)])
def test_mcnemar_is_twice_the_tail_of_the_binomial(pair: tuple[int, int]) -> None:
    count = sum(pair)
    tail = sum(math.comb(count, k) for k in range(min(pair) + 1)) if count < 2000 else None
    if tail is not None:
        assert mcnemar_exact(*pair) == pytest.approx(2 * tail / 2**count)
    assert mcnemar_exact(*pair[::-1]) == pytest.approx(mcnemar_exact(*pair))


def test_mcnemar_in_closed_form() -> None:
    assert mcnemar_exact(0, 0) == mcnemar_exact(5, 5) == 1
    assert mcnemar_exact(6, 0) == 2 / 2**6


def test_holm_adjusts_in_order_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1, 1] and holm([0.2]) == [0.2] and holm([]) == []


def test_the_bootstrap_is_seeded_and_has_the_width_of_the_normal_interval() -> None:
    differences = np.random.default_rng(1).choice([-1, 0, 1], 2000, p=[0.1, 0.75, 0.15])
    low, high = bootstrap_interval(differences)
    half = 1.96 * differences.std() / 2000**0.5
    assert [low, high] == bootstrap_interval(differences)
    assert (low + high) / 2 == pytest.approx(differences.mean(), abs=half / 10)
    assert (high - low) / 2 == pytest.approx(half, rel=0.05)
    assert bootstrap_interval(differences, seed=1) != [low, high]


def test_no_difference_has_an_interval_of_nothing() -> None:
    assert bootstrap_interval(np.zeros(5)) == [0, 0]


def test_the_interval_covers_as_often_as_it_says() -> None:
    noise = np.random.default_rng(2)
    covered = 0
    for trial in range(200):
        low, high = bootstrap_interval(noise.normal(0.3, 1, 100), resamples=500, seed=trial)
        covered += low <= 0.3 <= high
    assert 0.89 <= covered / 200 <= 0.99
