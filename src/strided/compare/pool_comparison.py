"""The page and the tables of runs whose folds were put together."""

import html
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from strided.compare.files import CARD, LABEL_SUSPECTS, POOL_PAGE, POOL_TABLE, SUBGROUPS
from strided.compare.pool_card import write_pool_cards
from strided.compare.pooled_figures import Pooled, measure
from strided.compare.pooled_shortcuts import write_label_suspects
from strided.compare.pooling import Pool, read_pools
from strided.data.reading.files import as_text
from strided.evaluation.subgroups import OF_SUBGROUPS, SMALL
from strided.pages.page import Cell, bullets, heading, page, table
from strided.report.shortcuts import section, warning
from strided.runs.csv_files import write_csv
from strided.runs.ending import say_ending
from strided.runs.results import Results
from strided.system.durable import write_text

log = logging.getLogger(__name__)

Prevalence = float | Mapping[str, float] | None

_COLUMNS = ("pool", "metric", "class", "value", "low", "high", "images", "groups")
_MOST_COLUMNS = 5  # classes side by side
# what a row of several pools shows
_SHOWN = ("acc", "balanced_acc", "f1", "auroc", "auprc", "nll", "ece", "ece_floor")
_STYLE = "td, th { white-space: nowrap; }"


def compare_pools(
    folders: Sequence[Path], prevalence: Prevalence, folder: Path, results: Results
) -> None:
    """Write the page, the tables and the errors to label again; rows go into `results` too.

    Raises UserError for runs that are not all folds of one partition.
    """
    pools = [measure(pool, prevalence) for pool in read_pools(folders)]
    facts = [{**pooled.facts(), "shortcuts": pooled.pool.shortcuts} for pooled in pools]
    results["pools"] = facts
    write_pools(folder / POOL_TABLE, pools)
    rows = [{"pool": own.pool.label, **row} for own in pools for row in own.subgroups]
    if rows:
        write_csv(folder / SUBGROUPS, list(rows[0]), rows)
    write_errors(folder / LABEL_SUSPECTS, pools)
    write_text(folder / POOL_PAGE, render(pools, prevalence))
    write_pool_cards(folder / CARD, pools)
    for pooled in pools:
        log.info("%s", headline(pooled))
        for sentence in warnings(pooled):
            log.warning("shortcut: %s", sentence)
    say_ending("", report=folder / POOL_PAGE)


def write_pools(file: Path, pools: Sequence[Pooled]) -> None:
    """Write pool.csv: a row for each metric, and each class, of each pool."""
    write_csv(file, _COLUMNS, (row for pooled in pools for row in pooled.rows()))


def write_errors(file: Path, pools: Sequence[Pooled]) -> None:
    """Write label_suspects.csv of all pools; no run had seen the image of its error."""
    write_label_suspects(file, {own.pool.label: own.pool.predictions for own in pools})


def headline(pooled: Pooled) -> str:
    """Accuracy with its interval, and what it was measured on."""
    label = "" if pooled.pool.label == "all" else f"{pooled.pool.label}: "
    acc = pooled.figures["acc"]
    interval = "(no interval: they are one group)"
    if acc["low"] is not None:
        interval = f"(95 % interval {acc['low']:.4f} to {acc['high']:.4f})"
    groups = pooled.pool.num_groups
    of_groups = "" if groups is None else f" of {groups:,} groups"
    seen = f"; {pooled.seen} of them were seen in training" if pooled.seen else ""
    return (
        f"{label}accuracy {acc['value']:.4f} {interval} "
        f"on {pooled.images:,} images{of_groups}, each tested once by one of "
        f"{len(pooled.pool.runs)} runs{seen}"
    )


def warnings(pooled: Pooled) -> list[str]:
    """What the shortcut checks of all folds, added up, warn of."""
    found = pooled.pool.shortcuts
    return [] if found is None else list(found["verdict"]["warnings"])


def headline_paragraph(pooled: Pooled) -> str:
    """The headline, with what the shortcut checks warn of, as HTML."""
    told = html.escape(as_text(f"{headline(pooled)}.{warning(pooled.pool.shortcuts)}"))
    return f'<p class="headline">{told[0].upper()}{told[1:]}</p>'


def _figure(figure: Mapping[str, float | None]) -> str:
    """A value with its interval as text; a dash for one that is not defined."""
    value, low, high = (figure[key] for key in ("value", "low", "high"))
    if value is None:
        return "-"
    if low is None or high is None:
        return f"{value:.3f}"
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def table_of_pools(pools: Sequence[Pooled]) -> str:
    """Return a row for each pool as HTML."""
    rows: list[list[Cell]] = [
        [
            as_text(own.pool.label),
            own.images,
            own.pool.num_groups,
            *(_figure(own.figures[name]) for name in _SHOWN),
        ]
        for own in pools
    ]
    return table(["runs", "images", "groups", *_SHOWN], rows)


