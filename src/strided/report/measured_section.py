"""The part of a report on its test, or without one on its validation."""

import html
from collections.abc import Mapping, Sequence

from strided.evaluation.metrics import class_table
from strided.pages.figure import Figure
from strided.pages.glossary import term
from strided.pages.page import folded, heading, table
from strided.report.contents import Contents
from strided.report.decisions import calibration_section, gate_section, sets_section
from strided.report.errors import kind_of
from strided.report.headline import flatters
from strided.report.matrix import MOST_CLASSES, matrix
from strided.report.outcome import most_confused
from strided.report.ranking import against_the_rest
from strided.report.triage import triage_section
from strided.runs.results import Measured, Results, by_name, measured

Charts = Mapping[str, Sequence[Figure]]


def measured_section(results: Results, contents: Contents) -> str:
    """Which classes are confused, and the metrics of all; nothing if not measured."""
    found = measured(results)
    if found is None:
        return ""
    parts = [heading("Test")]
    if found.split == "val":
        parts = [heading("Validation"), f"<p>{html.escape(flatters(results))}</p>"]
    parts += [_confusion(results, found, contents), _overall(results, found.split)]
    return "\n".join(filter(None, parts))


def classes_section(results: Results, charts: Charts) -> str:
    """Each class against the rest; nothing if not measured."""
    found = measured(results)
    if found is None:
        return ""
    rest = against_the_rest(results, found, charts.get("ranking", ()))
    shown = _classes(results, found)
    return f"{heading('Each class')}{rest}{shown}" if rest or shown else ""


def probabilities_section(results: Results, charts: Charts) -> str:
    """What the probabilities are worth, and what is decided by them; nothing if unknown."""
    drawn = "".join(
        chart.html() for name in ("reliability", "risk_coverage") for chart in charts.get(name, ())
    )
    parts = [f'<div class="figures">{drawn}</div>' if drawn else ""]
    sections = (calibration_section, sets_section, triage_section, gate_section)
    parts += [part(results) for part in sections]
    told = "\n".join(filter(None, parts))
    return f"{heading('What its probabilities are worth')}{told}" if told else ""


def _confusion(results: Results, found: Measured, contents: Contents) -> str:
    """The matrix of few classes, and the most frequent errors."""
    classes, parts = results["classes"], []
    if found.confusion and len(classes) <= MOST_CLASSES:
        kinds = {kind_of(error, classes) for error in contents.kinds}
        parts.append(matrix(found.confusion, classes, kinds))
    if confused := most_confused(found.confusion, classes):
        heads = ["true", "named", "images", "share"]
        cells = [(*row[:3], f"{row[3]:.1%}") for row in confused]
        listed = table(heads, cells, "most frequent errors")
        parts += [f"<div><h3>Most frequent errors</h3>{listed}</div>"]
    return f'<div class="beside">{"".join(parts)}</div>' if parts else ""


def metrics_of(results: Results) -> list[str]:
    """The names of all metrics that the page shows, for its glossary."""
    found = measured(results)
    return [name for name, _ in _pairs(results, found.split)] if found else []


def _pairs(results: Results, split: str) -> list[tuple[str, float | None]]:
    """The metrics of a split that do not belong to single classes."""
    return [
        (key.removeprefix(f"{split}/"), value)
        for key, value in by_name(results).items()
        if key.startswith(f"{split}/") and key.count("/") == 1 and "ci95" not in key
    ]


def _overall(results: Results, split: str) -> str:
    shown = "".join(
        f"<div><dt>{term(name)}</dt><dd>{'-' if value is None else f'{value:.4f}'}</dd></div>"
        for name, value in _pairs(results, split)
    )
    return f'<h3>Metrics</h3><dl class="metrics">{shown}</dl>'


def _classes(results: Results, found: Measured) -> str:
    columns, rows = class_table(results, found.split, found.confusion)
    if not rows:
        return ""
    shown = table([term(name) for name in columns], rows, "metrics of each class")
    return folded("More metrics, without intervals", shown)
