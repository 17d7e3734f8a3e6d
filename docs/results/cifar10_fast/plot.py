"""Accuracy of validation over the seconds of training, of runs of CIFAR-10, in one figure.

python docs/results/cifar10_fast/plot.py OUT.png NAME=metrics.csv [NAME=metrics.csv ...]
"""

import itertools
import sys
from pathlib import Path

from strided.pages.axis import Axis
from strided.pages.chart import COLOURS, Chart
from strided.pages.figure import Point
from strided.pages.png import write_png
from strided.runs.metrics_csv import read_metrics


def curve(file: Path) -> list[Point]:
    """(seconds since the first batch, accuracy of validation) of each epoch."""
    columns = read_metrics(file)
    seconds = itertools.accumulate(columns["epoch_seconds"])
    return list(zip(seconds, columns["val/acc"], strict=True))


def main() -> None:
    """Draw the runs that are named on the command line."""
    out, *named = sys.argv[1:]
    runs = {name: curve(Path(file)) for name, _, file in (word.partition("=") for word in named)}
    points = [point for line in runs.values() for point in line]
    chart = Chart(
        "CIFAR-10 (JPEG copy): accuracy of validation over seconds of training",
        Axis.over("seconds", [seconds for seconds, _ in points], log=True),
        Axis.over("", [accuracy for _, accuracy in points], percent=True),
        width=720,
        height=400,
    )
    for (name, line), colour in zip(runs.items(), COLOURS, strict=False):
        chart.line(line, name, colour, dots=True)
    write_png(chart.figure(), Path(out))


if __name__ == "__main__":
    main()
