"""Values of named rows along one axis: bars, or points with intervals (a forest plot)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from strided.pages.axis import Axis
from strided.pages.chart import WIDTH
from strided.pages.figure import TEXT, Figure, Line, Mark, Point, Words, cut
from strided.pages.figure import Box as Rectangle
from strided.pages.figure import Dot as Circle

_TOP, _BOTTOM = 34.0, 44.0  # above and below all rows
_NAME, _ROOM = 18.0, 24.0  # heights: of a name, of what is drawn below it
_NAMED = 20.0  # the height of a colour's name, below all
_SIDE = 10.0  # left and right of the axis
_LETTER = 0.56 * TEXT


@dataclass
class Rows:
    """A row for each name, with the value in words at its right, and marks below both."""

    title: str
    axis: Axis
    width: float = WIDTH
    _marks: list[Mark] = field(default_factory=list)
    _told: list[str] = field(default_factory=list)
    _height: float = _TOP
    _levels: list[tuple[float, str]] = field(default_factory=list)
    _names: list[tuple[str, str]] = field(default_factory=list)

    def bar(self, name: str, value: float, said: str, colour: str) -> None:
        """A bar from the low end of the axis, or 0, to `value`."""
        middle = self._begin(name, said)
        start, end = self._at(max(self.axis.low, 0.0)), self._at(value)
        title = f"{name}: {said}"
        self._marks.append(Rectangle(start, middle - 7, end - start, 14, colour, title=title))

    def shares(self, name: str, parts: Sequence[tuple[str, float, str]], said: str = "") -> None:
        """Parts (name, share, colour) beside each other, from 0 on."""
        middle, start = self._begin(name, said), 0.0
        for part, share, colour in parts:
            left, right = self._at(start), self._at(start + share)
            title = f"{name}: {part} {share:.0%}"
            self._marks.append(Rectangle(left, middle - 8, right - left, 16, colour, title=title))
            self._told.append(f"{part} {share:.0%}")
            start += share

    def interval(
        self, name: str, value: float, low: float, high: float, said: str, colour: str
    ) -> None:
        """A point with a line from `low` to `high`; without a line where these are NaN."""
        middle = self._begin(name, said)
        self.range(low, high, colour)
        title = f"{name}: {said}"
        self._marks.append(Circle(self._at(value), middle, colour, 6, title=title))

    def range(self, low: float, high: float, colour: str) -> None:
        """A line with ends, over what the last row shows."""
        if not (math.isfinite(low) and math.isfinite(high)):
            return
        middle, (left, right) = self._height - _ROOM / 2, (self._at(low), self._at(high))
        self._marks.append(Line([(left, middle), (right, middle)], colour, 2))
        for end in (left, right):
            self._marks.append(Line([(end, middle - 5), (end, middle + 5)], colour, 2))

    def dots(self, values: Sequence[float], colour: str) -> None:
        """Small dots, over what the last row shows."""
        middle = self._height - _ROOM / 2
        self._marks += [Circle(self._at(v), middle, colour, 3, opacity=0.6) for v in values]

    def name(self, name: str, colour: str) -> None:
        """Name a colour below the axis."""
        if (name, colour) not in self._names:
            self._names.append((name, colour))

    def level(self, value: float, word: str = "") -> None:
        """A dashed line through all rows."""
        self._levels.append((value, word))

    def _begin(self, name: str, said: str) -> float:
        """Write a row's name and value; return the height of the middle of what is below."""
        baseline = self._height + 14
        fits = (len(name) + len(said) + 2) * _LETTER <= self.width
        self._marks.append(Words(0, baseline, self._cut(name, len(said) if fits else 0)))
        if not fits:  # the value has a line of its own
            baseline += _NAME
            self._height += _NAME
        self._marks.append(Words(self.width, baseline, said, "quiet", "end"))
        self._told.append(f"{name}: {said}" if said else name)
        self._height += _NAME + _ROOM
        return self._height - _ROOM / 2

    def _cut(self, text: str, beside: int) -> str:
        most = max(8, int(self.width / _LETTER) - beside - 2)
        return cut(text, most)

    def _at(self, value: float) -> float:
        share = min(1.0, max(0.0, self.axis.share(value)))
        return _SIDE + share * (self.width - 2 * _SIDE)

    def figure(self) -> Figure:
        """Return the rows as a figure."""
        told = "; ".join(self._told)
        height = self._height + _BOTTOM + _NAMED * len(self._names)
        figure = Figure(self.width, height, f"{self.title}: {told}")
        figure.add(Words(0, 16, self.title, bold=True, size=15))
        figure.add(*self._axis(), *self._marks)
        for place, (name, colour) in enumerate(self._names):
            baseline = self._height + _BOTTOM + _NAMED * (place + 1) - 6
            figure.add(Rectangle(0, baseline - 11, 14, 12, colour), Words(22, baseline, name))
        return figure

    def _tick(self, value: float, baseline: float) -> Words:
        """A tick's word below its place, but within the figure."""
        word, place, half = self.axis.word(value), self._at(value), 3.5
        if place - half * len(word) < 0:
            return Words(0, baseline, word, "quiet", "start", 12)
        if place + half * len(word) > self.width:
            return Words(self.width, baseline, word, "quiet", "end", 12)
        return Words(place, baseline, word, "quiet", "middle", 12)

    def _axis(self) -> list[Mark]:
        top, bottom = _TOP - 6, self._height + 4
        marks: list[Mark] = []
        for value in self.axis.ticks():
            upright: list[Point] = [(self._at(value), top), (self._at(value), bottom)]
            marks.append(Line(upright, "grid", 1))
            marks.append(self._tick(value, bottom + 16))
        for value, word in self._levels:
            upright = [(self._at(value), top), (self._at(value), bottom)]
            marks.append(Line(upright, "quiet", 1.5, dashed=True))
            marks.append(Words(self._at(value) + 4, top + 4, word, "quiet", size=12))
        marks.append(Words(self.width / 2, bottom + 34, self.axis.label, "quiet", "middle"))
        return marks
