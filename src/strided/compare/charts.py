"""Figures of networks and runs beside each other: a run has the same colour in all of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from strided.compare.finished_run import FinishedRun
from strided.compare.paired_runs import Pair
from strided.data.reading.files import as_text
from strided.pages.axis import Axis
from strided.pages.chart import COLOURS, Chart
from strided.pages.figure import Figure
from strided.pages.parallel import spread_out
from strided.pages.rows import Rows

COSTS = {"macs": "multiply-adds an image", "parameters": "parameters"}


@dataclass(frozen=True)
class Priced:
    """An accuracy, with the ends of its interval if known, and what it costs, by keys of COSTS."""

    name: str
    accuracy: float
    interval: tuple[float, float] | None
    costs: dict[str, float]
    colour: str


def colour_of(place: int) -> str:
    """Return the colour of a run, by its place among all."""
    return COLOURS[place % len(COLOURS)]


def against_costs(priced: Sequence[Priced], accuracy: str) -> list[Figure]:
    """Draw accuracy against each cost that all have; less than two have no figure."""
    return [
        _against(priced, accuracy, cost)
        for cost in COSTS
        if len(priced) > 1 and all(one.costs.get(cost) for one in priced)
    ]


def _against(priced: Sequence[Priced], accuracy: str, cost: str) -> Figure:
    places, unit = in_unit([one.costs[cost] for one in priced], cost)
    ends = [end for one in priced for end in one.interval or (one.accuracy,)]
    x = Axis.over(unit, places, log=spread_out(places), margin=0.12)
    title = f"accuracy against {COSTS[cost]}"
    chart = Chart(title, x, Axis.over(accuracy, ends, percent=True))
    for one, place in zip(priced, places, strict=True):
        title = f"{one.name}: {one.accuracy:.1%}, {place:.4g} {unit}"
        if one.interval:
            chart.interval(place, *one.interval, one.colour, title=title)
        chart.dot(place, one.accuracy, one.colour, title, radius=5)
        chart.name(one.name, one.colour, sign="box")
    return chart.figure()


def in_unit(values: Sequence[float], cost: str) -> tuple[list[float], str]:
    """Return costs in millions or billions, and what they are."""
    word, size = ("billion", 1e9) if max(values) >= 1e9 else ("million", 1e6)
    return [value / size for value in values], f"{word} {COSTS[cost]}"


def short_names(runs: Sequence[FinishedRun]) -> list[str]:
    """Return the labels for a legend: `lenet5 lr=0.01` for `model=lenet5 optimizer.lr=0.01`."""
    labels = [as_text(run.label) for run in runs]
    short = [" ".join(map(_shortest, label.split())) for label in labels]
    return short if len(set(short)) == len(runs) else labels


def _shortest(word: str) -> str:
    key, equals, value = word.partition("=")
    if not equals or key in ("model", "data"):
        return value or key
    return f"{key.rpartition('.')[2]}={value}"


def accuracies(runs: Sequence[FinishedRun]) -> Figure | None:
    """Draw the accuracy of each run with its interval; None if nothing was measured."""
    names = short_names(runs)
    rows = [(run.row() | {"run": names[at]}, colour_of(at)) for at, run in enumerate(runs)]
    known = [(row, colour) for row, colour in rows if row["acc"] is not None]
    if not known:
        return None
    keys = ("acc", "acc_low", "acc_high")
    every = [row[key] for row, _ in known for key in keys if row[key] is not None]
    chart = Rows("accuracy", Axis.over("accuracy, with 95 % intervals", every, percent=True))
    for row, colour in sorted(known, key=lambda entry: -entry[0]["acc"]):
        low, high = row["acc_low"], row["acc_high"]
        said = f"{row['acc']:.1%}" + ("" if low is None else f" ({low:.1%} to {high:.1%})")
        low, high = (math.nan, math.nan) if low is None else (low, high)
        chart.interval(row["run"], row["acc"], low, high, said, colour)
    return chart.figure()


def forest(pairs: Sequence[Pair], runs: Sequence[FinishedRun]) -> Figure | None:
    """Draw the difference of each pair on the same images: a forest plot; None without pairs."""
    short = dict(zip((run.label for run in runs), short_names(runs), strict=True))
    found = [pair.found for pair in pairs if not pair.reason]
    if not found:
        return None
    keys = ("acc_difference", "acc_difference_low", "acc_difference_high")
    points = [[100 * row[key] for key in keys] for row in found]
    every = [0.0, *(end for ends in points for end in ends)]
    axis = Axis.over("percentage points: above 0 the first is better", every)
    chart = Rows("paired differences in accuracy", axis)
    chart.level(0)
    for row, (difference, low, high) in zip(found, points, strict=True):
        name = f"{short[row['first']]} less {short[row['second']]}"
        shown = low > 0 or high < 0
        said = f"{difference:+.1f} ({low:+.1f} to {high:+.1f})"
        chart.interval(name, difference, low, high, said, "c1" if shown else "quiet")
    return chart.figure()


def curves(runs: Sequence[FinishedRun]) -> dict[str, Figure]:
    """Draw accuracy and loss over epochs, validation as a line, training dashed."""
    return {
        name: figure
        for name, key in (("accuracy", "acc"), ("loss", "loss"))
        if (figure := _curves(runs, name, key))
    }


def _curves(runs: Sequence[FinishedRun], name: str, key: str) -> Figure | None:
    lines: list[tuple[str, str, bool, list[tuple[float, float]]]] = []
    names = short_names(runs)
    for place, run in enumerate(runs):
        for split in ("val", "train"):
            if values := run.curves.get(f"{split}/{key}"):
                points = list(zip(run.curves["epoch"], values, strict=True))
                lines.append((names[place], colour_of(place), split == "train", points))
    every = [point for *_, points in lines for point in points]
    if not every:
        return None
    x = Axis.over("epoch", [epoch for epoch, _ in every], whole=True)
    y = Axis.over(name, [value for _, value in every], percent=key == "acc")
    chart = Chart(f"{name} over epochs", x, y)
    for label, colour, dashed, points in lines:
        chart.line(points, "" if dashed else label, colour, dashed=dashed)
    chart.name("dashed: training", "quiet", dashed=True)
    return chart.figure()


def priced_runs(runs: Sequence[FinishedRun]) -> list[Priced]:
    """Return the runs whose accuracy is known, with what their networks cost."""
    found, names = [], short_names(runs)
    for place, run in enumerate(runs):
        row: dict[str, Any] = run.row()
        if row["acc"] is None:
            continue
        interval = None if row["acc_low"] is None else (row["acc_low"], row["acc_high"])
        costs = {cost: row[cost] for cost in COSTS if row[cost]}
        found.append(Priced(names[place], row["acc"], interval, costs, colour_of(place)))
    return found
