"""The end of a run's curves: the slopes of accuracy and loss, and what is known of them.

Epochs differ by chance: the weights move, by steps that are correlated from one epoch to the next,
and the validation images are a sample.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

LITTLE = 0.01  # of accuracy: what a plateau may still gain, at most a quarter of the errors
LITTLE_LOSS = 0.1  # of the loss
FEWEST = 6  # validated epochs to call anything a plateau or an early best
_LOWERED = 0.5  # of the highest learning rate: below, a curve may be flat because of the rate
_STEADY = 0.5  # of binomial noise: the least between epochs, as they share their images

Curves = Mapping[str, Sequence[float]]  # columns of metrics.csv


@dataclass(frozen=True)
class Line:
    """A straight line by least squares; `scatter` is the standard deviation about it.

    `sure` is half of the 98 % interval of its slope. `probable` is half of the 90 % interval, which
    an equivalence test at 5 % asks for.
    """

    slope: float
    sure: float
    probable: float
    scatter: float

    @classmethod
    def fit(cls, epochs: np.ndarray, values: np.ndarray, least: float = 0.0) -> Self:
        """Fit at least three values; `least` is the standard deviation they have at any rate.

        The residuals' correlation from one to the next, r, leaves (1 - r) / (1 + r) as many
        independent values (Bartlett 1946).
        """
        from scipy.stats import norm, t

        steps = epochs - epochs.mean()
        spread = float((steps**2).sum())
        slope = float((steps * values).sum() / spread)
        residuals = values - values.mean() - slope * steps
        free: float = len(values) - 2
        squares = float((residuals**2).sum())
        r = _correlation(residuals, squares)
        scatter = math.sqrt(squares / free)
        correlated = scatter * math.sqrt((1 + r) / (1 - r))
        free = max(1.0, free * (1 - r) / (1 + r))
        sure, probable = (
            max(float(t.ppf(q, free)) * correlated, float(norm.ppf(q)) * least) / math.sqrt(spread)
            for q in (0.99, 0.95)
        )
        return cls(slope, sure, probable, scatter)


def _correlation(residuals: np.ndarray, squares: float) -> float:
    """Lag-1 correlation, 0 to 0.8; a line through few values leaves it too small by some 4 / N."""
    if len(residuals) < FEWEST or squares == 0:
        return 0.0
    r = float((residuals[1:] * residuals[:-1]).sum()) / squares
    return min(0.8, max(0.0, r + 2 / len(residuals)))


@dataclass(frozen=True)
class End:
    """The end of a stage: lines through accuracy and loss in its last third and its last half.

    A rise or fall is looked for in the last third, at least four epochs. What more epochs would
    gain is taken from the last half, which knows the slope better; a curve that flattens has a
    steeper slope there, which errs on the safe side. `lowered` is the last learning rate as a share
    of the highest, and 1 if it is above a half.
    """

    epochs: np.ndarray  # validated ones of the whole stage
    window: int
    level: float  # mean accuracy
    images: int
    acc: Line
    acc_half: Line
    loss: Line | None
    loss_half: Line | None
    loss_level: float
    train_falls: bool
    lowered: float

    @classmethod
    def of(cls, curves: Curves, validated: np.ndarray, images: int) -> Self:
        """Of the curves of a stage, at its validated epochs."""
        epochs, acc, loss, train, rates = (
            np.asarray(curves.get(name, np.full(len(validated), np.nan)), dtype=float)[validated]
            for name in ("epoch", "val/acc", "val/loss", "train/loss", "lr")
        )
        window = min(len(acc), max(4, len(acc) // 3))
        last, half = slice(-window, None), slice(-max(window, -(-len(acc) // 2)), None)
        level = float(acc[last].mean())
        least = _STEADY * standard_error(level, images)
        usable = bool(np.isfinite(loss[half]).all())
        share = float(rates[-1] / rates.max()) if np.isfinite(rates).all() and rates.max() else 1.0
        return cls(
            epochs,
            window,
            level,
            images,
            Line.fit(epochs[last], acc[last], least),
            Line.fit(epochs[half], acc[half], least),
            Line.fit(epochs[last], loss[last]) if usable else None,
            Line.fit(epochs[half], loss[half]) if usable else None,
            float(loss[last].mean()) if usable else math.nan,
            bool(train[-1] < train[-window]),
            share if share < _LOWERED else 1.0,
        )

    @property
    def further(self) -> float:
        """A third of the stage's epochs."""
        return math.ceil((self.epochs[-1] - self.epochs[0] + 1) / 3)

    @property
    def gain(self) -> tuple[float, float]:
        """90 % interval of what `further` epochs at this slope would gain in accuracy."""
        line = self.acc_half
        low, high = (line.slope + side * line.probable for side in (-1, 1))
        return self.further * low, self.further * high

    @property
    def stands(self) -> bool:
        """Whether neither accuracy nor loss would get better by more than a little."""
        if self.loss_half is None or len(self.epochs) < FEWEST:
            return False
        little = max(min(LITTLE, (1 - self.level) / 4), 1 / self.images)
        fall = self.further * (self.loss_half.probable - self.loss_half.slope)
        low, high = self.gain
        return -little < low and high < little and fall < LITTLE_LOSS * self.loss_level

    @property
    def span(self) -> str:
        """The epochs of the last third, in words."""
        return f"from epoch {self.epochs[-self.window]:.0f} to {self.epochs[-1]:.0f}"

    @property
    def length(self) -> float:
        """Epochs from the first to the last of the last third."""
        return float(self.epochs[-1] - self.epochs[-self.window])

    @property
    def loss_change(self) -> float:
        """Change of the loss over the last third, as a share of it."""
        assert self.loss is not None
        return self.loss.slope * self.length / self.loss_level


def standard_error(share: float, images: int) -> float:
    """Binomial standard error of a share of so many images; of 0 and 1 as of one image beside."""
    return math.sqrt(max(share * (1 - share), 1 / images) / images)
