"""The frame of an HTML page that opens without a network, and parts that pages share."""

import base64
import hashlib
import html
import io
import re
from collections.abc import Iterable, Sequence

import numpy as np

from strided.errors import one_line, printable
from strided.pages.style import STYLE

_FEW_PARTS = 3  # headings, up to which a page needs no list of them
_SHARP = 64  # pixels a side of a picture, up to which it is shown with sharp edges


class Markup(str):
    """HTML, among texts that are not: a cell of a table that is shown as it is."""


Cell = str | float | int | None


def page(title: str, body: str, style: str = "", script: str = "") -> str:
    """Return a whole page; `body` is HTML, `style` is CSS added to the common one.

    Of several parts (`heading`) it begins with a list. The page may load nothing, and run nothing
    but `script`, whatever the names in it hold; control characters show as their escapes.
    """
    title, may_run = html.escape(one_line(title)), "'none'"
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        may_run, script = f"'sha256-{digest}'", f"\n<script>{script}</script>"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
style-src 'unsafe-inline'; script-src {may_run}">
<style>{STYLE}{style}</style></head>
<body><main><h1>{title}</h1>
{_parts(body)}{printable(body)}
</main>{script}</body></html>
"""


def _parts(body: str) -> str:
    found = re.findall(r'<h2 id="([^"]*)">(.*?)</h2>', body)
    if len(found) <= _FEW_PARTS:
        return ""
    links = "".join(f'<li><a href="#{name}">{title}</a></li>' for name, title in found)
    return f'<nav aria-label="Parts of this page"><ul>{links}</ul></nav>'


def heading(title: str) -> str:
    """Return the heading of a part, which the page's list of parts leads to."""
    return f'<h2 id="{anchor(title)}">{html.escape(one_line(title))}</h2>'


def anchor(title: str) -> str:
    """Return the name of a part, or of another place, in an address: "Each class": each-class."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def tiles(tiles: Iterable[str]) -> str:
    """Return tiles side by side, or below each other where the page is narrow."""
    return f'<div class="tiles">{"".join(tiles)}</div>'


def tile(name: str, value: str, note: str = "", kind: str = "plain") -> str:
    """Return a figure, or a word, to be seen first; `kind` is good, warn, bad or plain."""
    name, value, note = (_text(part) for part in (name, value, note))
    told = f'<p class="note">{note}</p>' if note else ""
    shown = "value digits" if value[:1].isdigit() else "value"
    return (
        f'<div class="tile {kind}"><p class="name">{name}</p><p class="{shown}">{value}</p>'
        f"{told}</div>"
    )


def photo(pixels: np.ndarray, caption: str, most: int | None = None, alt: str = "") -> str:
    """Return uint8 (H, W, 3) as a figure: a small one with sharp pixels, others as JPEG.

    A larger one is shrunk to `most` pixels a side. `alt` tells what the caption does not.
    """
    from PIL import Image

    small = max(pixels.shape[:2]) <= _SHARP
    shown, stream = Image.fromarray(pixels), io.BytesIO()
    if most:
        shown.thumbnail((most, most), Image.Resampling.LANCZOS)
    shown.save(stream, "PNG" if small else "JPEG", quality=82)
    kind, style = ("png", ' class="pixelated"') if small else ("jpeg", "")
    words = f"<figcaption>{_text(caption)}</figcaption>" if caption else ""
    return (
        f'<figure><img{style} alt="{_text(alt)}" '
        f'src="data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}">{words}'
        "</figure>"
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[Cell]], label: str = "") -> str:
    """Return a table in a box that scrolls: text as it is, numbers to the right, None as a dash.

    The first cell of a row is its header. A fraction has four digits after the point. `label`
    tells a screen reader what the table is.
    """
    rows = list(rows)
    numeric = [
        any(isinstance(row[i], int | float) and not isinstance(row[i], bool) for row in rows)
        for i in range(len(heads))
    ]
    head = ""
    if any(heads):
        cells = "".join(map(_head, heads, numeric))
        head = f"<thead><tr>{cells}</tr></thead>"
    lines = "".join(f"<tr>{''.join(_cells(row, numeric))}</tr>" for row in rows)
    label = label or ", ".join(filter(None, (re.sub("<.*?>", "", name) for name in heads)))
    return scroll(f"<table>{head}<tbody>{lines}</tbody></table>", label or "facts")


def scroll(body: str, label: str) -> str:
    """Return HTML in a box that scrolls sideways, by the keyboard too; `label` says what it is."""
    name = html.escape(one_line(label))
    return f'<div class="scroll" role="group" tabindex="0" aria-label="{name}">{body}</div>'


def _head(name: str, number: bool) -> str:
    kind = ' class="number"' if number else ""
    return f'<th scope="col"{kind}>{_text(name)}</th>' if name else "<td></td>"


def _cells(row: Sequence[Cell], numeric: Sequence[bool]) -> Iterable[str]:
    for place, (value, number) in enumerate(zip(row, numeric, strict=True)):
        kind = ' class="number"' if number else ""
        text = _text(_shown(value))
        # a row's header may not be empty
        yield (
            f'<th scope="row"{kind}>{text}</th>' if not place and text else f"<td{kind}>{text}</td>"
        )


def _shown(value: Cell) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}"


def _text(value: str) -> str:
    return value if isinstance(value, Markup) else html.escape(one_line(value))


def bullets(sentences: Iterable[str]) -> str:
    """Return a list of sentences."""
    return f"<ul>{''.join(f'<li>{_text(sentence)}</li>' for sentence in sentences)}</ul>"


def lines_of_code(text: str) -> str:
    """Return text of several lines, as it was typed, in a box that scrolls."""
    return f'<pre tabindex="0">{html.escape(text)}</pre>'


def folded(title: str, body: str, unfolded: bool = False) -> str:
    """Return HTML that is shown on demand."""
    shown = " open" if unfolded else ""
    return f"<details{shown}><summary>{_text(title)}</summary>{body}</details>"
