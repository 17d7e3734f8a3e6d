"""A heat map: a value for each pair of two keys' values, by colour and in digits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from strided.pages.chart import WIDTH
from strided.pages.figure import TEXT, Box, Figure, Line, Mark, Words

_TOP, _ROW, _HEAD = 30.0, 40.0, 46.0
_LETTER = 0.58 * TEXT
_PALE, _FULL = 0.06, 0.6  # opacity of the lowest and the highest value; words stay readable


@dataclass(frozen=True)
class Cell:
    """A value, what is written over it in one or two lines, and a title with all of it."""

    value: float
    word: str
    title: str
    note: str = ""
    best: bool = False


def heat_map(
    title: str,
    keys: tuple[str, str],
    columns: Sequence[str],
    rows: Sequence[str],
    cells: Mapping[tuple[str, str], Cell],
    low_is_good: bool = False,
) -> Figure:
    """Draw `cells`, by column and row; the names of both and their values stand beside it.

    The better a value, the fuller its colour. The best cell has a frame.
    """
    side = max(56.0, min(150.0, max(len(row) for row in rows) * _LETTER + 12))
    # a cell holds its word: many columns make a wider figure, which is shown smaller
    least = max(max(len(c.word), len(c.note)) for c in cells.values()) * _LETTER + 8
    across = max((WIDTH - side) / len(columns), least)
    width, height = side + across * len(columns), _TOP + _HEAD + _ROW * len(rows)
    told = "; ".join(cell.title for cell in cells.values())
    figure = Figure(width, height, f"{title}: {told}")
    figure.add(Words(0, 16, title, bold=True, size=15))
    figure.add(*_names(keys, columns, rows, side, across))
    values = [cell.value for cell in cells.values()]
    low, high = (max(values), min(values)) if low_is_good else (min(values), max(values))
    for (column, row), cell in cells.items():
        left = side + across * columns.index(column)
        top = _TOP + _HEAD + _ROW * rows.index(row)
        share = (cell.value - low) / (high - low) if high != low else 1.0
        opacity = _PALE + share * (_FULL - _PALE)
        figure.add(Box(left + 1, top + 1, across - 2, _ROW - 2, "c0", opacity, cell.title))
        middle, baseline = left + across / 2, top + (18 if cell.note else 25)
        figure.add(Words(middle, baseline, cell.word, anchor="middle", bold=cell.best))
        figure.add(Words(middle, baseline + 15, cell.note, anchor="middle", size=11))
        if cell.best:
            right, bottom = left + across - 2, top + _ROW - 2
            corners = [(left + 2, top + 2), (right, top + 2), (right, bottom), (left + 2, bottom)]
            figure.add(Line([*corners, corners[0]], "ink", 2.5))
    return figure


def _names(
    keys: tuple[str, str], columns: Sequence[str], rows: Sequence[str], side: float, across: float
) -> list[Mark]:
    """The two keys, and their values above the columns and before the rows."""
    width = side + across * len(columns)
    marks: list[Mark] = [
        Words(0, _TOP + 14, f"{_cut(keys[1], width / 2 - 20)} ↓", "quiet"),
        Words(width, _TOP + 14, f"{_cut(keys[0], width / 2 - 20)} →", "quiet", "end"),
    ]
    for place, name in enumerate(columns):
        middle = side + across * (place + 0.5)
        marks.append(Words(middle, _TOP + _HEAD - 8, _cut(name, across), anchor="middle"))
    for place, name in enumerate(rows):
        baseline = _TOP + _HEAD + _ROW * (place + 0.5) + 5
        marks.append(Words(side - 8, baseline, _cut(name, side), anchor="end"))
    return marks


def _cut(text: str, room: float) -> str:
    most = max(3, int(room / _LETTER))
    return text if len(text) <= most else f"…{text[1 - most :]}"
