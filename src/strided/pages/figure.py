"""A figure of lines, boxes, dots and words, as SVG.

Colours are names of the style sheet (`c0`, `ink`), so that the SVG is dark where the page is.
"""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from strided.errors import one_line

Point = tuple[float, float]
Anchor = Literal["start", "middle", "end"]

TEXT = 13  # units of a letter's height; a phone shows a chart 400 wide on 360 pixels
DASH = 5.0  # units of a dash, and of the gap after it


@dataclass(frozen=True)
class Line:
    """Points joined by a line, `width` units wide; with `fill` the area they enclose."""

    points: Sequence[Point]
    colour: str
    width: float = 2
    dashed: bool = False
    fill: bool = False
    title: str = ""
    opacity: float = 1


@dataclass(frozen=True)
class Box:
    """A filled rectangle, `opacity` from 0 to 1; `title` shows when the pointer rests on it."""

    left: float
    top: float
    width: float
    height: float
    colour: str
    opacity: float = 1
    title: str = ""


@dataclass(frozen=True)
class Dot:
    """A dot, filled or as a ring."""

    x: float
    y: float
    colour: str
    radius: float = 3
    ring: bool = False
    title: str = ""
    opacity: float = 1


@dataclass(frozen=True)
class Words:
    """A line of text at its baseline; `turned` reads upwards."""

    x: float
    y: float
    text: str
    colour: str = "ink"
    anchor: Anchor = "start"
    size: float = TEXT
    bold: bool = False
    turned: bool = False


Mark = Line | Box | Dot | Words


@dataclass
class Figure:
    """`marks` within `width` x `height` units, y downwards; `label` says in words what is shown."""

    width: float
    height: float
    label: str
    marks: list[Mark] = field(default_factory=list)

    def add(self, *marks: Mark) -> None:
        """Draw marks over those before them."""
        self.marks += marks

    def svg(self) -> str:
        """Return an SVG element, as wide as what it stands in."""
        return (
            f'<svg viewBox="0 0 {_n(self.width)} {_n(self.height)}" role="img" '
            f'aria-label="{_escaped(self.label)}">{"".join(map(_svg, self.marks))}</svg>'
        )

    def html(self, caption: str = "") -> str:
        """Return the SVG as a figure of a page."""
        told = f"<figcaption>{_escaped(caption)}</figcaption>" if caption else ""
        return f"<figure>{self.svg()}{told}</figure>"


def _svg(mark: Mark) -> str:
    if isinstance(mark, Words):
        return _svg_words(mark)
    faint = f' opacity="{_n(mark.opacity)}"' if mark.opacity < 1 else ""
    title = f"<title>{_escaped(mark.title)}</title>" if mark.title else ""
    paint = f'fill="var(--{mark.colour})"{faint}'
    if isinstance(mark, Box):
        place = f'x="{_n(mark.left)}" y="{_n(mark.top)}"'
        size = f'width="{_n(mark.width)}" height="{_n(mark.height)}"'
        return _element("rect", f"{place} {size} {paint}", title)
    stroke = f'fill="none" stroke="var(--{mark.colour})"{faint}'
    if isinstance(mark, Dot):
        look = f'{stroke} stroke-width="2"' if mark.ring else paint
        place = f'cx="{_n(mark.x)}" cy="{_n(mark.y)}" r="{_n(mark.radius)}"'
        return _element("circle", f"{place} {look}", title)
    points = " ".join(f"{_n(x)},{_n(y)}" for x, y in straight(mark.points))
    if mark.fill:
        return _element("polygon", f'points="{points}" {paint}', title)
    dashes = f' stroke-dasharray="{_n(DASH)}"' if mark.dashed else ""
    look = f'{stroke} stroke-width="{_n(mark.width)}" stroke-linejoin="round"{dashes}'
    return _element("polyline", f'points="{points}" {look}', title)


def _element(name: str, attributes: str, title: str) -> str:
    return f"<{name} {attributes}>{title}</{name}>" if title else f"<{name} {attributes}/>"


def _svg_words(words: Words) -> str:
    place = f'x="{_n(words.x)}" y="{_n(words.y)}"'
    look = f'font-size="{_n(words.size)}" fill="var(--{words.colour})"'
    more = f' text-anchor="{words.anchor}"' if words.anchor != "start" else ""
    more += ' font-weight="600"' if words.bold else ""
    more += f' transform="rotate(-90 {_n(words.x)} {_n(words.y)})"' if words.turned else ""
    return f"<text {place} {look}{more}>{_escaped(words.text)}</text>"


def _n(value: float) -> str:
    text = f"{value:.1f}" if abs(value) >= 1 else f"{value:.2f}"
    return text.rstrip("0").rstrip(".") or "0"


def _escaped(text: str) -> str:
    return html.escape(one_line(text))


def cut(text: str, most: int) -> str:
    """Text of at most so many letters: names differ at their ends more than within."""
    half = most // 2
    return text if len(text) <= most else f"{text[: half - 1]}…{text[-half:]}"


def straight(points: Iterable[Point]) -> list[Point]:
    """Leave out points that lie on the line between their neighbours."""
    kept: list[Point] = []
    for point in points:
        while len(kept) > 1 and _between(kept[-2], kept[-1], point):
            kept.pop()
        kept.append(point)
    return kept


def _between(start: Point, middle: Point, end: Point) -> bool:
    """Whether `middle` is on the way from start to end; both steps in the same direction."""
    one = middle[0] - start[0], middle[1] - start[1]
    two = end[0] - middle[0], end[1] - middle[1]
    across = one[0] * two[1] - one[1] * two[0]
    return abs(across) < 1e-6 and one[0] * two[0] + one[1] * two[1] >= 0
