"""One axis of a chart: where a value lies on it, and which values are written beside it."""

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, which must differ; `percent` shows 0.5 as 50 %."""

    label: str
    low: float
    high: float
    log: bool = False
    percent: bool = False
    whole: bool = False  # ticks are whole numbers

    @classmethod
    def over(
        cls,
        label: str,
        values: Iterable[float],
        *,
        log: bool = False,
        percent: bool = False,
        whole: bool = False,
        margin: float = 0.05,
    ) -> "Axis":
        """An axis that holds all finite values, with a margin: a share of their range."""
        known = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
        low, high = (min(known), max(known)) if known else (0.0, 1.0)
        if log:
            room = max((high / low) ** margin, 1.05)
            return cls(label, low / room, high * room, log, percent, whole)
        room = margin * (high - low) or (0.5 if whole else abs(high) * 0.05 or 0.5)
        return cls(label, low - room, high + room, log, percent, whole)

    def share(self, value: float) -> float:
        """Where a value lies: 0 at `low`, 1 at `high`."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Round values within the axis: about five, or the powers of ten."""
        if self.log and (powers := self._powers()):
            return powers
        step = _round_step((self.high - self.low) / 5)
        step = max(1.0, math.ceil(step)) if self.whole else step
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [place * step for place in range(first, last + 1)]

    def _powers(self) -> list[float]:
        first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
        every = max(1, (last - first) // 5)
        found = [10.0**power for power in range(first, last + 1, every)]
        if len(found) > 2:
            return found
        steps = [s * 10.0**p for p in range(first - 1, last + 1) for s in (1, 2, 5)]
        return [value for value in steps if self.low <= value <= self.high]

    def word(self, value: float) -> str:
        """A tick, as it is written: with as many digits as tell it from the next."""
        step = _round_step((self.high - self.low) / 5)
        if self.percent:
            return f"{value:.{_digits(100 * step)}%}"
        if abs(value) >= 1e4 and value == round(value) and not self.log:
            return f"{value:,.0f}"
        short = f"{value:.4g}"
        exact = self.log or abs(float(short) - value) < step / 10
        return short if exact else f"{value:.{_digits(step)}f}"


def _digits(step: float) -> int:
    """How many digits after the point a round step has, at most 12."""
    return next(n for n in range(13) if n == 12 or math.isclose(round(step, n), step))


def _round_step(step: float) -> float:
    """The next larger of 1, 2, 2.5, 5 and 10 times a power of ten."""
    power = 10 ** math.floor(math.log10(step))
    return next(power * size for size in (1, 2, 2.5, 5, 10) if power * size >= step * (1 - 1e-9))
