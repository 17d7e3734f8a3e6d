"""Parallel coordinates: an upright axis for each key, a line for each combination of values.

Inselberg, "The plane with parallel coordinates", The Visual Computer 1, 1985.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from strided.pages.axis import Axis
from strided.pages.chart import WIDTH
from strided.pages.figure import TEXT, Figure, Line, Mark, Words

HEIGHT = 320.0  # units
_TOP, _BOTTOM, _APART, _SIDES = 66.0, 20.0, 84.0, 84.0
_MOST_WORDS = 9  # values of an axis that are all written
_LETTER = 0.56 * TEXT


@dataclass(frozen=True)
class Combination:
    """The values of a line from left to right, how good it is (1: the best), and its title."""

    values: Sequence[str]
    good: float
    title: str


def parallel(title: str, keys: Sequence[str], lines: Sequence[Combination]) -> Figure:
    """Draw the lines, the best last, in another colour; the last axis is a number's, by size."""
    width = max(WIDTH, _APART * len(keys))
    told = "; ".join(line.title for line in sorted(lines, key=lambda line: -line.good)[:3])
    figure = Figure(width, HEIGHT, f"{title}. The best: {told}")
    figure.add(Words(0, 16, title, bold=True, size=15))
    apart = (width - _SIDES) / (len(keys) - 1)
    places = [24 + apart * place for place in range(len(keys))]
    axes = [_Upright.of([line.values[at] for line in lines]) for at in range(len(keys) - 1)]
    axes.append(_Upright.by_size([line.values[-1] for line in lines]))
    ranked = sorted(lines, key=lambda line: line.good)
    for line in ranked:
        points = [
            (place, axis.height(value))
            for place, axis, value in zip(places, axes, line.values, strict=True)
        ]
        best = line is ranked[-1]
        opacity = 1 if best else 0.15 + 0.55 * line.good
        colour, thick = ("c1", 4) if best else ("c0", 2)
        figure.add(Line(points, colour, thick, title=line.title, opacity=opacity))
    for place, axis, key in zip(places, axes, keys, strict=True):
        figure.add(Line([(place, _TOP), (place, HEIGHT - _BOTTOM)], "quiet", 1))
        figure.add(*axis.words(place))
        figure.add(_name(key, place, apart, width))
    return figure


def _name(key: str, place: float, apart: float, width: float) -> Words:
    """The last part of a key above its axis, within the figure."""
    name, most = key.rpartition(".")[2], int(apart / _LETTER)
    name = name if len(name) <= most else f"{name[: most - 1]}…"
    if place == 24:
        return Words(0, _TOP - 24, name, bold=True)
    right = place + 1.15 * len(name) * _LETTER > width  # bold letters are wider
    return Words(
        width if right else place, _TOP - 24, name, anchor="end" if right else "start", bold=True
    )


@dataclass(frozen=True)
class _Upright:
    """Where the values of a key lie: in their order if they were chosen, else by their size."""

    order: Sequence[str]
    axis: Axis | None

    @classmethod
    def of(cls, values: Sequence[str]) -> "_Upright":
        distinct = in_order(values)
        were_chosen = len(distinct) <= max(2, min(_MOST_WORDS, len(values) // 2))
        if were_chosen or not all(map(is_number, distinct)):
            return cls(distinct, None)
        return cls.by_size(values)

    @classmethod
    def by_size(cls, values: Sequence[str]) -> "_Upright":
        numbers = [float(value) for value in values]
        return cls([], Axis.over("", numbers, log=spread_out(numbers), margin=0.02))

    def height(self, value: str) -> float:
        if self.axis is not None:
            share = self.axis.share(float(value))
        elif len(self.order) > 1:
            share = self.order.index(value) / (len(self.order) - 1)
        else:
            share = 0.5
        return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)

    def words(self, place: float) -> list[Mark]:
        if self.axis is None:
            every = -(-len(self.order) // _MOST_WORDS)
            named = [(value, self.height(value)) for value in self.order[::every]]
        else:
            named = [(self.axis.word(v), self.height(str(v))) for v in self.axis.ticks()]
        return [
            Words(place + 5, height - 5, name if len(name) < 14 else f"{name[:12]}…", size=12)
            for name, height in named
        ]


def in_order(values: Sequence[str]) -> list[str]:
    """Each value once: by size if all are numbers, else in the order of their first place."""
    distinct = list(dict.fromkeys(values))
    return sorted(distinct, key=float) if all(map(is_number, distinct)) else distinct


def is_number(value: str) -> bool:
    """Whether a word is a finite number."""
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False


def spread_out(values: Sequence[float]) -> bool:
    """Whether positive values spread so far that an axis should be logarithmic."""
    return min(values) > 0 and max(values) >= 20 * min(values)
