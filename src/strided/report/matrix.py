"""The confusion matrix: a table that tells each cell, and a figure."""

import html
import math
from collections.abc import Collection, Sequence

from strided.data.reading.files import as_text
from strided.errors import one_line
from strided.pages.figure import Box, Figure, Words
from strided.pages.page import scroll

MOST_CLASSES = 20  # the most that it can show
_LONGEST = 20  # letters of a class beside it
_CELL = 34.0  # units a side, of the figure
_SHORT = 50.0  # units above its cells, if the names are short

STYLE = """
.matrix { position: relative; padding-bottom: 3.6rem; max-width: max-content; }
.matrix table { font-variant-numeric: tabular-nums; margin: 0; }
.matrix th, .matrix thead td, .matrix .share { padding: .15rem .35rem; border: 0; }
.matrix thead th { vertical-align: bottom; text-align: center; }
.matrix thead .turned span { writing-mode: vertical-rl; transform: rotate(180deg); }
.matrix tbody th { text-align: right; white-space: nowrap; position: sticky; left: 0;
  background: var(--paper); }
.matrix tbody td { min-width: 2.3rem; text-align: center; border: 1px solid var(--grid);
  padding: .15rem .35rem;
  background: color-mix(in srgb, var(--heat, transparent) var(--part, 0%), var(--paper)); }
.matrix .hit { --heat: var(--hit); } .matrix .miss { --heat: var(--miss); }
.matrix tbody .share { border: 0; padding-left: .8rem; text-align: right; }
.matrix td a, .matrix td [tabindex] { display: block; color: inherit; }
.matrix .tip { position: absolute; left: 0; bottom: .4rem; opacity: 0; pointer-events: none;
  background: var(--soft); padding: .35rem .7rem; border-radius: 6px; }
.matrix td:hover .tip, .matrix td:focus-within .tip { opacity: 1; }
.matrix:has(td:hover) td:focus-within:not(:hover) .tip { opacity: 0; }
@media print { .matrix { padding-bottom: 0; } .matrix .tip { display: none; } }
"""


def short(name: str) -> str:
    """A class as it may stand beside a figure: its folder's name may be long, or no text."""
    name = one_line(as_text(name))
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def chart_confusion(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> Figure:
    """The confusion matrix as a figure of its own: rows true, columns predicted."""
    names = [short(name) for name in classes]
    left = 30 + 7.5 * max(map(len, names))
    top = left if max(map(len, names)) > 2 else _SHORT
    size = _CELL * len(classes)
    figure = Figure(left + size + 10, top + size + 10, "confusion matrix")
    figure.add(Words(4, 16, "rows true, columns predicted", "quiet", size=12))
    for y, row in enumerate(confusion):
        figure.add(Words(left - 6, top + (y + 0.62) * _CELL, names[y], anchor="end"))
        place = left + (y + 0.5) * _CELL
        if top > _SHORT:
            figure.add(Words(place + 4, top - 6, names[y], turned=True))
        else:
            figure.add(Words(place, top - 6, names[y], anchor="middle"))
        for x, count in enumerate(row):
            part = _heat(count / max(1, sum(row)), x == y)
            corner = left + x * _CELL, top + y * _CELL
            figure.add(Box(*corner, _CELL - 1, _CELL - 1, "hit" if x == y else "miss", part))
            if count:
                place = corner[0] + _CELL / 2
                figure.add(Words(place, corner[1] + 0.62 * _CELL, f"{count:,}", anchor="middle"))
    return figure


def _heat(share: float, hit: bool) -> float:
    """How strong a cell's colour is: of an error by the root, for few of them count."""
    return share if hit else math.sqrt(share)


def matrix(
    confusion: Sequence[Sequence[int]], classes: Sequence[str], kinds: Collection[tuple[int, int]]
) -> str:
    """The confusion matrix as a table; counts and shares show on hover and on focus.

    Cells of `kinds`, by true and predicted class, lead to pictures of these errors.
    """
    turned = ' class="turned"' if max(map(len, map(short, classes))) > 3 else ""
    heads = "".join(
        f'<th scope="col"{turned}><span>{html.escape(short(name))}</span></th>' for name in classes
    )
    rows = "".join(_row(y, row, classes, kinds) for y, row in enumerate(confusion))
    body = (
        f'<table><thead><tr><td></td>{heads}<th scope="col">right</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )
    told = '<p class="note">Rows: the true class. Columns: what the network named it.</p>'
    return f'<div class="matrix">{told}{scroll(body, "confusion matrix")}</div>'


def _row(
    y: int, row: Sequence[int], classes: Sequence[str], kinds: Collection[tuple[int, int]]
) -> str:
    names, total = [one_line(as_text(name)) for name in classes], sum(row)
    cells = []
    for x, count in enumerate(row):
        images = "image" if count == 1 else "images"
        share = count / max(1, total)
        told = f"{names[y]} named {names[x]}: {count:,} {images}, {share:.1%} of {total:,}"
        place = f'a href="#error-{y}-{x}"' if (y, x) in kinds else 'span tabindex="0"'
        kind = "hit" if x == y else "miss"
        cells.append(
            _cell(count, told, place, kind, _heat(share, x == y)) if count else "<td></td>"
        )
    right = f"{row[y] / total:.1%}" if total else "-"
    head = f'<th scope="row">{html.escape(short(classes[y]))}</th>'
    return f'<tr>{head}{"".join(cells)}<td class="share">{right}</td></tr>'


def _cell(count: int, told: str, place: str, kind: str, heat: float) -> str:
    if not count:
        return "<td></td>"
    tip = f'<span class="tip">{html.escape(told)}</span>'
    inner = f"<{place}>{count:,}{tip}</{place.split()[0]}>"
    return f'<td class="{kind}" style="--part: {heat:.0%}">{inner}</td>'
