"""The result of a test: confusion of classes, and if probabilities can be trusted."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from strided.data.reading.files import as_text
from strided.decision.calibration import BINS
from strided.evaluation.intervals import wilson_interval

MOST_CLASSES = 30  # the most that a confusion matrix can show
_LONGEST = 30  # letters of a class beside the matrix
_FEW = 5  # images of a bin; with fewer, its accuracy is drawn pale


def draw_confusion(confusion: list[list[int]], classes: list[str], folder: Path) -> Path:
    """Draw the confusion matrix: rows true, columns predicted, colours by share of the row."""
    from matplotlib.figure import Figure

    size = max(3.6, 0.55 * len(classes) + 1.5)
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.subplots()
    shares = [[n / max(1, sum(row)) for n in row] for row in confusion]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(classes))
    # a class has the name of its folder, which may hold a $ or bytes that are no text
    shown = [_short(as_text(name)) for name in classes]
    axes.set_xticks(ticks, shown, parse_math=False)
    axes.set_yticks(ticks, shown, parse_math=False)
    if max(map(len, classes)) > 2:
        axes.tick_params("x", rotation=60)
    axes.set(xlabel="predicted", ylabel="true")
    for y, row in enumerate(confusion):
        for x, count in enumerate(row):
            colour = "white" if shares[y][x] > 0.5 else "black"
            axes.text(x, y, str(count), ha="center", va="center", color=colour, fontsize=8)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # in a script that the font lacks
        figure.savefig(folder / "confusion.png", dpi=150)
    return folder / "confusion.png"


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}..."


def most_confused(
    confusion: list[list[int]], classes: list[str], most: int = 10
) -> list[tuple[str, str, int, float]]:
    """(true, predicted, images, their share of the true class) of the most frequent errors."""
    pairs = [
        (as_text(classes[y]), as_text(classes[x]), count, count / sum(row))
        for y, row in enumerate(confusion)
        for x, count in enumerate(row)
        if x != y and count
    ]
    return sorted(pairs, key=lambda pair: (-pair[2], -pair[3]))[:most]


def draw_reliability(
    bins: Mapping[str, Sequence[Mapping[str, Any]]], ece: float, folder: Path
) -> Path:
    """Draw accuracy over confidence in bins of equal width, with 95 % intervals, and their sizes.

    `bins` are those "after" calibration and, paler, "before" it if there is one. A calibrated
    network lies on the diagonal (Guo et al. 2017, "On calibration of modern neural networks",
    section 2).
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(4.8, 4.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    upper.plot([0, 1], [0, 1], color="0.5", ls="--", lw=1, label="calibrated")
    if before := bins.get("before"):
        points = [(row["confidence"], row["accuracy"]) for row in before]
        upper.plot(*zip(*points, strict=True), "o-", color="0.7", mfc="white", label="before")
    width = 1 / BINS
    for row in bins["after"]:
        low, high = wilson_interval(row["accuracy"], row["count"])
        bar = ([max(0, row["accuracy"] - low)], [max(0, high - row["accuracy"])])  # rounding
        upper.errorbar(
            row["confidence"],
            row["accuracy"],
            bar,
            marker="o",
            capsize=3,
            color="C0",
            alpha=1 if row["count"] >= _FEW else 0.35,
        )
        lower.bar(row["left"] + width / 2, row["count"], width=0.9 * width, color="C0")
        lower.annotate(
            f"{row['count']:,}",
            (row["left"] + width / 2, row["count"]),
            ha="center",
            va="bottom",
            fontsize=5,
        )
    upper.set(ylabel="accuracy", ylim=(-0.02, 1.02), title=f"reliability, ECE {ece:.3f}")
    lower.set(xlabel="confidence", ylabel="images", xlim=(0, 1))
    lower.margins(y=0.2)
    for axis in (upper.yaxis, lower.xaxis):
        axis.set_major_formatter(PercentFormatter(1))
    upper.grid(alpha=0.3)
    upper.legend()
    figure.savefig(folder / "reliability.png", dpi=150)
    return folder / "reliability.png"