def render(pools: Sequence[Pooled], prevalence: Prevalence) -> str:
    """Return pool.html."""
    parts = []
    if len(pools) > 1:
        parts += [heading("All"), table_of_pools(pools)]
    for pooled in pools:
        if len(pools) > 1:
            parts.append(heading(as_text(pooled.pool.label)))
        parts.append(_pool(pooled, prevalence))
    return page("Folds put together", "\n".join([*parts, bullets(notes(pools))]), _STYLE)


def notes(pools: Sequence[Pooled]) -> list[str]:
    """What a reader has to know of the intervals."""
    found = [
        "In parentheses: 95 % intervals, for these runs on other images of this kind. They know of "
        "no other partition, seed or hospital.",
    ]
    if any(pooled.pool.num_groups is None for pooled in pools):
        found.append(
            "No groups (patients) are known: the data have none, or the runs are older than their "
            "record in predictions.csv. Each image then counts as independent of the others, and "
            "intervals are too narrow where several images are of one patient."
        )
    if any(pooled.pool.num_groups is not None for pooled in pools):
        found.append(
            "Where groups are known, these count as independent of each other, not their images."
        )
    found.append(
        "ece_floor is the ece that a perfectly calibrated network of these confidences would show "
        "on as many images, ece_floor_p95 what it would stay below in 95 of 100 cases."
    )
    found.append(
        "auroc and auprc rank the probabilities of different networks with one another, so they "
        "may be lower than the mean over the folds (Forman and Scholz 2010)."
    )
    return found


def _pool(pooled: Pooled, prevalence: Prevalence) -> str:
    classes = pooled.pool.predictions.classes
    overall = {k: v for k, v in pooled.figures.items() if "/" not in k}
    parts = [headline_paragraph(pooled)]
    parts.append(table(["metric", "value"], [(name, _figure(f)) for name, f in overall.items()]))
    parts += ["<h3>Each class</h3>", _classes(pooled.figures, classes, pooled.confusion)]
    if prevalence is not None:
        parts.append(
            f"<p>Predictive values at a prevalence of {html.escape(as_text(_shares(prevalence)))}, "
            "each class against the rest: what a positive and a negative answer are worth where "
            "the classes are not as frequent as in these images.</p>"
        )
    parts += ["<h3>Confusion</h3>", "<p>Rows are the true classes, columns the predicted.</p>"]
    rows: list[list[Cell]] = [
        [as_text(label), *own] for label, own in zip(classes, pooled.confusion, strict=True)
    ]
    parts.append(table(["", *map(as_text, classes)], rows))
    parts += ["<h3>Runs</h3>", _runs(pooled.pool)]
    parts.append(section(pooled.pool.shortcuts))
    for column in dict.fromkeys(row["column"] for row in pooled.subgroups):
        own = [row for row in pooled.subgroups if row["column"] == column]
        parts += [f"<h3>By {html.escape(as_text(column))}</h3>", _subgroups(own, classes)]
    return "\n".join(parts)


def _shares(prevalence: Prevalence) -> str:
    if isinstance(prevalence, Mapping):
        return ", ".join(f"{share} ({label})" for label, share in prevalence.items())
    return str(prevalence)


def _classes(
    figures: Mapping[str, Mapping[str, float | None]],
    classes: Sequence[str],
    confusion: Sequence[Sequence[int]],
) -> str:
    """The metrics of each class: a column for each of a few classes, else a row."""
    names = list(dict.fromkeys(key.partition("/")[0] for key in figures if "/" in key))
    missing = dict.fromkeys(("value", "low", "high"))
    columns: list[list[Cell]] = [
        [
            as_text(label),
            f"{sum(own):,}",
            *(_figure(figures.get(f"{name}/{label}", missing)) for name in names),
        ]
        for label, own in zip(classes, confusion, strict=True)
    ]
    heads = ["", "images", *names]
    if len(classes) > _MOST_COLUMNS:
        return table(heads, columns)
    first, *rows = zip(heads, *columns, strict=True)
    return table([str(label) for label in first], rows)


def _runs(pool: Pool) -> str:
    rows: list[list[Cell]] = []
    for run in pool.runs:
        row = run.row()
        fold = run.results.get("fold")
        rows.append([fold, row["images"], row["acc"], row["seed"], as_text(str(run.folder))])
    return table(["fold", "images", "acc", "seed", "folder"], rows)


def _subgroups(rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> str:
    metrics = [*OF_SUBGROUPS, *(f"recall/{label}" for label in classes)]
    cells: list[list[Cell]] = [
        [
            as_text(row["value"]) + " *" * row["small"],
            row["images"],
            row["groups"],
            *(_figure(_of_row(row, metric)) for metric in metrics),
        ]
        for row in rows
    ]
    small = any(row["small"] for row in rows)
    note = f'<p class="note">* fewer than {SMALL} images: too few to say anything.</p>'
    return table(["", "images", "groups", *map(as_text, metrics)], cells) + note * small


def _of_row(row: Mapping[str, Any], metric: str) -> dict[str, float | None]:
    return {"value": row[metric], "low": row[f"{metric}_low"], "high": row[f"{metric}_high"]}
