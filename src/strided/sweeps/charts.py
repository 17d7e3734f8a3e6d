"""The figures of a sweep: a metric over one key, over two as a heat map, over more as lines."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev

from strided.pages.axis import Axis
from strided.pages.chart import Chart
from strided.pages.figure import Figure
from strided.pages.heat_map import Cell, heat_map
from strided.pages.parallel import Combination, in_order, is_number, parallel, spread_out
from strided.pages.rows import Rows
from strided.sweeps.grouped import REPEATS, Row, shortened, values

NAMES = {
    "best_val/acc": "validation accuracy",
    "best_val/loss": "validation loss",
    "test/acc": "test accuracy",
    "train_seconds": "training time, s",
}
_MOST_ROWS, _MOST_COLUMNS = 40, 10


def charts(grouped: Sequence[Row], metrics: Sequence[str], best: Row | None) -> list[Figure]:
    """Draw the rows; the first of the metrics is what a sweep is judged by.

    One key has a chart of each metric, two that form a grid have a heat map of each; more have
    parallel coordinates of the first. Rows without a value are left out.
    """
    known = [row for row in grouped if values(row, metrics[0])]
    if not known:
        return []
    keys = list(known[0][0])
    if len(keys) > 2 or (len(keys) == 2 and not _is_grid(known)):
        return [_lines(known, keys, metrics[0])]
    draw = (_points, _curve, _grid)[len(keys)]
    if len(keys) == 1 and not _is_scale(known, keys[0]):
        draw = _points
    return [draw(own, metric, best) for metric in metrics if (own := _with(known, metric))]


def said(found: Sequence[float], metric: str) -> str:
    """Return `93.1%`, or `93.1% ± 0.4` with the standard deviation of several."""
    if metric.endswith("acc"):
        spread = f" ± {100 * stdev(found):.1f}" if len(found) > 1 else ""
        return f"{fmean(found):.1%}{spread}"
    digits = {"train_seconds": 1, "best_epoch": 0}.get(metric, 4)
    return f"{fmean(found):.{digits}f}" + (
        f" ± {stdev(found):.{digits}f}" if len(found) > 1 else ""
    )


def typed(row: Row) -> str:
    """Return what was typed for a row: `optimizer.lr=0.01, data.batch_size=64`."""
    return ", ".join(f"{key}={shortened(value)}" for key, value in row[0].items())


def _is_scale(grouped: Sequence[Row], key: str) -> bool:
    """Whether a key's values are numbers that mean more or less: those of a seed do not."""
    return key not in REPEATS and all(is_number(row[0][key]) for row in grouped)


def _with(grouped: Sequence[Row], metric: str) -> list[Row]:
    return [row for row in grouped if values(row, metric)]


def _is_grid(grouped: Sequence[Row]) -> bool:
    """Whether two keys were crossed: most of their combinations are there."""
    columns, rows = (len({row[0][key] for row in grouped}) for key in grouped[0][0])
    return columns * rows <= 2 * len(grouped) and min(columns, rows) <= _MOST_COLUMNS


def _axis(grouped: Sequence[Row], metric: str) -> Axis:
    every = [value for row in grouped for value in values(row, metric)]
    return Axis.over(NAMES.get(metric, metric), every, percent=metric.endswith("acc"))


def _points(grouped: Sequence[Row], metric: str, best: Row | None) -> Figure:
    """A row for each value, in order: the mean, a dot for each repeat, a line over all of them."""
    name = NAMES.get(metric, metric)
    chart = Rows(name, _axis(grouped, metric))
    for row in grouped[:_MOST_ROWS]:
        found = values(row, metric)
        colour = "c1" if row is best else "c0"
        low, high = (min(found), max(found)) if len(found) > 1 else (math.nan, math.nan)
        chart.interval(typed(row), fmean(found), low, high, said(found, metric), colour)
        chart.dots(found, colour)
    return chart.figure()


def _curve(grouped: Sequence[Row], metric: str, best: Row | None) -> Figure:
    """The mean over a key's numbers, a dot for each repeat, a band from lowest to highest."""
    (key,) = grouped[0][0]
    ordered = sorted(grouped, key=lambda row: float(row[0][key]))
    places = [float(row[0][key]) for row in ordered]
    repeats = [values(row, metric) for row in ordered]
    x = Axis.over(key, places, log=spread_out(places))
    chart = Chart(NAMES.get(metric, metric), x, _axis(ordered, metric))
    chart.band([(at, min(v), max(v)) for at, v in zip(places, repeats, strict=True)], "c0")
    chart.line([(at, fmean(v)) for at, v in zip(places, repeats, strict=True)], "", "c0")
    for row, at, found in zip(ordered, places, repeats, strict=True):
        title = f"{typed(row)}: {said(found, metric)}"
        colour = "c1" if row is best else "c0"
        for value in found if len(found) > 1 else ():
            chart.dot(at, value, colour, title, radius=2.5, opacity=0.6)
        chart.dot(at, fmean(found), colour, title, radius=6 if row is best else 4)
    if best in ordered:
        chart.name("the best by validation", "c1", sign="box")
    return chart.figure()


def _grid(grouped: Sequence[Row], metric: str, best: Row | None) -> Figure:
    """Means, by two keys: the one with fewer values goes across."""
    across, down = sorted(grouped[0][0], key=lambda key: len({row[0][key] for row in grouped}))
    cells = {}
    for row in grouped:
        found, place = values(row, metric), (row[0][across], row[0][down])
        word, _, spread = said(found, metric).partition(" ± ")
        title = f"{typed(row)}: {said(found, metric)}"
        note = f"± {spread}" if spread else ""
        cells[place] = Cell(fmean(found), word, title, note, row is best)
    columns, rows = (in_order([row[0][key] for row in grouped]) for key in (across, down))
    low_is_good = not metric.endswith("acc")
    title = NAMES.get(metric, metric)
    return heat_map(title, (across, down), columns, rows, cells, low_is_good)


def _lines(grouped: Sequence[Row], keys: Sequence[str], metric: str) -> Figure:
    """A line for each row through its values, to the metric at the right."""
    means = [fmean(values(row, metric)) for row in grouped]
    low, high = min(means), max(means)
    lines = []
    for row, mean in zip(grouped, means, strict=True):
        share = (mean - low) / (high - low) if high > low else 1.0
        shown = f"{100 * mean:.1f}" if metric.endswith("acc") else f"{mean:.4g}"
        good = share if metric.endswith("acc") else 1 - share
        title = f"{typed(row)}: {said(values(row, metric), metric)}"
        lines.append(Combination([*(row[0][key] for key in keys), shown], good, title))
    title = NAMES.get(metric, metric) + ", %" * metric.endswith("acc")
    return parallel(title, [*keys, "accuracy" if metric.endswith("acc") else metric], lines)
