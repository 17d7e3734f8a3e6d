"""Compare finished runs: curves, metrics, and each pair on the images that both have seen."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from strided.compare.disagreements import disagreements
from strided.compare.files import PAGE, TABLE
from strided.compare.finished_run import read_runs
from strided.compare.paired_runs import Pair, conclusion, pair_runs
from strided.compare.run_page import render
from strided.evaluation.intervals import RESAMPLES
from strided.runs.csv_files import write_csv
from strided.runs.ending import from_here, say_ending
from strided.runs.folder import RunFolder
from strided.runs.results import Results
from strided.system.durable import write_text

log = logging.getLogger(__name__)


def compare_runs(folders: list[Path], folder: Path, results: Results) -> None:
    """Write compare.csv, pairs.csv, disagreements.csv, compare.html and figures/.

    Rows go into `results` too. Raises UserError for a folder without a finished run.
    """
    runs = read_runs(folders)
    pairs = pair_runs(runs)
    rows = [run.row() for run in runs]
    found = [pair.found for pair in pairs if not pair.reason]
    results.update(
        {
            "runs": rows,
            "pairs": [
                {**pair.found, "classes": pair.classes, "reading": conclusion(pair)}
                if pair.found
                else {"first": pair.first.label, "second": pair.second.label, "reason": pair.reason}
                for pair in pairs
            ],
            "resamples": RESAMPLES,
        }
    )
    _write_rows(folder / TABLE, rows)
    _write_rows(folder / "pairs.csv", found)
    _write_rows(folder / "disagreements.csv", _disagreements(pairs))
    figures = RunFolder(folder).figures
    figures.mkdir(exist_ok=True)
    first = next((pair for pair in pairs if not pair.reason), None)
    shown = disagreements(first, figures) if first else []
    write_text(folder / PAGE, render(runs, pairs, shown, figures))
    for run in runs:
        log.info("%s: %s", run.label, _accuracy(run.row()))
    measured = [run for run in runs if run.row()["acc"] is not None]
    if unknown := [run.label for run in measured if run.shared is None]:
        log.info(
            "overlap with the images of training cannot be checked for %s: they were measured "
            "without it (eval measures a run again)",
            ", ".join(unknown),
        )
    for pair in pairs:
        log.info("%s", conclusion(pair))
    best = max(runs, key=lambda run: run.row()["acc"] or 0)
    then = ["predict", f"checkpoint={from_here(best.checkpoint)}", "input=photos/"]
    say_ending("", report=folder / PAGE, then=then)


def _disagreements(pairs: Iterable[Pair]) -> list[dict[str, Any]]:
    rows = []
    for pair in pairs:
        if pair.reason:
            continue
        one, other = pair.predictions
        rows += [
            {
                "first": pair.first.label,
                "second": pair.second.label,
                "path": one.paths[at],
                "label": one.labels[at],
                "first_predicted": one.predicted[at],
                "first_probability": f"{one.probabilities[at].max():.6f}",
                "second_predicted": other.predicted[at],
                "second_probability": f"{other.probabilities[at].max():.6f}",
            }
            for at in pair.disagreements()
        ]
    return rows


def _write_rows(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of the same columns; writes nothing without rows."""
    if rows:
        write_csv(file, list(rows[0]), rows)


def _accuracy(row: Mapping[str, Any]) -> str:
    if row["acc"] is None:
        return "nothing tested"
    known = row["acc_low"] is not None
    interval = f" (95 % interval {row['acc_low']:.4f} to {row['acc_high']:.4f})" if known else ""
    return f"{row['split']} accuracy {row['acc']:.4f}{interval}, {row['images']} images" + (
        f", {row['seen_in_training']} of them seen in training" if row["seen_in_training"] else ""
    )
