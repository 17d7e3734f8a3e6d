"""Draw the figures of docs/questions from the files kept here: python docs/results/figures.py."""

import csv
import itertools
from collections.abc import Sequence
from pathlib import Path

from strided.pages.axis import Axis
from strided.pages.chart import COLOURS, Chart
from strided.pages.figure import Figure
from strided.pages.png import write_png, write_row
from strided.runs.metrics_csv import read_metrics
from strided.sweeps.error_bars import draw_repeats

HERE = Path(__file__).parent
IMAGES = HERE.parent / "images"
RUNS = {  # of CIFAR-10, by their names in the figure
    "cifar10_fast": "cifar10_fast/originals_1",
    "the same, JPEG copy": "cifar10_fast/jpeg_copy_2",
    "GoogLeNet": "googlenet_cifar10/fast",
    "GoogLeNet, plain, copy": "googlenet_cifar10",
}


def rows(file: str) -> list[dict[str, str]]:
    """The rows of a table here."""
    with (HERE / file).open() as text:
        return list(csv.DictReader(text))


def moved() -> Figure:
    """Accuracy over pixels moved: a line for each network, a bar over its seeds."""
    found = rows("questions/mlp_vs_cnn_moved.csv")
    shifts = [name for name in found[0] if name.startswith("moved_")]
    every = [float(row[name]) for row in found for name in shifts]
    x = Axis.over("pixels moved", range(len(shifts)), whole=True)
    chart = Chart("test accuracy", x, Axis.over("", every, percent=True), width=560)
    for colour, model in zip(COLOURS, ("lenet5", "mlp", "mlp_small"), strict=False):
        own = [row for row in found if row["model"] == model]
        repeats = [(at, [float(row[name]) for row in own]) for at, name in enumerate(shifts)]
        draw_repeats(chart, repeats, model, colour)
    return chart.figure()


def training_errors() -> Figure:
    """Training error over epochs: a colour for each depth, dashed without shortcuts."""
    found = rows("questions/plain_vs_residual_epochs.csv")
    errors = [1 - float(row["train/acc"]) for row in found]
    x = Axis.over("epoch", [int(row["epoch"]) for row in found], whole=True)
    chart = Chart("training error", x, Axis.over("", errors, percent=True))
    depths = sorted({int(row["depth"]) for row in found})
    for colour, depth in zip(COLOURS, depths, strict=False):
        for kind in ("plain", "residual"):
            points = [
                (float(row["epoch"]), error)
                for row, error in zip(found, errors, strict=True)
                if (int(row["depth"]), row["network"]) == (depth, kind)
            ]
            chart.line(points, f"{kind} {depth}", colour, dashed=kind == "plain")
    return chart.figure()


def first_gradients() -> Figure:
    """Gradients of the first layers over those of the last, before training, over the depth."""
    found = [
        (row["network"], float(row["depth"]), float(row["first_tenth_over_last"]))
        for row in rows("questions/plain_vs_residual_gradients.csv")
        if row["when"] == "before training"
    ]
    x = Axis.over("layers", [depth for _, depth, _ in found], log=True)
    y = Axis.over("", [ratio for *_, ratio in found], log=True)
    chart = Chart("gradients, first tenth over last tenth", x, y)
    for kind in ("plain", "residual"):
        points = [(depth, ratio) for own, depth, ratio in found if own == kind]
        chart.line(points, kind, COLOURS[0], dashed=kind == "plain", dots=True)
    return chart.figure()


def little_data(title: str, column: str, *, log: bool = False) -> Figure:
    """A column over the share of training images: a line for each transfer, a bar over seeds."""
    found = rows("transfer/vs_scratch.csv")
    shares = list(dict.fromkeys(row["data.train_fraction"] for row in found))
    x = Axis.over("share of 1,250 training images", map(float, shares), log=True)
    every = [float(row[column]) for row in found]
    chart = Chart(title, x, Axis.over("", every, log=log, percent=not log))
    names = {"scratch": "from scratch", "frozen": "frozen", "two_stage": "two stages"}
    for colour, (transfer, name) in zip(COLOURS, names.items(), strict=False):
        own = [row for row in found if row["transfer"] == transfer]
        repeats = [
            (float(at), [float(row[column]) for row in own if row["data.train_fraction"] == at])
            for at in shares
        ]
        draw_repeats(chart, repeats, name, colour)
    return chart.figure()


def accuracy_over_seconds(runs: dict[str, str]) -> Figure:
    """Accuracy of validation over the seconds of training, of runs of CIFAR-10."""
    curves = {}
    for name, folder in runs.items():
        columns = read_metrics(HERE / folder / "metrics.csv")
        seconds: Sequence[float] = list(itertools.accumulate(columns["epoch_seconds"]))
        curves[name] = list(zip(seconds, columns["val/acc"], strict=True))
    points = [point for curve in curves.values() for point in curve]
    x = Axis.over("seconds of training", [second for second, _ in points], log=True)
    y = Axis.over("", [accuracy for _, accuracy in points], percent=True, margin=0.01)
    chart = Chart("CIFAR-10: accuracy of validation", x, y, width=720, height=400)
    for (name, curve), colour in zip(curves.items(), COLOURS, strict=False):
        chart.line(curve, name, colour, dots=True)
    return chart.figure()


if __name__ == "__main__":
    write_png(moved(), IMAGES / "mlp_vs_cnn.png")
    write_row([training_errors(), first_gradients()], IMAGES / "plain_vs_residual.png")
    accuracy = little_data("test accuracy", "test/acc")
    seconds = little_data("training time, s", "train_seconds", log=True)
    write_row([accuracy, seconds], IMAGES / "transfer_vs_scratch.png")
    write_png(accuracy_over_seconds(RUNS), IMAGES / "cifar10_seconds.png")
