"""The figure of a sweep: a metric over one key's values, a line for each value of another key."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from statistics import fmean

from strided.pages.axis import Axis
from strided.pages.chart import COLOURS, Chart
from strided.pages.figure import Figure
from strided.pages.page import bullets
from strided.pages.parallel import is_number, spread_out
from strided.pages.png import write_png
from strided.runs.folder import RunFolder
from strided.runs.results import by_name
from strided.sweeps.axes import Sweep
from strided.sweeps.charts import NAMES
from strided.sweeps.error_bars import draw_repeats
from strided.sweeps.folder import SweepFolder
from strided.sweeps.grouped import Job, measured
from strided.sweeps.page import in_grid

Cells = dict[tuple[str, str], list[float]]  # by line and x: a value for each finished repeat


def section(folder: Path, sweep: Sweep, jobs: Sequence[Job]) -> str:
    """Return the figures of the finished jobs with their reading, as HTML; write trend.png.

    It is "" for a sweep without a figure.
    """
    if not sweep.drawn:
        return ""
    done = [job for job in jobs if job.state == "finished"]
    metric = measured(done)[0]
    accuracy, seconds = cells(sweep, done, metric), cells(sweep, done, "train_seconds")
    if not accuracy:
        return ""
    drawn = [_figure(sweep, metric, accuracy), _figure(sweep, "train_seconds", seconds)]
    figures = SweepFolder(folder).figures
    figures.mkdir(exist_ok=True)
    write_png(drawn[0], figures / "trend.png")
    return f"{in_grid(drawn)}{bullets(reading(sweep, accuracy, seconds))}"


def study(folder: Path, sweep: Sweep, jobs: Sequence[Job]) -> str:
    """The experiment's additional section as HTML; earlier measurements are read from files."""
    done = [
        job
        for job in jobs
        if job.state == "finished" and RunFolder(folder / str(job.number)).best.is_file()
    ]
    if not done or not sweep.study:
        return ""
    shown: str = import_module(f"strided.sweeps.experiments.{sweep.study}").section(folder, done)
    return shown


def cells(sweep: Sweep, jobs: Sequence[Job], metric: str) -> Cells:
    """The values of a metric, with repeats together."""
    found: Cells = {}
    for job in jobs:
        if (value := by_name(job.results).get(metric)) is not None:
            key = job.overrides[sweep.lines], job.overrides[sweep.x]
            found.setdefault(key, []).append(float(value))
    return found


def reading(sweep: Sweep, accuracy: Cells, seconds: Cells) -> list[str]:
    """A sentence for each x: the lines from best to worst, and how certain the first place is."""
    sentences = []
    for x in dict.fromkeys(x for _, x in accuracy):
        means = {line: fmean(values) for (line, at), values in accuracy.items() if at == x}
        lines = sorted(means, key=lambda line: -means[line])
        parts = [
            f"{_labelled(sweep, line)} {means[line]:.1%} ({_range(accuracy[line, x])}"
            f"{fmean(seconds.get((line, x), [math.nan])):.0f} s)"
            for line in lines
        ]
        sentence = f"{sweep.x}={x}: {', '.join(parts)}."
        if len(lines) > 1:
            first, second = accuracy[lines[0], x], accuracy[lines[1], x]
            best, next_best = (_labelled(sweep, line) for line in lines[:2])
            if min(len(first), len(second)) < 2:
                sentence += " Without repeats (seed=0,1,2) there is no telling how sure that is."
            elif min(first) > max(second):
                sentence += f" Every repeat of {best} is above all of {next_best}"
                sentence += f"{_by_chance(len(first), len(second))}."
            else:
                sentence += f" Repeats of {best} and {next_best} overlap: no difference is shown."
        sentences.append(sentence)
    return sentences


def _by_chance(first: int, second: int) -> str:
    """How often two lines alike are so far apart, with these numbers of repeats."""
    orders = math.comb(first + second, first)  # two of them have all of one line on top
    return f", as in 1 of {round(orders / 2)} cases where two are alike"


def _labelled(sweep: Sweep, line: str) -> str:
    """A value that is unclear alone, with its key."""
    speaks = line[:1].isalpha() and line.lower() not in ("true", "false", "null")
    return line if speaks else f"{sweep.lines.rpartition('.')[2]}={line}"


def _range(repeats: Sequence[float]) -> str:
    return f"{min(repeats):.1%} to {max(repeats):.1%}, " if len(repeats) > 1 else ""


def _figure(sweep: Sweep, metric: str, values: Cells) -> Figure:
    """Draw a line for each value of `lines`: the mean of the repeats, a bar over all of them."""
    every = [value for repeats in values.values() for value in repeats]
    in_seconds, name = metric == "train_seconds", NAMES.get(metric, metric)
    log = in_seconds and spread_out(every)
    places, x = _places(sweep.x, list(dict.fromkeys(x for _, x in values)))
    chart = Chart(name, x, Axis.over(name, every, log=log, percent=not in_seconds))
    for number, line in enumerate(dict.fromkeys(line for line, _ in values)):
        known = [(at, values[line, x]) for x, at in places.items() if (line, x) in values]
        colour = COLOURS[number % len(COLOURS)]
        draw_repeats(chart, known, _labelled(sweep, line), colour)
    return chart.figure()


def _places(key: str, ticks: Sequence[str]) -> tuple[dict[str, float], Axis]:
    """Return where each value of a key lies, and the axis: words stand beside each other."""
    if all(map(is_number, ticks)):
        numbers = {tick: float(tick) for tick in ticks}
        return numbers, Axis.over(key, numbers.values(), log=spread_out(list(numbers.values())))
    axis = _NamedAxis(key, -0.3, len(ticks) - 0.7, names=tuple(ticks))
    return {tick: float(place) for place, tick in enumerate(ticks)}, axis


@dataclass(frozen=True)
class _NamedAxis(Axis):
    """An axis of words, at 0, 1, 2 and so on."""

    names: tuple[str, ...] = ()

    def ticks(self) -> list[float]:
        return [float(place) for place in range(len(self.names))]

    def word(self, value: float) -> str:
        return self.names[round(value)]
