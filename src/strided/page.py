"""The frame of an HTML page that opens without a network."""

import base64
import html
from pathlib import Path

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } .headline { font-size: 1.4rem; }
figure { margin: 1rem 0; } figure img { max-width: 100%; background: white; border-radius: 4px; }
table { border-collapse: collapse; margin-bottom: 1.5rem; }
td, th { padding: .15rem .8rem .15rem 0; text-align: left; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; } pre { overflow-x: auto; font-size: .85rem; }
@media print { body { max-width: none; } details { display: block; } }
"""


def page(title: str, body: str, style: str = "") -> str:
    """Return a whole page; `body` is HTML, `style` is CSS beside the common one."""
    title = html.escape(title)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{STYLE}{style}</style></head>
<body><h1>{title}</h1>
{body}
</body></html>
"""


def picture(file: Path) -> str:
    """Return a PNG as a figure within the page."""
    content = base64.b64encode(file.read_bytes()).decode()
    return f'<figure><img alt="{file.stem}" src="data:image/png;base64,{content}"></figure>'
