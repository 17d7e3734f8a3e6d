"""The table of architectures as a page and in the terminal."""

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from strided.benchmark.failures import failure_lines
from strided.compare.charts import COSTS, Priced, against_costs, colour_of, in_unit
from strided.config.keys import Config
from strided.pages.axis import Axis
from strided.pages.figure import Figure
from strided.pages.page import heading, page, table
from strided.pages.rows import Rows
from strided.runs.results import Results
from strided.system.text_table import text_table

Cell = Callable[[dict[str, Any]], str]

_STYLE = (
    ".scroll td, .scroll thead th:not(:first-child) { text-align: right; white-space: nowrap; }"
)
_NOTES = {
    "size": """<p class="note">MACs: multiply-adds of a forward pass of one image. Activations: the
float32 outputs of all layers for one image; a checkpoint: float32 weights, auxiliary heads
included.</p>""",
    "shape": """<p class="note">Depth: convolutions and fully connected layers on the longest path.
Receptive field: the side of the square of the image that a unit of the last convolution's map sees
through filters and poolings; (all): something computed of the whole image, such as
squeeze-and-excitation, is in it too. It may be larger than the image.</p>""",
    "published": """<p class="note">As torchvision publishes them with its weights, on the
validation images. Training recipes differ, so that a difference is not the architecture's alone.
timm ships no figures with its package; a network that differs from the published one has
none.</p>""",
}


def _number(key: str) -> Cell:
    return lambda row: f"{row[key]:,}" if row.get(key) is not None else ""


def _scaled(key: str, factor: float, digits: int = 1) -> Cell:
    return lambda row: f"{row[key] / factor:,.{digits}f}" if row.get(key) is not None else ""


def _timed(key: str) -> Cell:
    def cell(row: dict[str, Any]) -> str:
        spread = row.get(key)
        return "{median:.4g} ({min:.4g} to {max:.4g})".format(**spread) if spread else ""

    return cell


def _millions(row: dict[str, Any]) -> str:
    macs = row["macs"] / 1e6
    return f"{macs:,.0f}" if macs >= 1000 else f"{macs:.4g}"


def _field(row: dict[str, Any]) -> str:
    size = row["receptive_field"]
    return f"{size}{' (all)' if row['sees_all'] else ''}" if size else "none"


SIZE: dict[str, Cell] = {
    "parameters": _number("parameters"),
    "of auxiliary heads": _number("aux_parameters"),
    "million MACs": _millions,
    "activations, MB": _scaled("activation_bytes", 1e6),
    "checkpoint, MB": _scaled("checkpoint_bytes", 1e6),
}
SHAPE: dict[str, Cell] = {
    "depth": _number("depth"),
    "image, px": _number("image_size"),
    "receptive field, px": _field,
    "filters": lambda row: row["filter_sizes"],
}
SPEED: dict[str, Cell] = {
    "latency, ms": _timed("latency_ms"),
    "images/s": _timed("images_per_second"),
}
PUBLISHED: dict[str, Cell] = {
    "top-1, %": _scaled("top1", 0.01, 2),
    "top-5, %": _scaled("top5", 0.01, 2),
}


def lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Lines of the terminal's table, and for a failed network the reason."""
    columns = {**SIZE, **SHAPE, **PUBLISHED}
    shown = (
        "parameters",
        "million MACs",
        "depth",
        "receptive field, px",
        "checkpoint, MB",
        "top-1, %",
    )
    whole = [row for row in rows if "error" not in row]
    table = [["model", *shown]] + [[r["model"], *(columns[c](r) for c in shown)] for r in whole]
    return text_table(table) + failure_lines(rows)


def _html_table(rows: Sequence[dict[str, Any]], columns: Mapping[str, Cell], label: str) -> str:
    cells = [[row["model"], *(cell(row) for cell in columns.values())] for row in rows]
    return table(["model", *columns], cells, label)


def _figures(rows: Sequence[dict[str, Any]]) -> str:
    """Published accuracy against what a network costs; without it, the costs as bars."""
    priced = [
        Priced(row["model"], row["top1"], None, {key: row[key] for key in COSTS}, colour_of(place))
        for place, row in enumerate(rows)
        if row.get("top1")
    ]
    figures = against_costs(priced, "top-1 accuracy on ImageNet")
    if not figures:
        figures = [_bars(rows, key) for key in COSTS]
    return f'<div class="figures">{"".join(figure.html() for figure in figures)}</div>'


def _bars(rows: Sequence[dict[str, Any]], key: str) -> Figure:
    """What each network costs; bars start at 0."""
    values, unit = in_unit([row[key] for row in rows], key)
    chart = Rows(COSTS[key], Axis(unit, 0, max(values)))
    for row, value in zip(rows, values, strict=True):
        chart.bar(row["model"], value, f"{value:,.4g}", "c0")
    return chart.figure()


def render(config: Config, results: Results) -> str:
    """compare.html of the networks in the results."""
    rows = [row for row in results["models"] if "error" not in row]
    parts = [
        f"<p>{config['num_classes']:,} classes, {config['channels']} channels.</p>",
        *(
            f'<p class="error">{html.escape(row["model"])}: {html.escape(row["error"])}</p>'
            for row in results["models"]
            if "error" in row
        ),
        _figures(rows) if rows else "",
        heading("Size and cost"),
        _html_table(rows, SIZE, "Size and cost"),
        _NOTES["size"],
        heading("Shape"),
        _html_table(rows, SHAPE, "Shape"),
        _NOTES["shape"],
    ]
    if config["measure"]:
        parts += [heading("Speed here"), _html_table(rows, SPEED, "Speed here")]
        parts += [_conditions(config, results)]
    if published := [row for row in rows if row["source"]]:
        columns: dict[str, Cell] = {**PUBLISHED, "weights": _weights}
        parts += [heading("Published accuracy on ImageNet")]
        parts += [_html_table(published, columns, "Published accuracy"), _NOTES["published"]]
    if known := [row for row in rows if row["strengths"]]:
        parts += [heading("Strengths and limits"), _strengths(known)]
    return page("Architectures compared", "\n".join(parts), _STYLE)


def _weights(row: dict[str, Any]) -> str:
    return (row["source"] or "").removeprefix("torchvision ")


def _strengths(rows: Sequence[dict[str, Any]]) -> str:
    entries = "".join(
        f"<dt>{html.escape(row['model'])}</dt><dd>{html.escape(row['strengths'])}</dd>"
        f"<dd>{html.escape(row['limits'])}</dd>"
        for row in rows
    )
    return f"<dl>{entries}</dl>"


def _conditions(config: Config, results: Results) -> str:
    return (
        f'<p class="note">Medians (smallest to largest) of {config["repeats"]} repeats of '
        f"{config['seconds']:g} s on {html.escape(results['device'])}, {results['threads']} "
        "threads of the CPU, evaluation mode, float32, channels_last. Latency: one image at a "
        f"time; images/s: batches of {config['batch_size']}.</p>"
    )
