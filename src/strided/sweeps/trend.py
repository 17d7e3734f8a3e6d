"""The figure of a sweep: a metric over one key's values, a line for each value of another key."""

import math
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from statistics import fmean

from strided.pages.page import bullets, picture
from strided.runs.folder import RunFolder
from strided.runs.results import by_name
from strided.sweeps.axes import Sweep
from strided.sweeps.error_bars import draw_means
from strided.sweeps.folder import SweepFolder
from strided.sweeps.summary import Job, measured

Cells = dict[tuple[str, str], list[float]]  # by line and x: a value for each finished repeat


def section(folder: Path, sweep: Sweep, jobs: Sequence[Job]) -> str:
    """Draw figures/trend.png of the finished jobs; return it with its reading, as HTML.

    It is "" for a sweep without a figure.
    """
    if not sweep.drawn:
        return ""
    done = [job for job in jobs if job.state == "finished"]
    metric = measured(done)[0]
    accuracy, seconds = cells(sweep, done, metric), cells(sweep, done, "train_seconds")
    if not accuracy:
        return ""
    figures = SweepFolder(folder).figures
    figures.mkdir(exist_ok=True)
    file = figures / "trend.png"
    _draw(file, sweep, [(metric, accuracy), ("train_seconds", seconds)])
    return f"{picture(file)}{bullets(reading(sweep, accuracy, seconds))}"


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


def _draw(file: Path, sweep: Sweep, panels: Sequence[tuple[str, Cells]]) -> None:
    """Draw a panel for each metric: the mean of the repeats, with bars from lowest to highest."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    ticks = list(dict.fromkeys(x for _, x in panels[0][1]))
    for axes, (metric, values) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for name in dict.fromkeys(line for line, _ in values):
            xs = [x for x in ticks if values.get((name, x))]
            places = [ticks.index(x) for x in xs]
            draw_means(axes, places, [values[name, x] for x in xs], name)
        axes.set_xticks(range(len(ticks)), ticks)
        axes.set(xlabel=sweep.x, ylabel=metric)
        axes.grid(alpha=0.3)
        if metric == "train_seconds":
            axes.set_yscale("log")
    axes.legend(title=sweep.lines)
    figure.savefig(file, dpi=120)
