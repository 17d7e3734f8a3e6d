"""The table of architectures: facts, speed here, published accuracy."""

import csv
import html
import io
import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from strided.compare.facts import facts_of
from strided.compare.families import family
from strided.errors import UserError
from strided.models.building import build_model
from strided.page import page
from strided.run import describe_error, write_text
from strided.throughput import images_per_second

log = logging.getLogger(__name__)

COLUMNS = (
    "model",
    "parameters",
    "aux_parameters",
    "macs",
    "depth",
    "image_size",
    "stem",
    "activation_bytes",
    "checkpoint_bytes",
    "receptive_field",
    "sees_all",
    "filter_sizes",
    *(f"latency_ms{end}" for end in ("", "_min", "_max")),
    *(f"images_per_second{end}" for end in ("", "_min", "_max")),
    "top1",
    "top5",
    "source",
    "strengths",
    "limits",
    "error",
)
STYLE = """
body { max-width: 76rem; } table { font-size: .95rem; }
th { border-bottom: 1px solid; vertical-align: bottom; font-weight: 600; }
th.number { text-align: right; } td, th { padding-right: 1.4rem; }
.scroll { margin-bottom: 1.5rem; } .scroll td, .scroll th { white-space: nowrap; }
.scroll td:first-child, .scroll th:first-child { position: sticky; left: 0; background: Canvas; }
dt { font-weight: 600; margin-top: .8rem; } dd { margin-left: 0; } .note { font-size: .9rem; }
.error { color: light-dark(#a00, #f99); }
"""


def compare_models(
    models: Mapping[str, dict[str, Any]],
    config: dict[str, Any],
    device: torch.device,
    folder: Path,
    results: dict[str, Any],
) -> None:
    """Write compare.csv and compare.html, and a row for each network into `results`.

    Raises UserError at the end if a network could not be built: the others have their rows.
    """
    rows: list[dict[str, Any]] = []
    results.update(models=rows, device=str(device), threads=torch.get_num_threads())
    try:
        for name, node in models.items():
            rows.append({"model": name})
            try:
                rows[-1].update(_row(name, node, config, device))
            except UserError as error:
                rows[-1]["error"] = describe_error(error)
    finally:
        _write_csv(folder / "compare.csv", rows)
    write_text(folder / "compare.html", _render(config, results))
    for line in _lines(rows):
        log.info("%s", line)
    log.info("%s", folder / "compare.html")
    if failed := [row for row in rows if "error" in row]:
        reasons = "\n".join(f"{row['model']}: {row['error'].splitlines()[0]}" for row in failed)
        raise UserError(f"{len(failed)} of {len(rows)} models have no facts:\n{reasons}")


def _row(
    name: str, node: dict[str, Any], config: dict[str, Any], device: torch.device
) -> dict[str, Any]:
    row = facts_of(node, config["num_classes"], config["channels"], config["image_size"])
    row.update(family(str(node.get("name") or name))._asdict())
    if config["measure"]:
        net = build_model(
            {**node, "stem": row["stem"]} if row["stem"] else node,
            num_classes=config["num_classes"],
            in_channels=config["channels"],
            image_size=row["image_size"],
        )
        row.update(measure(net, row["image_size"], config, device))
        log.info(
            "%s: %.4g ms an image, %.4g images/s",
            name,
            row["latency_ms"]["median"],
            row["images_per_second"]["median"],
        )
    return row


def measure(
    net: nn.Module, image_size: int, config: dict[str, Any], device: torch.device
) -> dict[str, Any]:
    """Time the network in evaluation mode, float32 and channels_last, on images of noise.

    Returns median, min and max over the repeats of latency_ms (one image at a time) and
    images_per_second (batches of batch_size).
    """
    net.to(device).to(memory_format=torch.channels_last).eval()
    latencies: list[float] = []
    rates: list[float] = []
    for _ in range(config["repeats"]):
        for batch_size, found in ((1, latencies), (config["batch_size"], rates)):
            shape = (batch_size, config["channels"], image_size, image_size)
            images = torch.randn(shape, device=device).to(memory_format=torch.channels_last)
            found.append(images_per_second(_forward(net, images), config["seconds"], device))
    return {
        "latency_ms": _spread([1000 / rate for rate in latencies]),
        "images_per_second": _spread(rates),
    }


def _forward(net: nn.Module, images: torch.Tensor) -> Generator[int, None, None]:
    with torch.inference_mode():
        while True:
            net(images)
            yield len(images)


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": median(values), "min": min(values), "max": max(values)}


def _write_csv(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        flat = dict(row)
        for name in ("latency_ms", "images_per_second"):
            spread = flat.pop(name, {})
            for end, key in (("", "median"), ("_min", "min"), ("_max", "max")):
                flat[f"{name}{end}"] = f"{spread[key]:.5g}" if spread else ""
        writer.writerow(flat)
    write_text(file, text.getvalue())


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


def _lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Lines of the terminal's table, and why a network has no row."""
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
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in table
    ]
    failed = [row for row in rows if "error" in row]
    return lines + [f"{row['model']} failed: {row['error'].splitlines()[0]}" for row in failed]


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


def _render(config: dict[str, Any], results: dict[str, Any]) -> str:
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


def _conditions(config: dict[str, Any], results: dict[str, Any]) -> str:
    return (
        f'<p class="note">Medians (smallest to largest) of {config["repeats"]} repeats of '
        f"{config['seconds']:g} s on {html.escape(results['device'])}, {results['threads']} "
        "threads of the CPU, evaluation mode, float32, channels_last. Latency: one image at a "
        f"time; images/s: batches of {config['batch_size']}.</p>"
    )
