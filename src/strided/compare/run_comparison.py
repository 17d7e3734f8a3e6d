"""Compare finished runs: curves, metrics, and each pair on the images that both have seen."""

import html
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from strided.compare.disagreements import MOST, draw_disagreements
from strided.compare.files import PAGE, TABLE
from strided.compare.finished_run import FinishedRun, read_runs
from strided.compare.paired_runs import Pair, conclusion, pair_html, pair_runs
from strided.data.reading.files import as_text
from strided.evaluation.intervals import RESAMPLES
from strided.pages.page import page, picture
from strided.runs.csv_files import write_csv
from strided.runs.ending import from_here, say_ending
from strided.runs.folder import RunFolder
from strided.runs.results import Results
from strided.system.durable import write_text

log = logging.getLogger(__name__)

SHOWN = ("acc", "loss", "nll", "ece", "f1", "best_val/acc", "train_seconds", "parameters")
STYLE = """
body { max-width: 70rem; }
th { border-bottom: 1px solid; vertical-align: bottom; } th.number { text-align: right; }
.scroll td, .scroll th { white-space: nowrap; padding-right: 1.2rem; } .note { font-size: .9rem; }
code { overflow-wrap: anywhere; }
"""


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
    write_text(folder / PAGE, _render(runs, pairs, _figures(runs, pairs, folder)))
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


def _figures(runs: Sequence[FinishedRun], pairs: Sequence[Pair], folder: Path) -> list[Path]:
    figures = RunFolder(folder).figures
    figures.mkdir(exist_ok=True)
    drawn = [draw_curves(runs, figures)] if any(run.curves for run in runs) else []
    first = next((pair for pair in pairs if not pair.reason), None)
    sheet = draw_disagreements(first, figures) if first else None
    return drawn + ([sheet] if sheet else [])


def draw_curves(runs: Sequence[FinishedRun], folder: Path) -> Path:
    """Draw loss and accuracy over epochs into curves.png: a colour for each run."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("loss", "acc"), strict=True):
        for index, run in enumerate(runs):
            for split, style in (("train", "--"), ("val", "-")):
                if values := run.curves.get(f"{split}/{name}"):
                    axes.plot(run.curves["epoch"], values, style, marker=".", color=f"C{index}")
        axes.set(xlabel="epoch", ylabel={"loss": "loss", "acc": "accuracy"}[name])
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    lines = [Line2D([], [], color=f"C{i}") for i, run in enumerate(runs) if run.curves]
    lines += [Line2D([], [], color="grey", linestyle=style) for style in ("--", "-")]
    # matplotlib omits labels that begin with _, and reads text between two $ as mathematics
    names = [" " + run.label.replace("$", r"\$") for run in runs if run.curves]
    figure.legend(lines, [*names, "train", "val"], loc="outside lower center", ncols=4)
    figure.savefig(folder / "curves.png", dpi=120)
    return folder / "curves.png"


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


def _cell(value: Any) -> str:
    shown = "" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
    return f'<td class="number">{shown}</td>'


def _table(runs: Sequence[FinishedRun]) -> str:
    heads = "".join(f'<th class="number">{name}</th>' for name in ("95 % interval", *SHOWN[1:]))
    body = ""
    for run in runs:
        row = run.row()
        known = row["acc_low"] is not None
        interval = f"{row['acc_low']:.4f} to {row['acc_high']:.4f}" if known else ""
        body += (
            f"<tr><td>{html.escape(as_text(run.label))}</td><td>{html.escape(row['split'])}</td>"
            f'{_cell(row["acc"])}<td class="number">{interval}</td>'
            f"{''.join(_cell(row[name]) for name in SHOWN[1:])}</tr>"
        )
    return (
        '<div class="scroll"><table><tr><th>run</th><th>split</th><th class="number">acc</th>'
        f"{heads}</tr>{body}</table></div>"
    )


def _render(runs: Sequence[FinishedRun], pairs: Sequence[Pair], figures: Sequence[Path]) -> str:
    curves = "".join(picture(file) for file in figures if file.stem == "curves")
    sheet = "".join(picture(file) for file in figures if file.stem == "disagreements")
    paired = [pair for pair in pairs if not pair.reason]
    parts = ["<h2>Metrics</h2>", _table(runs), curves, "<h2>Pairs</h2>"]
    if len(paired) > 1:
        parts.append(
            f'<p class="note">{len(paired)} pairs are tested: Holm\'s correction keeps the chance '
            "of a false difference among them below 5 %, and the intervals are widened with it.</p>"
        )
    for pair in pairs:
        names = f"{pair.first.label} (first), {pair.second.label} (second)"
        parts.append(f"<h3>{html.escape(as_text(names))}</h3>")
        parts.append(f"<p>{html.escape(as_text(conclusion(pair)))}</p>{pair_html(pair)}")
        if paired and pair is paired[0]:
            parts.append(_disagreements_part(pair, sheet))
    parts.append(
        '<p class="note">Differences are paired: both runs on the same images. McNemar\'s test is '
        "exact; an interval of accuracy excludes 0 exactly where it shows a difference. Intervals "
        f"of the likelihood are of {RESAMPLES:,} bootstrap samples of the images. None knows of "
        "another seed: a difference between two trained networks is not yet one between their "
        "methods.</p><h2>Folders</h2><ul>"
    )
    parts += [
        f"<li>{html.escape(as_text(run.label))}: <code>{html.escape(str(run.folder))}</code></li>"
        for run in runs
    ]
    return page("Runs compared", "\n".join([*parts, "</ul>"]), STYLE)


def _disagreements_part(pair: Pair, sheet: str) -> str:
    places = pair.disagreements()
    if not places:
        return "<p>They predict the same class for every image.</p>"
    paths = pair.predictions[0].paths
    listed = "".join(f"<li>{html.escape(as_text(paths[at]))}</li>" for at in places[:MOST])
    return (
        f"<p>{len(places)} images are predicted differently (disagreements.csv has all); the "
        f"{min(MOST, len(places))} that both are surest of:</p>{sheet or f'<ul>{listed}</ul>'}"
    )
