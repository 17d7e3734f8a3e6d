"""ROC and precision-recall curves: what each threshold of a class's probability would give."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from strided.data.reading.files import as_text
from strided.evaluation.ranking import Curve
from strided.pages.axis import Axis
from strided.pages.chart import COLOURS, Chart
from strided.pages.figure import Figure
from strided.pages.page import folded
from strided.report.card_figures import MOST_CLASSES, by_class, operating_point
from strided.report.card_parts import Table, html_of
from strided.runs.predictions_csv import Row
from strided.runs.results import Measured, Results, by_name

_ALL = 10  # classes that are all drawn; of more, the mean and the _WORST
_WORST = 3
_MOST = 200  # classes to take the mean of
_GRID = np.linspace(0, 1, 201)  # where curves are drawn


class RankingCurves(NamedTuple):
    """Recall and precision at steps of the fall-out, and of the recall, of one class or a mean."""

    name: str
    roc: np.ndarray
    precision: np.ndarray


def curves_of(rows: Iterable[Row], classes: Sequence[str]) -> list[RankingCurves]:
    """The curves to draw; none of a class without images, or of one class alone."""
    known = [row for row in rows if row.probabilities is not None]
    probabilities = np.array([row.probabilities for row in known])
    labels = np.array([row.label for row in known])
    found: list[tuple[float, RankingCurves]] = []
    for k, name in enumerate(classes[:_MOST]):
        ours = labels == name
        if 0 < ours.sum() < len(ours):
            curve = Curve.of(probabilities[:, k], ours)
            found.append((curve.auroc(), _drawn(as_text(name), curve)))
    if len(found) <= _ALL:
        return [drawn for _, drawn in found]
    mean = RankingCurves(
        f"mean of {len(found)} classes",
        np.mean([drawn.roc for _, drawn in found], axis=0),
        np.mean([drawn.precision for _, drawn in found], axis=0),
    )
    return [mean, *(drawn for _, drawn in sorted(found, key=lambda pair: pair[0])[:_WORST])]


def _drawn(name: str, curve: Curve) -> RankingCurves:
    """A class's curve at the steps: the recall of the last threshold with at most that fall-out."""
    last = np.searchsorted(curve.fall_out, _GRID, side="right") - 1
    roc = np.where(last < 0, 0.0, curve.recall[last])
    first = np.searchsorted(curve.recall, _GRID, side="left")
    # of the first threshold that reaches a recall, as the average precision takes it
    return RankingCurves(name, roc, curve.precision[first])


def chart_ranking(curves: Sequence[RankingCurves]) -> list[Figure]:
    """The ROC curve and the precision-recall curve of each class."""
    roc = Chart(
        "ROC",
        Axis("others taken for the class (1 - specificity)", 0, 1, percent=True),
        Axis("sensitivity", 0, 1.01, percent=True),
    )
    precision = Chart(
        "precision and recall",
        Axis("sensitivity (recall)", 0, 1, percent=True),
        Axis("right among those named", 0, 1.01, percent=True),
    )
    roc.line([(0, 0), (1, 1)], "guessing", "quiet", dashed=True, width=1)
    for drawn, colour in zip(curves, COLOURS, strict=False):
        for chart, values, after in ((roc, drawn.roc, False), (precision, drawn.precision, True)):
            points = list(zip(_GRID.tolist(), values.tolist(), strict=True))
            chart.steps(points, drawn.name, colour, after=after)
    return [roc.figure(), precision.figure()]


def against_the_rest(results: Results, found: Measured, charts: Sequence[Figure]) -> str:
    """The section of each class as one among others: curves, and figures with intervals."""
    classes = list(results["classes"])
    if not by_name(results).get(f"{found.split}/recall_ci95"):
        return ""  # of an earlier version, or of one image
    shown = html_of(Table(*by_class(results, found, classes)))
    groups = results.get("groups")
    over = "images" if groups is None else f"whole groups ({groups:,})"
    points: list[str] = []
    if results.get("operating_point"):
        points = [html_of(part) for part in operating_point(results, found.split, classes)]
    drawn = "".join(chart.html() for chart in charts)
    return "\n".join(
        [
            f'<div class="figures">{drawn}</div>' if drawn else "",
            folded(f"With 95 % intervals, over {over}", shown, len(classes) <= MOST_CLASSES),
            *points,
        ]
    )
