"""ROC and precision-recall curves: what each threshold of a class's probability would give."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from strided.data.reading.files import as_text
from strided.evaluation.ranking import Curve
from strided.pages.page import picture
from strided.report.card_figures import MOST_CLASSES, by_class, operating_point
from strided.report.card_parts import Table, html_of
from strided.runs.predictions_csv import Row
from strided.runs.results import Measured, Results, by_name

_ALL = 10  # classes that are all drawn; of more, the mean and the _WORST
_WORST = 3
_MOST = 200  # classes to take the mean of
_GRID = np.linspace(0, 1, 201)  # where curves are drawn
_LONGEST = 20  # letters of a class in the legend


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


def draw_ranking(curves: Sequence[RankingCurves], folder: Path) -> Path:
    """Draw the ROC curve and the precision-recall curve of each class side by side."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(9.6, 4.2))
    left, right = figure.subplots(1, 2)
    # by hand: a constrained layout would draw all of it twice
    figure.subplots_adjust(left=0.08, right=0.98, bottom=0.13, top=0.92, wspace=0.25)
    for place, drawn in enumerate(curves):
        name = drawn.name if len(drawn.name) <= _LONGEST else f"{drawn.name[: _LONGEST - 3]}..."
        style: Mapping[str, Any] = {"color": f"C{place}", "lw": 1.4, "label": name}
        left.step(_GRID, drawn.roc, where="post", **style)
        right.step(_GRID, drawn.precision, where="pre", **style)
    left.plot([0, 1], [0, 1], color="0.5", ls="--", lw=1)
    left.set(xlabel="others taken for the class (1 - specificity)", ylabel="sensitivity")
    right.set(xlabel="sensitivity (recall)", ylabel="right among those named (precision, PPV)")
    for axes, title in ((left, "ROC"), (right, "precision and recall")):
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), title=title)
        axes.grid(alpha=0.3)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1))
    for text in right.legend(loc="lower left", fontsize=8).get_texts():
        text.set_parse_math(False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # in a script that the font lacks
        figure.savefig(folder / "ranking.png", dpi=120)
    return folder / "ranking.png"


def against_the_rest(results: Results, found: Measured, drawn: Path | None) -> str:
    """The section of each class as one among others: curves, and figures with intervals."""
    classes = list(results["classes"])
    if not by_name(results).get(f"{found.split}/recall_ci95"):
        return ""  # of an earlier version, or of one image
    shown = html_of(Table(*by_class(results, found, classes)))
    few = " open" if len(classes) <= MOST_CLASSES else ""
    groups = results.get("groups")
    over = "images" if groups is None else f"whole groups ({groups:,})"
    points: list[str] = []
    if results.get("operating_point"):
        points = [html_of(part) for part in operating_point(results, found.split, classes)]
    return "\n".join(
        [
            "<h3>Each class against the rest</h3>",
            picture(drawn) if drawn else "",
            f"<details{few}><summary>With 95 % intervals, over {over}</summary>{shown}</details>",
            *points,
        ]
    )
