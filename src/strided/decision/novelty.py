"""How far an image's features are from those of the training images."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from strided.decision.plain import array_of

METHODS = ("mahalanobis", "knn")
AXES = 64  # at most, along which the spread is known by itself
NEIGHBOUR = 5  # whose distance counts
_CONSTANT = 1e-6  # less than that is no spread of features
_LEAST_VARIANCE = 1e-12  # of standardised features
_LARGEST = 1 << 20  # features, or rows, of a file that nobody has checked
_PART = 256  # rows at a time


@dataclass(frozen=True)
class Novelty:
    """A distance of features (N, F) from the training images'.

    Features less their `mean`, divided by a `scale` (F,), are turned to the R `axes` (F, R) along
    which images of one class differ most, each divided by its `spread` (R,). What is left is one
    more coordinate: its length, divided by `rest`, the deviation in all other directions. Strangers
    are often ordinary along the axes, and far off in the rest. Spreads are shrunk to their mean
    (Ledoit & Wolf 2004), since there are often more features than images.

    mahalanobis: `centres` (M, R + 1) are the means of the classes, without any rest; the nearest
    one counts (Lee et al. 2018). knn: they are training images (M, F); the fifth nearest one counts
    (Sun et al. 2022). It uses no axes: whitened, strangers among flowers were told far worse.
    """

    method: str
    mean: np.ndarray
    scale: np.ndarray
    axes: np.ndarray
    spread: np.ndarray
    rest: float
    centres: np.ndarray

    @classmethod
    def fit(
        cls,
        method: str,
        features: np.ndarray,
        labels: np.ndarray,
        least: float | None = None,
    ) -> Self:
        """Fit on features (N, F) and labels (N,), N from 2 on.

        All have one scale. With a `least` one each has its own: its standard deviation, or that.
        """
        features = features.astype(np.float64)
        mean, deviation = features.mean(0), features.std(0)
        if least is None:
            scale = np.full_like(mean, max(np.sqrt((deviation**2).mean()), _CONSTANT))
        else:
            scale = np.maximum(deviation, least)
        standard = (features - mean) / scale
        classes, members = np.unique(labels, return_inverse=True)
        means = np.stack([standard[members == k].mean(0) for k in range(len(classes))])
        if method == "mahalanobis":
            axes, spread, rest = _within(standard - means[members])
            inside = means @ axes / spread
            centres = np.concatenate([inside, np.zeros((len(classes), 1))], axis=1)
        else:
            axes, spread, rest = np.zeros((len(mean), 1)), np.ones(1), 1.0
            centres = standard
        # as a checkpoint will have it
        own = cls(method, mean, scale, axes, spread, rest, centres)
        return cls.of_arrays(method, own.arrays())

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Return the distances (N,) of features (N, F); infinity where they are not finite."""
        found = np.full(len(features), np.inf)
        finite = np.flatnonzero(np.isfinite(features).all(1))
        squares = (self.centres**2).sum(1)
        for at in range(0, len(finite), _PART):
            part = finite[at : at + _PART]
            own = self._coordinates(features[part])
            apart = (own**2).sum(1)[:, None] + squares - 2 * own @ self.centres.T
            place = min(NEIGHBOUR, len(squares)) - 1 if self.method == "knn" else 0
            found[part] = np.partition(apart, place, axis=1)[:, place]
        return np.sqrt(np.maximum(found, 0))

    def _coordinates(self, features: np.ndarray) -> np.ndarray:
        standard = (features.astype(np.float64) - self.mean) / self.scale
        if self.method == "knn":
            return standard
        along = standard @ self.axes
        left = np.maximum((standard**2).sum(1) - (along**2).sum(1), 0)
        return np.concatenate([along / self.spread, np.sqrt(left)[:, None] / self.rest], axis=1)

    def arrays(self) -> dict[str, np.ndarray]:
        """What it was fitted to, in float32."""
        fitted = {
            "mean": self.mean,
            "scale": self.scale,
            "axes": self.axes,
            "spread": self.spread,
            "rest": np.array([self.rest]),
            "centres": self.centres,
        }
        return {name: values.astype(np.float32) for name, values in fitted.items()}

    @classmethod
    def of_arrays(cls, method: str, arrays: Mapping[str, Any]) -> Self:
        """Take over what `arrays` returned, which may be a stranger's. Raises ValueError."""
        if method not in METHODS:
            raise ValueError(f"its gate {method!r} is none of {', '.join(METHODS)}")
        mean = array_of(arrays, "mean", (None,), _LARGEST)
        axes = array_of(arrays, "axes", (len(mean), None), _LARGEST)
        scale = array_of(arrays, "scale", mean.shape, _LARGEST)
        spread = array_of(arrays, "spread", (axes.shape[1],), _LARGEST)
        rest = array_of(arrays, "rest", (1,), _LARGEST)
        wide = len(mean) if method == "knn" else len(spread) + 1
        centres = array_of(arrays, "centres", (None, wide), _LARGEST)
        if min(scale.min(), spread.min(), rest.min()) <= 0:
            raise ValueError("a spread of its gate is not above 0")
        return cls(method, mean, scale, axes, spread, float(rest[0]), centres)


def _within(differences: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return axes (F, R), their deviations (R,) and that of the rest, of differences (N, F)."""
    count, size = differences.shape
    few = count < size  # images: the smaller of the two products has the same eigenvalues
    product = differences @ differences.T if few else differences.T @ differences
    values, vectors = np.linalg.eigh(product / count)
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    if values[0] <= _LEAST_VARIANCE:  # one image of each class, or copies
        return np.eye(size, 1), np.array([_LEAST_VARIANCE**0.5]), _LEAST_VARIANCE**0.5
    number = min(AXES, int((values > 1e-9 * values[0]).sum()))
    axes = vectors[:, :number]
    if few:
        axes = differences.T @ axes / np.sqrt(count * values[:number])
    total = values.sum()
    share, mean = _shrinkage(differences, values), total / size
    shrunk = (1 - share) * values[:number] + share * mean
    others = size - number
    left = total - values[:number].sum()
    rest = (1 - share) * left / others + share * mean if others else mean
    return axes, np.sqrt(np.maximum(shrunk, _LEAST_VARIANCE)), max(rest, _LEAST_VARIANCE) ** 0.5


def _shrinkage(differences: np.ndarray, values: np.ndarray) -> float:
    """Return how far to go from the covariance to its mean: 0 to 1 (Ledoit & Wolf 2004)."""
    count, size = differences.shape
    squares = (values**2).sum()
    dispersion = squares / size - (values.sum() / size) ** 2
    noise = (((differences**2).sum(1) ** 2).mean() - squares) / count / size
    return float(np.clip(noise / dispersion, 0, 1)) if dispersion > 0 else 1.0
