"""The table of architectures as a page and in the terminal."""

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from strided.benchmark.failures import failure_lines
from strided.config.keys import Config
from strided.pages.page import page
from strided.runs.results import Results
from strided.system.text_table import text_table

STYLE = """
body { max-width: 76rem; } table { font-size: .95rem; }
th { border-bottom: 1px solid; vertical-align: bottom; font-weight: 600; }
th.number { text-align: right; } td, th { padding-right: 1.4rem; }
.scroll { margin-bottom: 1.5rem; } .scroll td, .scroll th { white-space: nowrap; }
.scroll td:first-child, .scroll th:first-child { position: sticky; left: 0; background: Canvas; }
dt { font-weight: 600; margin-top: .8rem; } dd { margin-left: 0; } .note { font-size: .9rem; }
.error { color: light-dark(#a00, #f99); }
"""

Cell = Callable[[dict[str, Any]], str]


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


def _html_table(rows: Sequence[dict[str, Any]], columns: Mapping[str, Cell]) -> str:
    words = ("filters", "weights")
    kinds = ["" if name in words else ' class="number"' for name in columns]
    heads = "".join(
        f"<th{kind}>{html.escape(name)}</th>" for name, kind in zip(columns, kinds, strict=True)
    )
    body = "".join(
        f"<tr><td>{html.escape(row['model'])}</td>"
        + "".join(
            f"<td{kind}>{html.escape(cell(row))}</td>"
            for cell, kind in zip(columns.values(), kinds, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><tr><th>model</th>{heads}</tr>{body}</table></div>'


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
        "<h2>Size and cost</h2>",
        _html_table(rows, SIZE),
        '<p class="note">MACs: multiply-adds of a forward pass of one image. Activations: '
        "the float32 outputs of all layers for one image; a checkpoint: float32 weights, auxiliary "
        "heads included.</p><h2>Shape</h2>",
        _html_table(rows, SHAPE),
        '<p class="note">Depth: convolutions and fully connected layers on the longest path. '
        "Receptive field: the side of the square of the image that a unit of the last "
        "convolution's map sees through filters and poolings; (all): something computed of the "
        "whole image, such as squeeze-and-excitation, is in it too. It may be larger than the "
        "image.</p>",
    ]
    if config["measure"]:
        parts += ["<h2>Speed here</h2>", _html_table(rows, SPEED), _conditions(config, results)]
    sources = {"weights": lambda row: (row["source"] or "").removeprefix("torchvision ")}
    parts += [
        "<h2>Published accuracy on ImageNet</h2>",
        _html_table([row for row in rows if row["source"]], {**PUBLISHED, **sources}),
        '<p class="note">As torchvision publishes them with its weights, on the validation images. '
        "Training recipes differ, so that a difference is not the architecture's alone. timm "
        "ships no figures with its package; a network that differs from the published one has "
        "none.</p><h2>Strengths and limits</h2><dl>",
        *(
            f"<dt>{html.escape(row['model'])}</dt><dd>{html.escape(row['strengths'])}</dd>"
            f"<dd>{html.escape(row['limits'])}</dd>"
            for row in rows
            if row["strengths"]
        ),
        "</dl>",
    ]
    return page("Architectures compared", "\n".join(parts), STYLE)


def _conditions(config: Config, results: Results) -> str:
    return (
        f'<p class="note">Medians (smallest to largest) of {config["repeats"]} repeats of '
        f"{config['seconds']:g} s on {html.escape(results['device'])}, {results['threads']} "
        "threads of the CPU, evaluation mode, float32, channels_last. Latency: one image at a "
        f"time; images/s: batches of {config['batch_size']}.</p>"
    )
