"""How certain a figure is: intervals of accuracies and differences, tests of paired predictions."""

import math
from collections.abc import Sequence

import numpy as np


def wilson_interval(fraction: float, count: int, z: float = 1.959964) -> list[float]:
    """Return Wilson's score interval (1927) of a fraction of `count` trials; 95 % by default."""
    centre = fraction + z**2 / (2 * count)
    half = z * math.sqrt(fraction * (1 - fraction) / count + z**2 / (4 * count**2))
    scale = 1 + z**2 / count
    return [max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)]


RESAMPLES = 10_000
_AT_ONCE = 2_000_000  # drawn numbers in memory


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided p-value of McNemar's exact test (1947) on the discordant pairs.

    `only_first` and `only_second` count the images that only one classifier has right. Under the
    hypothesis of equal error rates, each is binomial with p = 1/2 (Dietterich 1998 describes the
    test for comparing classifiers). The p-value is 1 if there are no such pairs.
    """
    from scipy.stats import binomtest

    count = only_first + only_second
    return float(binomtest(only_first, count).pvalue) if count else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p-values of several tests, in their order, for their number (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = largest
    return adjusted


def bootstrap_interval(
    differences: np.ndarray, resamples: int = RESAMPLES, seed: int = 0
) -> list[float]:
    """95 % percentile interval of the mean of paired differences (N,), one for each image.

    Images are drawn with replacement, both classifiers' results together (Efron and Tibshirani
    1993, chapters 8 and 13). The same seed and N draw the same images.
    """
    noise = np.random.default_rng(seed)
    count = len(differences)
    rows = max(1, _AT_ONCE // max(count, 1))
    means = [
        differences[noise.integers(0, count, (min(rows, resamples - at), count))].mean(1)
        for at in range(0, resamples, rows)
    ]
    low, high = np.quantile(np.concatenate(means), (0.025, 0.975))
    return [float(low), float(high)]
