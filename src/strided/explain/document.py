"""explain.html: every picture of a run, and how to read it."""

import html
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from strided.config.keys import Config
from strided.data.reading.files import as_text
from strided.explain.drawing import overlay
from strided.explain.figures import LARGE, Explained
from strided.explain.heatmaps import METHODS, UNITS
from strided.explain.sanity import DEPENDS
from strided.pages.page import (
    Cell,
    bullets,
    folded,
    heading,
    lines_of_code,
    page,
    photo,
    table,
)
from strided.runs.ending import repeated
from strided.runs.results import Results

STYLE = """
.explained { display: grid; gap: 1rem 2rem; margin: 1rem 0; align-items: start; }
.explained h3 { margin: .4rem 0 0; overflow-wrap: anywhere; } .explained p { margin: 0 0 .4rem; }
.row { display: grid; gap: .8rem; grid-template-columns: repeat(var(--across), minmax(0, 1fr));
  margin-bottom: .6rem; } .row img { width: 100%; } .bar img { width: 100%; height: .9rem; }
.explained > section { min-width: 0; } .explained details img { width: 100%; }
@media (max-width: 40rem) { .row { grid-template-columns: 1fr 1fr; } }
"""
READING = {
    "grad_cam": (
        "Selvaraju et al. 2017. The maps of one layer, each weighed by how much the class's logit "
        "rises with it, added up; only what is positive is shown. It says where in the image this "
        "layer finds what speaks for the class, as coarsely as its maps are: a map of 7x7 cannot "
        "outline anything. The largest value of each picture is 1, so that colours cannot be "
        "compared between pictures."
    ),
    "grad_cam_pp": (
        "Chattopadhay et al. 2018. As Grad-CAM, but with a weight for each place of a map, so "
        "that several small objects of a class count as much as a large one. Where both differ, "
        "neither is right by itself."
    ),
    "integrated_gradients": (
        "Sundararajan et al. 2017. What each pixel adds to the class's logit on the way from an "
        "image of mean colour to this one; red adds, blue takes away. All pixels together "
        "give the logit's rise over that baseline, except for the error of completeness below. "
        "A region of the baseline's own colour gets nothing, however important it is. "
        "The colour of a pixel is full from the 99.5th percentile on."
    ),
    "occlusion": (
        "Zeiler and Fergus 2014. A square of mean colour covers one part of the image after the "
        "other; red is where the class's probability falls, blue where it rises. It asks "
        "the network itself and needs no gradients, but a covered image is unlike any that it was "
        "trained on, and where one of two similar parts is enough, neither shows."
    ),
}
UNCHECKED = """<p>Not made. With <code>sanity=true</code> each heatmap is compared with the one of
random weights (Adebayo et al. 2018): one that stays the same does not show what was learnt. It
doubles the time.</p>"""
CHECKED = """<p>Rank correlation (Spearman) of each heatmap with the one that the network gives with
all its weights replaced by random ones (Adebayo et al. 2018). Near 0 the heatmap depends on what
was learnt; near 1 (or near -1, in reverse) it would be there without any learning: it shows the
image's own edges, or the method. One draw of weights is compared. A dash: one of the two is
constant, and says nothing.</p>"""
LIMIT = """<p>A heatmap shows what this network's answer rests on, for this image, by one
definition. It does not show that the answer is right, or that a person would look there.</p>"""
FILTERS = """<p>The weights as pictures; middle grey is 0. Filters that were learnt well are smooth:
edges, colours, blobs. Noise means that they were hardly trained, or are not needed.</p>"""


def render(config: Config, results: Results, folder: Path, rows: Sequence[Explained]) -> str:
    """Return the page; `rows` has the heatmaps of each image and class, in the results' order."""
    used = results["methods"]
    reading = "".join(f"<dt>{METHODS[method]}</dt><dd>{READING[method]}</dd>" for method in used)
    refused = "".join(
        f'<p class="warning">{METHODS[method]}: {html.escape(why)}</p>'
        for method, why in results["refused"].items()
    )
    parts = [
        f'<p class="headline">{headline(results)}</p>{refused}{LIMIT}',
        heading("Images"),
        images_part(results, folder, rows),
        heading("How to read it"),
        _colours(rows),
        folded("What each method shows", f"<dl>{reading}</dl>"),
        folded("First convolution", filters_part(results["figures"], folder)),
        heading("Sanity check"),
        sanity_part(results, used),
        heading("To repeat it"),
        lines_of_code(as_text(repeated("explain", results))),
        folded("Facts", lines_of_code(_yaml(_facts(results)))),
        folded("Config", lines_of_code(_yaml(config))),
    ]
    return page(f"What {config['name']} looks at", "\n".join(parts), STYLE)


