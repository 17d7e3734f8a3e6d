"""The result of a test: which classes are confused, and if probabilities can be trusted."""

from collections.abc import Mapping, Sequence
from typing import Any

from strided.data.reading.files import as_text
from strided.decision.calibration import BINS
from strided.evaluation.intervals import wilson_interval
from strided.pages.axis import Axis
from strided.pages.chart import Chart
from strided.pages.figure import Figure

_FEW = 5  # images of a bin; with fewer, its accuracy is drawn pale


def count_errors(confusion: Sequence[Sequence[int]]) -> int:
    """The images that are not on the diagonal."""
    return sum(sum(row) - row[k] for k, row in enumerate(confusion))


def worst_class(confusion: Sequence[Sequence[int]]) -> int | None:
    """The class that is found least often, if any is missed; the first of several."""
    known = [(row[k] / sum(row), k) for k, row in enumerate(confusion) if sum(row)]
    share, worst = min(known, default=(1.0, 0))
    return worst if share < 1 else None


def most_confused(
    confusion: Sequence[Sequence[int]], classes: Sequence[str], most: int = 10
) -> list[tuple[str, str, int, float]]:
    """(true, predicted, images, their share of the true class) of the most frequent errors."""
    pairs = [
        (count, count / total, y, x)
        for y, row in enumerate(confusion)
        if (total := sum(row))
        for x, count in enumerate(row)
        if x != y and count
    ]
    worst = sorted(pairs, key=lambda pair: (-pair[0], -pair[1]))[:most]
    return [(as_text(classes[y]), as_text(classes[x]), count, of) for count, of, y, x in worst]


def chart_reliability(bins: Mapping[str, Sequence[Mapping[str, Any]]], ece: float) -> Figure:
    """Accuracy over confidence in bins of equal width, with 95 % intervals, and their sizes.

    `bins` are those "after" calibration and, paler, "before" it if there is one. A calibrated
    network lies on the diagonal (Guo et al. 2017, "On calibration of modern neural networks",
    section 2).
    """
    chart = Chart(
        f"reliability, ECE {ece:.3f}",
        Axis("confidence", 0, 1, percent=True),
        Axis("accuracy", 0, 1.02, percent=True),
    )
    images, width = sum(row["count"] for row in bins["after"]), 1 / BINS
    for row in bins["after"]:
        ends, title = (row["left"] + 0.05 * width, row["left"] + 0.95 * width), _of_bin(row)
        chart.bar(*ends, row["count"] / images, "c8", title, opacity=0.35)
    chart.line([(0, 0), (1, 1)], "calibrated", "quiet", dashed=True, width=1)
    if before := bins.get("before"):
        points = [(row["confidence"], row["accuracy"]) for row in before]
        chart.line(points, "before calibration", "c1", dashed=True, dots=True)
    for row in bins["after"]:
        faint = 1 if row["count"] >= _FEW else 0.4
        low, high = wilson_interval(row["accuracy"], row["count"])
        chart.interval(row["confidence"], max(0.0, low), min(1.0, high), "c0", opacity=faint)
        title = _of_bin(row)
        chart.dot(row["confidence"], row["accuracy"], "c0", title, radius=4, opacity=faint)
    chart.name("as given, 95 % interval", "c0")
    chart.name("share of the images", "c8", sign="box")
    return chart.figure()


def _of_bin(row: Mapping[str, Any]) -> str:
    return (
        f"{row['count']:,} images, confidence {row['confidence']:.1%} on average: "
        f"{row['accuracy']:.1%} right"
    )
