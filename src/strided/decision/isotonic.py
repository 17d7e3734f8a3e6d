"""Isotonic regression: the rising steps that fit best, with straight lines between their ends."""

import numpy as np


def fit_rising(scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the points (M,), (M,) that a score is interpolated between, as scikit-learn does.

    Zadrozny and Elkan 2002; by pooling adjacent violators. Equal scores count as one.
    """
    at, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    means = np.bincount(inverse, weights=targets.astype(np.float64)) / counts
    values = _pooled(means, counts)
    # within a step only its ends are needed
    ends = np.ones(len(at), dtype=bool)
    ends[1:-1] = (values[1:-1] != values[:-2]) | (values[1:-1] != values[2:])
    return at[ends], values[ends]


def _pooled(means: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The nearest rising values, in the sense of weighted squares."""
    steps: list[tuple[float, float, int]] = []  # mean, weight, number of values
    for mean, weight in zip(means.tolist(), counts.tolist(), strict=True):
        merged = (mean, float(weight), 1)
        while steps and steps[-1][0] >= merged[0]:
            before = steps.pop()
            total = before[1] + merged[1]
            middle = (before[0] * before[1] + merged[0] * merged[1]) / total
            merged = (middle, total, before[2] + merged[2])
        steps.append(merged)
    return np.repeat([mean for mean, _, _ in steps], [number for _, _, number in steps])