def headline(results: Results) -> str:
    """The number of images, and the layers that the methods look at."""
    count = sum("error" not in entry for entry in results["images"])
    layers = results["layers"]
    parts = [f"{count} image{'s' if count != 1 else ''}"]
    parts += [f"CAMs of <code>{html.escape(layers['cam'])}</code>"] if layers["cam"] else []
    parts += [f"maps of <code>{html.escape(layers['maps'])}</code>"] if layers["maps"] else []
    return "; ".join(parts)


def _colours(rows: Sequence[Explained]) -> str:
    """The colours of the overlays, as they look over middle grey, from low to high."""
    signed = any(heat.is_signed for row in rows for heat in row.heatmaps.values())
    ramp = np.linspace(-1 if signed else 0, 1, 512)[None]
    grey = np.full((1, 512, 3), 128, np.uint8)
    words = "blue speaks against the class; " if signed else ""
    caption = f"{words}no colour: nothing; red speaks for it, the most at full colour"
    bar = photo(overlay(grey, ramp).repeat(16, 0), caption)
    return f'<div class="bar">{bar}</div>'


def images_part(results: Results, folder: Path, rows: Sequence[Explained]) -> str:
    """Each image with its heatmaps; with one or two methods two images are side by side."""
    left, parts = iter(rows), []
    for entry in results["images"]:
        own = list(islice(left, len(entry.get("explanations", ()))))
        parts.append(f"<section>{_image(entry, own, folder)}</section>")
    least = 33 if len(results["methods"]) < 3 else 60
    columns = f"repeat(auto-fit, minmax(min({least}rem, 100%), 1fr))"
    return f'<div class="explained" style="grid-template-columns: {columns}">{"".join(parts)}</div>'


def _image(entry: dict[str, Any], rows: Sequence[Explained], folder: Path) -> str:
    path = html.escape(as_text(entry["path"]))
    if "error" in entry:
        return f'<h3>{path}</h3><p class="warning">{html.escape(entry["error"])}</p>'
    best = ", ".join(f"{html.escape(as_text(n))} {p:.3f}" for n, p in entry["top5"].items())
    refused = html.escape(entry.get("refused", ""))
    why = f'<p class="warning">Refused: {refused}</p>' if refused else ""
    shown = "".join(map(_row, rows, entry["explanations"]))
    maps = folded("Feature maps", _drawn(folder / entry["maps"])) if entry["maps"] else ""
    return f"<h3>{path}</h3><p>Predicted: {best}</p>{why}{shown}{maps}"


def _row(row: Explained, found: Mapping[str, Any]) -> str:
    """The picture, then its heatmaps for one class."""
    shown = [photo(row.picture, row.claim, LARGE)]
    for method, heat in row.heatmaps.items():
        error = found["heatmaps"][method]["completeness_error"]
        caption = f"{METHODS[method]}; full colour: {heat.scale:.2g} ({UNITS[method]})"
        caption += "" if error is None else f"; error of completeness {error:.1%}"
        shown.append(photo(overlay(row.picture, heat.shades), caption, LARGE))
    return f'<div class="row" style="--across: {len(shown)}">{"".join(shown)}</div>'


def sanity_part(results: Results, methods: Sequence[str]) -> str:
    """The rank correlations with heatmaps of randomised weights; without the check, how to."""
    if not results["parameters_used"]["sanity"]:
        return UNCHECKED
    rows: list[list[Cell]] = []
    warnings = []
    for entry in results["images"]:
        for found in entry.get("explanations", ()):
            name, heat = as_text(f"{entry['path']}, {found['target']}"), found["heatmaps"]
            values = [heat[method]["rank_correlation"] for method in methods]
            rows.append([name, *("-" if value is None else f"{value:.2f}" for value in values)])
            hardly = [METHODS[m] for m in methods if heat[m]["hardly_depends"]]
            warnings += [f"{name}: {', '.join(hardly)}"] if hardly else []
    warned = (
        f'<div class="warning"><p>These heatmaps hardly depend on what was learnt (above {DEPENDS} '
        f"in absolute value):</p>{bullets(warnings)}</div>"
    )
    heads = ["image, class", *(METHODS[method] for method in methods)]
    return f"{CHECKED}{warned if warnings else ''}{table(heads, rows, 'Sanity check')}"


def filters_part(figures: dict[str, Any], folder: Path) -> str:
    """Both pictures of the filters, or a line that there are none."""
    if not figures["filters"]:
        return "<p>This network has none, and so no filters to show.</p>"
    shown = "".join(_drawn(folder / file) for file in figures["filters"])
    return f'{FILTERS}<div class="figures">{shown}</div>'


def _drawn(file: Path) -> str:
    """A figure of a run, as JPEG: maps are as large as photographs, and there are many."""
    with Image.open(file) as figure:
        return photo(np.asarray(figure.convert("RGB")), "", alt=file.stem.replace("_", " "))


def _facts(results: Results) -> dict[str, object]:
    left_out = ("images", "figures", "classes")
    return {key: value for key, value in results.items() if key not in left_out}


def _yaml(values: Mapping[str, object]) -> str:
    return as_text(yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True))
