"""The frame of an HTML page that opens without a network, and parts that pages share."""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from strided.errors import one_line

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { margin-bottom: 0; overflow-wrap: anywhere; font-size: clamp(1.4rem, 6vw, 2rem); }
h2 { margin: 2.2rem 0 .6rem; }
.headline { font-size: 1.4rem; margin: .4rem 0 1rem; }
.note { opacity: .75; font-size: .9rem; }
figure { margin: 0; } figure img { max-width: 100%; background: white; border-radius: 4px; }
figcaption { font-size: .85rem; line-height: 1.35; overflow-wrap: anywhere; }
.figures { display: grid; gap: 1rem; align-items: start; margin: 1rem 0;
  grid-template-columns: repeat(auto-fit, minmax(min(19rem, 100%), 1fr)); }
.figures img { width: 100%; }
.gallery { display: grid; gap: .9rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); }
.gallery img { width: 100%; display: block; margin-bottom: .25rem; }
.pixelated { image-rendering: pixelated; }
table { border-collapse: collapse; margin-bottom: 1rem; }
td, th { padding: .2rem .9rem .2rem 0; text-align: left; vertical-align: top; }
tr + tr td { border-top: 1px solid var(--line); }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
pre { overflow-x: auto; font-size: .85rem; padding: .6rem .8rem; background: var(--soft);
  border-radius: 4px; }
code { overflow-wrap: anywhere; } summary { cursor: pointer; margin: .4rem 0; }
@media print {
  :root { color-scheme: light; } body { max-width: none; margin: 0; font-size: 11pt; }
  figure, tr, li { break-inside: avoid; } h2 { break-after: avoid; }
  pre { white-space: pre-wrap; } .scroll { overflow: visible; }
}
"""

Cell = str | float | int | None


def page(title: str, body: str, style: str = "") -> str:
    """Return a whole page; `body` is HTML, `style` is CSS added to the common one."""
    title = html.escape(title)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{STYLE}{style}</style></head>
<body><h1>{title}</h1>
{body}
</body></html>
"""


def picture(file: Path, caption: str = "") -> str:
    """Return a PNG as a figure within the page."""
    return _figure("png", file.read_bytes(), file.stem.replace("_", " "), caption)


def photo(pixels: np.ndarray, caption: str) -> str:
    """Return uint8 (H, W, 3) as a figure: a small one with sharp pixels, others as JPEG."""
    from PIL import Image

    small = max(pixels.shape[:2]) <= 64
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG" if small else "JPEG", quality=85)
    kind = "png" if small else "jpeg"
    return _figure(kind, stream.getvalue(), caption, caption, "pixelated" if small else "")


def _figure(kind: str, content: bytes, alt: str, caption: str, style: str = "") -> str:
    words = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return (
        f'<figure><img class="{style}" alt="{html.escape(alt)}" '
        f'src="data:image/{kind};base64,{base64.b64encode(content).decode()}">{words}</figure>'
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Return a table in a box that scrolls: text as it is, numbers to the right, None as a dash.

    A fraction has four digits after the point.
    """
    rows = list(rows)
    numeric = [any(isinstance(row[i], int | float) for row in rows) for i in range(len(heads))]
    head = "".join(
        f'<th class="{"number" if number else ""}">{html.escape(one_line(name))}</th>'
        for name, number in zip(heads, numeric, strict=True)
    )
    head = f"<tr>{head}</tr>" if any(heads) else ""
    lines = "".join(f"<tr>{''.join(map(_cell, row, numeric))}</tr>" for row in rows)
    return f'<div class="scroll"><table>{head}{lines}</table></div>'


def _cell(value: Cell, number: bool) -> str:
    text = "-" if value is None else f"{value:.4f}" if isinstance(value, float) else f"{value}"
    if isinstance(value, int):
        text = f"{value:,}"
    kind = ' class="number"' if number else ""
    return f"<td{kind}>{html.escape(one_line(text))}</td>"


def bullets(sentences: Iterable[str]) -> str:
    """Return a list of sentences."""
    return f"<ul>{''.join(f'<li>{html.escape(sentence)}</li>' for sentence in sentences)}</ul>"
