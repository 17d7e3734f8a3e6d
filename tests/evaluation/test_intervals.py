"""Paired statistics against closed forms."""

import math

import numpy as np
import pytest

from strided.evaluation.intervals import (
    bootstrap_interval,
    holm,
    holm_levels,
    mcnemar_exact,
    paired_interval,
)
from strided.evaluation.metric_intervals import _wilson_of_width


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


@pytest.mark.parametrize("level", [0.95, 1 - 0.05 / 3, 0.99])
def test_the_paired_interval_excludes_0_exactly_where_mcnemar_finds_a_difference(
    level: float,
) -> None:
    for first in range(61):
        for second in range(61 - first):
            low, high = paired_interval(first, second, 100, level)
            assert (low > 0 or high < 0) == (mcnemar_exact(first, second) < 1 - level)
            assert -1 <= low <= (first - second) / 100 <= high <= 1 and low < high
            mirrored = paired_interval(second, first, 100, level)
            assert mirrored == pytest.approx([-high, -low])


def test_the_paired_interval_covers_the_true_difference() -> None:
    """Also where nearly all discordant images favour one: n discordant ones are no constant."""
    noise = np.random.default_rng(0)
    for discordant, lead in ((0.05, 0.9), (0.2, 0.9), (0.2, 0.4), (0.1, 0.0)):
        first = discordant * (1 + lead) / 2
        counts = noise.multinomial(359, [first, discordant - first, 1 - discordant], 2000)
        pairs, times = np.unique(counts[:, :2], axis=0, return_counts=True)
        inside = [
            low <= discordant * lead <= high
            for low, high in (paired_interval(one, other, 359) for one, other in pairs.tolist())
        ]
        assert 0.94 < np.average(inside, weights=times) < 0.985


def test_without_discordant_images_the_interval_is_of_what_so_few_could_hide() -> None:
    low, high = paired_interval(0, 0, 100)
    assert -low == high == pytest.approx(1.96**2 / (100 + 1.96**2), rel=1e-3)
    assert paired_interval(3, 0, 3) == [pytest.approx(-0.4152, abs=1e-4), 1]


def test_levels_of_intervals_agree_with_holm() -> None:
    assert holm_levels([0.3]) == [pytest.approx(0.95)]
    noise = np.random.default_rng(0)
    for _ in range(200):
        pairs = noise.integers(0, 14, (4, 2)).tolist()
        p_values = [mcnemar_exact(one, other) for one, other in pairs]
        levels = holm_levels(p_values)
        assert all(0.95 - 1e-12 <= level <= 1 - 0.05 / 4 for level in levels)
        for (one, other), p, level in zip(pairs, holm(p_values), levels, strict=True):
            low, high = paired_interval(one, other, 40, level)
            assert (low > 0 or high < 0) == (p < 0.05)
    assert holm_levels([0.0, 0.5]) == [pytest.approx(0.975), pytest.approx(0.95)]


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


@pytest.mark.parametrize("width", [1e-12, 1e-6, 0.3, 0.9])
@pytest.mark.parametrize("value", [0.0, 0.1, 0.5, 1.0])
def test_an_interval_has_the_width_that_it_is_made_for_however_small(
    value: float, width: float
) -> None:
    low, high = _wilson_of_width(value, width)
    assert low - 1e-9 <= value <= high + 1e-9
    assert high - low == pytest.approx(width, rel=1e-3)
