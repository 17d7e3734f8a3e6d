"""report.html: a run in one file that opens without a network, and its figures as PNG."""

import html
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from strided.config.keys import Config
from strided.pages.figure import Figure
from strided.pages.glossary import glossary
from strided.pages.page import folded, heading, lines_of_code, page
from strided.pages.png import write_row
from strided.report import errors, matrix
from strided.report.advice import is_augmented
from strided.report.card import card_section
from strided.report.contents import Contents
from strided.report.curves import TITLES, Aim, chart_curves, chart_rates
from strided.report.data_section import data_section
from strided.report.errors import errors_section, hits_section
from strided.report.gallery import draw_examples, draw_samples
from strided.report.headline import diagnosis_section, first_figures
from strided.report.key_figures import key_figures
from strided.report.matrix import MOST_CLASSES, chart_confusion
from strided.report.measured_section import (
    Charts,
    classes_section,
    measured_section,
    metrics_of,
    probabilities_section,
)
from strided.report.outcome import chart_reliability
from strided.report.ranking import chart_ranking
from strided.report.shortcuts import section
from strided.report.triage import chart_risk
from strided.runs.ending import repeated
from strided.runs.folder import RunFolder
from strided.runs.metrics_csv import read_metrics
from strided.runs.results import Git, Results, by_name, measured
from strided.system.durable import write_text

NOT_FACTS = (
    *("confusion", "val_confusion", "lr_finder", "diagnosis", "data_card", "shortcuts"),
    *("calibration", "sets", "gate", "selective", "triage"),
)
STYLE = f"""{matrix.STYLE}{errors.STYLE}
.metrics {{ display: grid; gap: 0 2rem; max-width: none;
  grid-template-columns: repeat(auto-fill, minmax(min(12rem, 100%), 1fr)); }}
.metrics div {{ display: flex; justify-content: space-between; padding: .15rem 0;
  border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums; }}
.metrics dt {{ margin: 0; font-weight: 400; }}
.beside {{ display: flex; flex-wrap: wrap; gap: 0 2.5rem; align-items: start; }}
.halves {{ display: grid; gap: 0 2rem;
  grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); }}
.beside > * {{ min-width: 0; }} .beside h3, .halves h3 {{ margin-top: .2rem; }}
"""


def write_report(
    folder: Path, config: Config, results: Results, contents: Contents | None = None
) -> None:
    """Write figures/*.png and report.html from metrics.csv, results and contents."""
    contents = contents or Contents()
    figures = RunFolder(folder).figures
    figures.mkdir(exist_ok=True)
    for old in figures.glob("*.png"):  # of an earlier session
        old.unlink()
    charts = _charts(folder, results, contents)
    draw_figures(charts, contents, figures)
    write_text(RunFolder(folder).report, render(config, results, contents, charts))


def draw_figures(charts: Charts, contents: Contents, folder: Path) -> None:
    """Write the charts and the pictures as PNG."""
    for name, figures in charts.items():
        write_row(figures, folder / f"{name}.png")
    for name, examples in (("misclassified", contents.errors), ("least_certain", contents.hits)):
        if examples:
            draw_examples(examples, folder / f"{name}.png")
    if contents.samples:
        draw_samples(contents.samples, folder / "samples.png")


def _charts(folder: Path, results: Results, contents: Contents) -> dict[str, list[Figure]]:
    """The charts of a run, by the name of their file; those in a list stand side by side."""
    metrics = RunFolder(folder).metrics
    curves = read_metrics(metrics) if metrics.is_file() else {}
    charts: dict[str, list[Figure]] = {}
    if curves:
        stages, best = results.get("stages", []), results.get("best_epoch")
        drawn = chart_curves(curves, stages, best, _aim(results))
        charts.update({name: [chart] for name, chart in drawn.items()})
    if "lr_finder" in results:
        charts["learning_rates"] = [chart_rates(results["lr_finder"])]
    found = measured(results)
    if found is None:
        return charts
    classes = results["classes"]
    if found.confusion and len(classes) <= MOST_CLASSES:
        charts["confusion"] = [chart_confusion(found.confusion, classes)]
    if contents.reliability:
        ece = by_name(results)[f"{found.split}/ece"]
        charts["reliability"] = [chart_reliability(contents.reliability, ece)]
    if "selective" in results:
        charts["risk_coverage"] = [chart_risk(results["selective"])]
    if contents.curves:
        charts["ranking"] = chart_ranking(contents.curves)
    return charts


def _aim(results: Results) -> Aim | None:
    if "target" not in results:
        return None
    seconds, epochs = results["seconds_to_target"], results["epochs_to_target"]
    return Aim(**results["target"], seconds=seconds, epochs=epochs)


def render(config: Config, results: Results, contents: Contents, charts: Charts) -> str:
    """Return the page."""
    sections = [
        first_figures(results, contents.diagnosis),
        _curves(config, results, charts),
        diagnosis_section(contents.diagnosis),
        measured_section(results, contents),
        errors_section(results, contents),
        hits_section(contents),
        classes_section(results, charts),
        probabilities_section(results, charts),
        section(results.get("shortcuts")),
        data_section(contents),
        f"{heading('The run')}{key_figures(results)}",
        _repeat(config, results),
        card_section(config, results),
        glossary(metrics_of(results)),
    ]
    return page(str(config["name"]), "\n".join(filter(None, sections)), STYLE, errors.SCRIPT)


def _curves(config: Config, results: Results, charts: Charts) -> str:
    names = (*TITLES.values(), "learning_rates")
    drawn = [chart.html() for name in names for chart in charts.get(name, ())]
    if not drawn:
        return ""
    images = "of augmented images and " if is_augmented(config, results.get("stages", [])) else ""
    note = (
        f"Training values are means over an epoch, {images}while the weights changed. Validation "
        "values were measured at its end."
    )
    figures = f'<div class="figures">{"".join(drawn)}</div>'
    return f'{heading("Curves")}{figures}<p class="note">{note}</p>'


def _repeat(config: Config, results: Results) -> str:
    git: Git = results.get("git") or {}
    commit = git.get("commit")
    words = f"On commit <code>{html.escape(commit)}</code>" if commit else ""
    words += " with changes that are not committed" if git.get("dirty") else ""
    if resumed := [word for changes in results.get("resumed_with", []) for word in changes]:
        words += f", continued with <code>{html.escape(shlex.join(resumed))}</code>"
    facts = {k: v for k, v in results.items() if "/" not in k and k not in NOT_FACTS}
    return "\n".join(
        [
            heading("To repeat it"),
            f"<p>{words}</p>" if words else "",
            lines_of_code(repeated("train", results)),
            folded("Facts: versions, hardware, fingerprints", lines_of_code(_yaml(facts))),
            folded("Config", lines_of_code(_yaml(config))),
        ]
    )


def _yaml(values: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)
