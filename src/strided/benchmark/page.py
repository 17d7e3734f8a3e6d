"""benchmark.html: how fast each network trains beside its bounds, and what it waits for."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from strided.benchmark.failures import reasons
from strided.benchmark.table import RATIOS, ratio
from strided.config.keys import Config
from strided.pages.axis import Axis
from strided.pages.chart import COLOURS
from strided.pages.figure import Figure
from strided.pages.page import Cell, bullets, heading, page, table, tile, tiles
from strided.pages.rows import Rows
from strided.runs.results import Results

PARTS = {  # colours, the same in all figures
    "ceiling": "quiet",
    "plain": "c1",
    "strided": "c0",
    "inference": "c2",
    "bare_inference": "c8",
}
_NOTE = """<p class="note">ceiling: the network alone, trained on one batch that is there already.
plain: a script as a course has it. strided: train itself. inference: evaluation as eval does it;
bare_inference: the same network alone. Bars are medians of the repeats, lines go from the lowest to
the highest. Ratios are taken within a repeat.</p>"""


def render(config: Config, results: Results) -> str:
    """Return the page of the networks that were measured, and of those that failed."""
    rows: Sequence[dict[str, Any]] = results["benchmarks"]
    measured = [row for row in rows if "bound" in row]
    parts = [
        "".join(
            f'<p class="error">{html.escape(model)} failed: {html.escape(why)}</p>'
            for model, why in reasons(rows).items()
        )
    ]
    if measured:
        parts += [tiles(map(_tile, measured)), _in_grid(map(_rates, measured)), _NOTE]
        parts += [heading("What training waits for, and what it takes")]
        repeated = [row for row in measured if len(row["repeats"]) > 1]
        of_peak = [_peak(repeated)] if repeated else []
        parts += [_in_grid([_waits(measured), *of_peak, _memory(measured)])]
        parts.append(bullets(f"{row['model']}: {row['bound']}" for row in measured))
        parts.append(bullets(f"{row['model']}: {row['peak']}" for row in repeated))
        parts += [heading("Figures"), _table(measured), _conditions(config, measured)]
    return page("Benchmark", "\n".join(parts))


def _tile(row: Mapping[str, Any]) -> str:
    """A network's training rate, and what is left of its ceiling."""
    rate = row["images_per_second"]["strided"]["median"]
    if len(row["repeats"]) < 2:
        told = "one repeat: no ratio is given, since its spread is not known"
    else:
        told = f"{ratio(row, 'strided/ceiling')} of its ceiling, "
        told += f"{ratio(row, 'strided/plain')} of the plain script, "
        told += f"{ratio(row, 'of_peak')} of the machine's peak"
    return tile(row["model"], f"{rate:,.0f} images/s", told)


def _rates(row: Mapping[str, Any]) -> Figure:
    """A bar for each part, with the range of its repeats."""
    rates = row["images_per_second"]
    highest = max(spread["max"] for spread in rates.values())
    chart = Rows(row["model"], Axis("images a second", 0, 1.02 * highest))
    for part, colour in PARTS.items():
        low, high = rates[part]["min"], rates[part]["max"]
        said = f"{rates[part]['median']:,.0f}"
        said += f" ({low:,.0f} to {high:,.0f})" if len(row["repeats"]) > 1 else ""
        chart.bar(part, rates[part]["median"], said, colour)
        if len(row["repeats"]) > 1:
            chart.range(low, high, "ink")
    return chart.figure()


def _waits(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """The shares of training's time, a row for each network."""
    chart = Rows("shares of the time", Axis("", 0, 1, percent=True))
    for row in rows:
        shares = row.get("time_shares", {})
        parts = [
            (name, share, colour)
            for (name, share), colour in zip(shares.items(), COLOURS, strict=False)
        ]
        most = max(shares, key=shares.__getitem__, default="not measured")
        chart.shares(row["model"], parts, most)
        for name, _, colour in parts:
            chart.name(name, colour)
    return chart.figure()


def _peak(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """The arithmetic of training, and of its network alone, against the fastest matrix product."""
    shares = {
        (row["model"], part): row["of_peak"][part]
        for row in rows
        for part in ("strided", "ceiling")
    }
    highest = max(spread["max"] for spread in shares.values())
    axis = Axis("of the fastest matrix product here", 0, max(1.0, highest), percent=True)
    chart = Rows("arithmetic, of the peak", axis)
    for (model, part), spread in shares.items():
        low, high = spread["min"], spread["max"]
        said = f"{spread['median']:.0%} ({low:.0%} to {high:.0%})"
        chart.bar(f"{model}, {part}", spread["median"], said, PARTS[part])
        chart.range(low, high, "ink")
    return chart.figure()


def _memory(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """What training and evaluation took at their peak, in GiB."""
    taken = {
        f"{row['model']}, {part}": (row["peak_memory_bytes"].get(part) or 0) / 2**30
        for row in rows
        for part in ("strided", "inference")
    }
    chart = Rows("peak memory", Axis("GiB", 0, 1.02 * max(taken.values()) or 1.0))
    for name, value in taken.items():
        colour = PARTS[name.rpartition(", ")[2]]
        chart.bar(name, value, f"{value:.2f} GiB" if value else "not known", colour)
    return chart.figure()


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    ratios = (*RATIOS, "of_peak")
    heads = ["model", "parameters", "million MACs", *PARTS, *ratios]
    lines: list[list[Cell]] = [
        [
            row["model"],
            row["parameters"]["total"],
            f"{row['macs'] / 1e6:.4g}",
            *(round(row["images_per_second"][part]["median"]) for part in PARTS),
            *(ratio(row, name) for name in ratios),
        ]
        for row in rows
    ]
    return table(heads, lines, "Images a second, and ratios")


def _conditions(config: Config, rows: Sequence[Mapping[str, Any]]) -> str:
    first = rows[0]
    return (
        f'<p class="note">Data: {html.escape(first["data"])}, batches of {first["batch_size"]} on '
        f"{html.escape(first['device'])}; {config['repeats']} repeats of {config['seconds']:g} s. "
        "The machine must be idle: look at the ranges before a difference.</p>"
    )


def _in_grid(figures: Any) -> str:
    return f'<div class="figures">{"".join(figure.html() for figure in figures)}</div>'
