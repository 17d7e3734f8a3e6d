"""The curves of a run as figures, with its stages."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from strided.report.ending import Curves

FIGURES = {"loss": "loss", "acc": "accuracy", "lr": "learning_rate"}


def draw_curves(
    curves: Curves, stages: Sequence[Mapping[str, Any]], best: int | None, folder: Path
) -> list[Path]:
    """Draw loss, accuracy and learning rate over epochs; `best` is the epoch that was kept."""
    return [_draw(name, curves, stages, best, folder) for name in FIGURES if _has(curves, name)]


def _has(curves: Curves, name: str) -> bool:
    if name == "lr":  # a constant one is in the config
        return len(set(curves["lr"])) > 1
    return f"train/{name}" in curves


def _draw(
    name: str, curves: Curves, stages: Sequence[Mapping[str, Any]], best: int | None, folder: Path
) -> Path:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = Figure(figsize=(4.8, 3.4), layout="constrained")
    axes = figure.subplots()
    epochs = curves["epoch"]
    if name == "lr":
        axes.step(epochs, curves["lr"], where="mid", color="C2")
        if min(curves["lr"]) > 0 and max(curves["lr"]) > 10 * min(curves["lr"]):
            axes.set_yscale("log")
    for split, style in (("train", "--"), ("val", "-")):
        if f"{split}/{name}" in curves:
            values = dict(zip(epochs, curves[f"{split}/{name}"], strict=True))
            # validation may skip epochs
            points = [(epoch, value) for epoch, value in values.items() if math.isfinite(value)]
            marker = "." if len(points) < 60 else None
            axes.plot(*zip(*points, strict=True), ls=style, marker=marker, label=split)
            if split == "val" and best in values:
                axes.plot(best, values[best], "o", mfc="none", ms=10, color="C1", label="kept")
    axes.set(xlabel="epoch", title=FIGURES[name].replace("_", " "))
    axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if name == "acc":
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(alpha=0.3)
    if name != "lr":
        axes.legend()
    _mark_stages(axes, stages, epochs)
    file = folder / f"{FIGURES[name]}.png"
    figure.savefig(file, dpi=150)
    return file


def _mark_stages(axes: Any, stages: Sequence[Mapping[str, Any]], epochs: Sequence[float]) -> None:
    """Draw a line where each stage begins, with its name beside it."""
    if len(stages) < 2:
        return
    for stage in stages:
        if stage["first_epoch"] <= epochs[-1]:
            place = stage["first_epoch"] - 0.5
            axes.axvline(place, color="0.5", lw=1, ls=":")
            axes.text(
                place,
                0.02,
                f" {stage['name']}",
                rotation=90,
                va="bottom",
                color="0.4",
                fontsize=8,
                transform=axes.get_xaxis_transform(),
                parse_math=False,
            )


def draw_rates(found: Mapping[str, Any], folder: Path) -> Path:
    """Draw the loss at each learning rate that was tried, and the suggested rate."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.plot(found["rates"], found["losses"])
    if found["suggestion"] is not None:
        axes.axvline(found["suggestion"], ls="--", label=f"suggested: {found['suggestion']:.2g}")
        axes.legend()
    axes.set(xlabel="learning rate", ylabel="training loss, smoothed", xscale="log")
    axes.set_title("learning rates tried")
    axes.grid(alpha=0.3)
    file = folder / "learning_rates.png"
    figure.savefig(file, dpi=150)
    return file
