"""How certain a figure is: intervals of accuracies and differences, tests of paired predictions."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

Z = 1.959964  # the normal quantile of a 95 % interval
RESAMPLES = 10_000
_AT_ONCE = 2_000_000  # drawn numbers in memory


def wilson_interval(fraction: float, count: float, z: float = Z) -> list[float]:
    """Return Wilson's score interval (1927) of a fraction of `count` trials; 95 % by default."""
    centre = fraction + z**2 / (2 * count)
    half = z * math.sqrt(fraction * (1 - fraction) / count + z**2 / (4 * count**2))
    scale = 1 + z**2 / count
    return [max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)]


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided p-value of McNemar's exact test (1947) on the discordant pairs.

    `only_first` and `only_second` count the images that only one classifier has right. Under the
    hypothesis of equal error rates, each is binomial with p = 1/2 (Dietterich 1998 describes the
    test for comparing classifiers). The p-value is 1 if there are no such pairs.
    """
    from scipy.stats import binomtest

    count = only_first + only_second
    return float(binomtest(only_first, count).pvalue) if count else 1.0


def paired_interval(
    only_first: int, only_second: int, images: int, level: float = 0.95
) -> list[float]:
    """Return an interval of the difference of two accuracies on the same `images`, first - second.

    It excludes 0 exactly if `mcnemar_exact` is below 1 - level. The difference is the share d of
    discordant images times the lead of the first classifier among them. The lead's interval is
    Clopper and Pearson's (1934), the inverse of the test, and d's is Wilson's. Both are combined
    on the scale of logarithms, on which a product is a sum (MOVER: Zou, Huang and Zhang 2009). The
    lead's interval times d alone would ignore that d is measured too, and cover a true difference
    far too seldom (docs/results.md).
    """
    high = _upper_limit(only_first, only_second, images, level)
    low = -_upper_limit(only_second, only_first, images, level)
    return [max(-1.0, low), min(1.0, high)]


def _upper_limit(only_first: int, only_second: int, images: int, level: float) -> float:
    """The upper limit of `paired_interval`; below 0 if the second is surely better."""
    from scipy.stats import beta

    count = only_first + only_second
    discordant = count / images
    fewest, most = wilson_interval(discordant, images, NormalDist().inv_cdf((1 + level) / 2))
    if not count:
        return most
    share = float(beta.ppf((1 + level) / 2, only_first + 1, only_second)) if only_second else 1.0
    lead, greatest = (only_first - only_second) / count, 2 * share - 1
    if greatest <= 0:  # below: |lead| >= |greatest|, and fewer discordant images bring 0 nearer
        apart = (
            math.inf
            if greatest == 0
            else math.hypot(math.log(lead / greatest), math.log(discordant / fewest))
        )
        return discordant * lead * math.exp(-apart)
    if lead <= 0:
        return discordant * greatest
    apart = math.hypot(math.log(greatest / lead), math.log(most / discordant))
    return discordant * lead * math.exp(apart)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p-values of several tests, in their order, for their number (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = largest
    return adjusted


def holm_levels(p_values: Sequence[float], level: float = 0.95) -> list[float]:
    """Return the level at which each test's interval excludes what `holm` rejects, and no more.

    At least `level` each, and at most 1 - (1 - level) / tests, which is Bonferroni's.
    """
    return [
        1 - (1 - level) * (p / adjusted if adjusted else 1 / len(p_values))
        for p, adjusted in zip(p_values, holm(p_values), strict=True)
    ]


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
