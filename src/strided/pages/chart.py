"""A chart: values along two axes, with ticks, a grid and a legend."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from strided.pages.axis import Axis
from strided.pages.figure import TEXT, Anchor, Box, Dot, Figure, Line, Mark, Point, Words, cut

Sign = Literal["line", "dashed", "ring", "box"]  # of a name in the legend

WIDTH, HEIGHT = 400.0, 268.0  # units: as CSS pixels on a phone
COLOURS = tuple(f"c{place}" for place in range(20))
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 22.0, 30.0, 46.0  # around the values
_ROW = 20.0  # of the legend, which is below all of it
_LETTER = 0.56 * TEXT  # the width of one, about
_SIGN, _APART = 30.0, 16.0  # units before a name in the legend, and behind it


@dataclass
class Chart:
    """Marks at values along `x` and `y`. Those drawn later cover the earlier ones."""

    title: str
    x: Axis
    y: Axis
    width: float = WIDTH
    height: float = HEIGHT
    _marks: list[Mark] = field(default_factory=list)
    _legend: list[tuple[str, str, Sign]] = field(default_factory=list)  # name, colour, sign
    _told: list[str] = field(default_factory=list)

    def line(
        self,
        points: Sequence[Point],
        name: str,
        colour: str,
        *,
        dashed: bool = False,
        dots: bool = False,
        width: float = 2,
    ) -> None:
        """Join points by a line; `name` is in the legend, unless it is empty."""
        known = [(x, y) for x, y in points if math.isfinite(y)]
        if not known:
            return
        places = [self.at(x, y) for x, y in known]
        if len(places) > 1:
            self._marks.append(Line(places, colour, width, dashed, title=name))
        for (x, y), place in zip(known, places, strict=True) if dots or len(known) == 1 else ():
            self.dot(x, y, colour, f"{name} {self._said(x, y)}".strip(), place=place)
        if name:
            self.name(name, colour, dashed)
            lowest, highest = min(y for _, y in known), max(y for _, y in known)
            ends = f"{self._value(known[0][1])} at first, {self._value(known[-1][1])} at last"
            within = f"{self._value(lowest)} to {self._value(highest)}"
            self._told.append(f"{name}: {ends}, {within}")

    def steps(self, points: Sequence[Point], name: str, colour: str, *, after: bool) -> None:
        """As `line`, but level between two points, as high as the first, or as the one `after`."""
        stairs: list[Point] = []
        for (x0, y0), (x1, y1) in itertools.pairwise(points):
            stairs += [(x0, y0), (x0, y1) if after else (x1, y0)]
        self.line([*stairs, points[-1]], name, colour)

    def dot(
        self,
        x: float,
        y: float,
        colour: str,
        title: str = "",
        *,
        radius: float = 3,
        ring: bool = False,
        opacity: float = 1,
        place: Point | None = None,
    ) -> None:
        """A dot at values; `title` shows when the pointer rests on it."""
        left, top = place or self.at(x, y)
        self._marks.append(Dot(left, top, colour, radius, ring, title, opacity))

    def interval(
        self, x: float, low: float, high: float, colour: str, *, title: str = "", opacity: float = 1
    ) -> None:
        """An upright bar from `low` to `high`, with ends."""
        (left, bottom), (_, top) = self.at(x, low), self.at(x, high)
        for end in (bottom, top):
            ends = [(left - 4, end), (left + 4, end)]
            self._marks.append(Line(ends, colour, 1.5, opacity=opacity))
        bar = [(left, bottom), (left, top)]
        self._marks.append(Line(bar, colour, 1.5, title=title, opacity=opacity))

    def band(self, points: Sequence[tuple[float, float, float]], colour: str) -> None:
        """Fill between the low and the high value of (x, low, high), palely."""
        up = [self.at(x, high) for x, _, high in points]
        back = [self.at(x, low) for x, low, _ in reversed(points)]
        self._marks.append(Line([*up, *back], colour, fill=True, opacity=0.18))

    def bar(
        self,
        start: float,
        end: float,
        value: float,
        colour: str,
        title: str = "",
        *,
        opacity: float = 1,
    ) -> None:
        """An upright bar from the lowest value of the y axis, or 0, to `value`."""
        ground = max(self.y.low, 0.0) if not self.y.log else self.y.low
        (left, base), (right, top) = self.at(start, ground), self.at(end, value)
        box = Box(left, min(top, base), right - left, abs(base - top), colour, opacity, title)
        self._marks.append(box)

    def upright(self, x: float, word: str = "", colour: str = "quiet") -> None:
        """A dashed line at `x` from below to above, with a word along it."""
        left, top = self.at(x, self.y.high)
        _, bottom = self.at(x, self.y.low)
        self._marks.append(Line([(left, bottom), (left, top)], colour, 1, dashed=True))
        if word:
            self._marks.append(Words(left + 13, bottom - 6, word, colour, size=12, turned=True))

    def level(self, y: float, colour: str = "quiet") -> None:
        """A dashed line at `y` from left to right."""
        ends = [self.at(self.x.low, y), self.at(self.x.high, y)]
        self._marks.append(Line(ends, colour, 1, dashed=True))

    def word(self, x: float, y: float, text: str, anchor: Anchor = "start", dy: float = 0) -> None:
        """A word at values, `dy` units lower."""
        left, top = self.at(x, y)
        self._marks.append(Words(left, top + dy, text, size=12, anchor=anchor))

    def name(
        self, name: str, colour: str, dashed: bool = False, *, sign: Sign | None = None
    ) -> None:
        """Name a colour in the legend, beside a line unless `sign` is another."""
        if name not in (known for known, _, _ in self._legend):
            self._legend.append((name, colour, sign or ("dashed" if dashed else "line")))

    def at(self, x: float, y: float) -> Point:
        """The place of values, in units of the figure."""
        return (
            _LEFT + self.x.share(x) * (self.width - _LEFT - _RIGHT),
            self.height - _BOTTOM - self.y.share(y) * (self.height - _TOP - _BOTTOM),
        )

    def _value(self, y: float) -> str:
        return f"{y:.1%}" if self.y.percent else f"{y:.4g}"

    def _said(self, x: float, y: float) -> str:
        across = f"{x:.1%}" if self.x.percent else f"{x:.4g}"
        return f"at {self.x.label} {across}: {self._value(y)}"

    def figure(self) -> Figure:
        """Return the chart as a figure; the legend makes it higher."""
        told = "; ".join(self._told)
        label = f"{self.title}: {self.y.label} over {self.x.label}. {told}".strip(" .")
        legend, rows = _legend(self._legend, self.width, self.height)
        figure = Figure(self.width, self.height + rows * _ROW, label)
        figure.add(Words(0, 16, self.title, bold=True, size=15))
        figure.add(*self._grid(), *self._marks, *legend)
        return figure

    def _grid(self) -> list[Mark]:
        (left, bottom), (right, top) = (
            self.at(self.x.low, self.y.low),
            self.at(self.x.high, self.y.high),
        )
        marks: list[Mark] = []
        for value in self.y.ticks():
            height = self.at(self.x.low, value)[1]
            marks.append(Line([(left, height), (right, height)], "grid", 1))
            marks.append(Words(left - 6, height + 4, self.y.word(value), "quiet", "end", 12))
        for value in self.x.ticks():
            across = self.at(value, self.y.low)[0]
            marks.append(Line([(across, bottom), (across, top)], "grid", 1))
            marks.append(Words(across, bottom + 16, self.x.word(value), "quiet", "middle", 12))
        marks.append(Line([(left, top), (left, bottom), (right, bottom)], "line", 1))
        middle = (left + right) / 2, (top + bottom) / 2
        marks.append(Words(middle[0], bottom + 36, self.x.label, "quiet", "middle"))
        marks.append(Words(12, middle[1], self.y.label, "quiet", "middle", turned=True))
        return marks


def _legend(
    names: Sequence[tuple[str, str, Sign]], width: float, top: float
) -> tuple[list[Mark], int]:
    """The names in rows that fit, from `top` on, and the number of rows."""
    marks: list[Mark] = []
    left, rows = math.inf, 0
    for name, colour, sign in names:
        name = cut(name, int((width - _SIGN) / _LETTER))  # a long one has a row of its own
        room = _SIGN + len(name) * _LETTER + _APART
        if left + room > width + _APART:
            left, rows = 0, rows + 1
        bottom = top + rows * _ROW - 8
        marks.append(_sign(sign, left, bottom - 4, colour))
        marks.append(Words(left + _SIGN, bottom, name))
        left += room
    return marks, rows


def _sign(sign: Sign, left: float, middle: float, colour: str) -> Mark:
    if sign == "ring":
        return Dot(left + 12, middle, colour, 5, ring=True)
    if sign == "box":
        return Box(left + 4, middle - 6, 16, 12, colour)
    return Line([(left, middle), (left + 24, middle)], colour, 3, sign == "dashed")
