"""The curves of a run as charts, with its stages."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from strided.pages.axis import Axis
from strided.pages.chart import Chart
from strided.pages.figure import Figure, Point
from strided.report.ending import Curves

TITLES = {"loss": "loss", "acc": "accuracy", "lr": "learning_rate"}  # by column, without its split
_MOST_DOTS = 60  # epochs that are marked one by one


@dataclass(frozen=True)
class Aim:
    """What callbacks.target was to reach, and when it did, if it did."""

    monitor: str
    value: float
    seconds: float | None
    epochs: float | None


def chart_curves(
    curves: Curves, stages: Sequence[Mapping[str, Any]], best: int | None, aim: Aim | None = None
) -> dict[str, Figure]:
    """Loss, accuracy and learning rate over epochs, by title; `best` is the epoch that was kept."""
    return {
        title: _chart(column, curves, stages, best, aim)
        for column, title in TITLES.items()
        if _has(curves, column)
    }


def _has(curves: Curves, column: str) -> bool:
    if column == "lr":  # a constant one is in the config
        return len(set(curves["lr"])) > 1
    return f"train/{column}" in curves


def _chart(
    column: str,
    curves: Curves,
    stages: Sequence[Mapping[str, Any]],
    best: int | None,
    aim: Aim | None,
) -> Figure:
    epochs = curves["epoch"]
    names = {"lr": ""} if column == "lr" else {f"{s}/{column}": s for s in ("train", "val")}
    lines = {names[key]: _points(epochs, curves[key]) for key in names if key in curves}
    values = [value for points in lines.values() for _, value in points]
    aim = aim if aim is not None and aim.monitor.endswith(f"/{column}") else None
    if aim is not None:
        values.append(aim.value)
    log = column == "lr" and min(values) > 0 and max(values) > 10 * min(values)
    chart = Chart(
        TITLES[column].replace("_", " "),
        Axis("epoch", epochs[0] - 0.5, epochs[-1] + 0.5, whole=True),
        Axis.over("", values, log=log, percent=column == "acc"),
    )
    for stage in stages if len(stages) > 1 else ():
        if stage["first_epoch"] <= epochs[-1]:
            chart.upright(stage["first_epoch"] - 0.5, stage["name"])
    dots = len(epochs) < _MOST_DOTS
    if column == "lr":
        chart.steps(lines[""], "", "c2", after=False)
    if train := lines.get("train"):
        chart.line(train, "training", "c0", dashed=True, dots=dots)
    if val := lines.get("val"):
        chart.line(val, "validation", "c1", dots=dots)
        _mark_kept(chart, dict(val), best)
    if aim is not None:
        _mark_aim(chart, aim)
    return chart.figure()


def _points(epochs: Sequence[float], values: Sequence[float]) -> list[Point]:
    """Validation may skip epochs."""
    return [pair for pair in zip(epochs, values, strict=True) if math.isfinite(pair[1])]


def _mark_kept(chart: Chart, values: Mapping[float, float], best: int | None) -> None:
    if best is not None and best in values:
        title = f"kept: the weights of epoch {best}"
        chart.dot(best, values[best], "ink", title, radius=7, ring=True)
        chart.name("kept", "ink", sign="ring")


def _mark_aim(chart: Chart, aim: Aim) -> None:
    """Its level, and where the curve reached it."""
    chart.level(aim.value)
    value = f"{aim.value:.4g}" if aim.monitor.endswith("loss") else f"{100 * aim.value:.4g} %"
    if aim.epochs is None:
        chart.word(chart.x.low, aim.value, f"target {value}, not reached", dy=-5)
    else:
        # validations inside an epoch may be left of the first dot, or right of the last
        reached = min(max(aim.epochs - 1, chart.x.low), chart.x.high)
        chart.upright(reached, f"target {value} after {aim.seconds:,.0f} s")


def chart_rates(found: Mapping[str, Any]) -> Figure:
    """The loss at each learning rate that was tried, and the suggested rate."""
    points = _points(found["rates"], found["losses"])
    chart = Chart(
        "learning rates tried",
        Axis.over("learning rate", found["rates"], log=True, margin=0),
        Axis.over("training loss, smoothed", [loss for _, loss in points]),
    )
    chart.line(points, "", "c0")
    if found["suggestion"] is not None:
        chart.upright(found["suggestion"], f"suggested: {found['suggestion']:.2g}", "c1")
    return chart.figure()
