"""Intervals by resampling: groups count as one."""

import math

import numpy as np
import pytest

from strided.evaluation.resampling import mean_by_group


def test_ten_copies_in_a_group_tell_as_much_as_one_image() -> None:
    values = np.random.default_rng(0).random(80)
    single = mean_by_group(values, np.arange(80))
    copied = np.repeat(values, 10)
    assert single and mean_by_group(copied, np.repeat(np.arange(80), 10)) == pytest.approx(single)
    apart = mean_by_group(copied, np.arange(800))
    assert apart and apart[1] - apart[0] < 0.5 * (single[1] - single[0])


def test_an_interval_of_a_share_is_near_the_binomial_one() -> None:
    right = np.arange(400) % 5 > 0
    half = 1.96 * math.sqrt(0.8 * 0.2 / 400)
    ends = mean_by_group(right.astype(float), np.arange(400))
    assert ends == pytest.approx([0.8 - half, 0.8 + half], abs=0.005)


def test_groups_of_different_sizes_weigh_as_many_as_their_images() -> None:
    values, groups = np.array([1.0, 1, 1, 0]), np.array(["a", "a", "a", "b"])
    assert mean_by_group(values, groups) == [0.0, 1.0]  # both draws of one group are likely enough


def test_one_group_has_no_interval() -> None:
    assert mean_by_group(np.arange(5.0), np.zeros(5)) is None
