"""The interval of a mean, by drawing whole groups of images again.

The groups (patients) are drawn with replacement, each with all of its images: an image of a patient
whose other images are known tells less than one of a new patient (Davison and Hinkley 1997,
"Bootstrap Methods and their Application", section 3.8).
"""

import numpy as np

RESAMPLES = 2_000  # enough for percentiles (Efron and Tibshirani 1993, section 13.3)
_AT_ONCE = 4_000_000  # weights in memory


def mean_by_group(
    values: np.ndarray, groups: np.ndarray, resamples: int = RESAMPLES, seed: int = 0
) -> list[float] | None:
    """The two ends of a 95 % interval of the mean of values (N,), by drawing groups (N,).

    Of paired differences it is an interval of their mean. None if there is a single group.
    """
    _, group_of = np.unique(groups, return_inverse=True)
    count = int(group_of.max()) + 1
    if count < 2:
        return None
    sums, sizes = np.bincount(group_of, values), np.bincount(group_of)
    noise = np.random.default_rng(seed)
    rows = max(1, _AT_ONCE // count)
    means = []
    for at in range(0, resamples, rows):
        drawn = noise.integers(0, count, (min(rows, resamples - at), count))
        means.append(sums[drawn].sum(1) / sizes[drawn].sum(1))
    low, high = np.quantile(np.concatenate(means), (0.025, 0.975))
    return [float(low), float(high)]
