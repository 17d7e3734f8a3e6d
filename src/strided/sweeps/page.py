"""summary.html of a sweep: the best and how sure that is, the figures, a table of all."""

import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

from strided.config.overrides import as_one
from strided.pages import sortable
from strided.pages.figure import Figure
from strided.pages.page import folded, heading, lines_of_code, page, scroll, tile, tiles
from strided.runs.ending import typed_here
from strided.sweeps.charts import charts, said, typed
from strided.sweeps.folder import SweepFolder
from strided.sweeps.grouped import (
    REPEATS,
    Job,
    Row,
    criterion_of,
    each_repeat,
    measured,
    ranking,
    rows,
    shortened,
    values,
)
from strided.system.durable import write_text

_STATES = ("failed", "killed", "missing", "interrupted")
_STYLE = f"{sortable.STYLE} pre {{ white-space: pre-wrap; }} td, th {{ white-space: nowrap; }}"


def write_summary(folder: Path, verb: str, jobs: Sequence[Job], shown: str, drawn: bool) -> None:
    """Write summary.html; `shown` is HTML between the best and the table.

    `drawn` says that it has the figure of the sweep already.
    """
    grouped = rows(jobs)
    criterion = criterion_of(grouped)
    ranked = ranking(grouped, criterion) if criterion else []
    metrics = metrics_of(jobs, grouped)
    common = [word for word in jobs[0].command if all(word in job.command for job in jobs)]
    parts = [
        tiles(first_figures(jobs, ranked, criterion)),
        how_to_repeat(repetition(ranked[0])) if ranked and verb == "train" else "",
        "" if drawn else figures_of(jobs, grouped, ranked, metrics),
        shown,
        heading("Jobs"),
        table_of_rows(folder, ranked, grouped, metrics),
        table_of_repeats(folder, jobs, grouped, metrics),
        common_words(common),
        list_of_errors(jobs),
    ]
    write_page(folder, "".join(parts))


def figures_of(
    jobs: Sequence[Job], grouped: Sequence[Row], ranked: Sequence[Row], metrics: Sequence[str]
) -> str:
    """Return the figures of the metrics, but the time, as HTML."""
    judged = [name for name in metrics if name != "train_seconds"]
    drawn = grouped if len(grouped) > 1 else each_repeat(jobs)
    best = ranked[0] if len(ranked) > 1 else None
    return in_grid(charts(drawn, judged, best)) if judged else ""


def metrics_of(jobs: Sequence[Job], grouped: Sequence[Row]) -> list[str]:
    """Return what a page shows, the first what a row is chosen by, as far as it was measured."""
    chosen = [name] if (name := criterion_of(grouped)) else []
    wanted = [*chosen, *measured(jobs)[::2], "train_seconds"]
    return [name for name in wanted if any(values(row, name) for row in grouped)]


def first_figures(jobs: Sequence[Job], ranked: Sequence[Row], criterion: str | None) -> list[str]:
    """Return the best row, its lead and the number of jobs as tiles."""
    done = sum(job.state == "finished" for job in jobs)
    kind = "plain" if done == len(jobs) else "bad"
    number = tile("Jobs", f"{done} of {len(jobs)}", "finished", kind)
    if criterion is None:
        return [number]
    return [_best(ranked, criterion), _lead(ranked, criterion), number]


def _best(ranked: Sequence[Row], criterion: str) -> str:
    best, found = ranked[0], values(ranked[0], criterion)
    told = [typed(best)] if len(ranked) > 1 else []
    if tested := values(best, "test/acc"):
        told.append(f"test {said(tested, 'test/acc')}")
    if len(found) > 1:
        told.append(f"{len(found)} repeats, ± is their standard deviation")
    name = "Best by validation" if len(ranked) > 1 else "Validation"
    return tile(name, said(found, criterion), "; ".join(told), "good")


def _lead(ranked: Sequence[Row], criterion: str) -> str:
    """The lead of the best over the next, and whether the repeats show that it is real."""
    if len(ranked) < 2:
        return ""
    (first, second), sign = (values(row, criterion) for row in ranked[:2]), 1
    if not criterion.endswith("acc"):
        sign = -1
    ahead = sign * (fmean(first) - fmean(second))
    shown = f"{100 * ahead:.1f} points" if criterion.endswith("acc") else f"{ahead:.4f}"
    other = typed(ranked[1])
    if min(len(first), len(second)) < 2:
        kind, why = "warn", f"{other} is next. Without repeats (seed=0,1,2) it may be chance."
    elif min(sign * value for value in first) > max(sign * value for value in second):
        kind, why = "good", f"{other} is next: every repeat of the best is better than all of its."
    else:
        kind, why = "warn", f"{other} is next: their repeats overlap, no difference is shown."
    return tile("Lead over the next", shown, why, kind)


def how_to_repeat(command: str) -> str:
    """Return the command that repeats the best, as HTML."""
    return f"<p>To repeat the best:</p>{lines_of_code(command)}"


def repetition(row: Row) -> str:
    """Return the command that trains the jobs of a row again."""
    job = row[1][0]
    words = [word for word in job.command if word.partition("=")[0] not in REPEATS]
    repeats = {
        key: list(dict.fromkeys(member.overrides[key] for member in row[1]))
        for key in REPEATS
        if key in job.overrides
    }
    words += [f"{key}={','.join(found)}" for key, found in repeats.items()]
    if any(len(found) > 1 for found in repeats.values()):
        return typed_here("train", "-m", *map(as_one, words))
    return typed_here("train", *words)


def table_of_repeats(
    folder: Path, jobs: Sequence[Job], grouped: Sequence[Row], metrics: Sequence[str]
) -> str:
    """Return a row for each job as HTML; "" if each has one already."""
    if len(grouped) == len(jobs):
        return ""
    repeats = {job.number: typed for typed, (job,) in each_repeat(jobs)}
    each: list[Row] = [
        ({**typed, **repeats[job.number]}, [job]) for typed, members in grouped for job in members
    ]
    shown = table_of_rows(folder, [], each, metrics, "Each repeat")
    return folded("Each repeat", shown)


def table_of_rows(
    folder: Path,
    ranked: Sequence[Row],
    grouped: Sequence[Row],
    metrics: Sequence[str],
    label: str = "The jobs of the sweep",
) -> str:
    """Return a row for each combination, the ranked ones first, with the best of several marked.

    A number of a job leads to its page.
    """
    ordered = [*ranked, *(row for row in grouped if row not in ranked)]
    keys, best = list(ordered[0][0]), ranked[0] if len(ranked) > 1 else None
    repeated = any(len(jobs) > 1 for _, jobs in ordered)
    states = any(job.state != "finished" for _, jobs in ordered for job in jobs)
    first, others = metrics[:1], metrics[1:]  # a phone shows the first columns
    heads = ["jobs" if repeated else "job", *first, *keys, *others, *["state"] * states]
    lines = []
    for row in ordered:
        own = [_cell_of(row, name) for name in first]
        own += [_cell(shortened(value), value) for value in row[0].values()]
        own += [_cell_of(row, name) for name in others]
        own += [_cell(_states(row))] if states else []
        bad = any(job.state in _STATES for job in row[1])
        kind = "best" if row is best else "error" * bad
        links = " ".join(_link(folder, job) for job in row[1]) + " ★" * (kind == "best")
        first_job = f'<th scope="row" data-value="{row[1][0].number}">{links}</th>'
        lines.append(f'<tr class="{kind}">{first_job}{"".join(own)}</tr>')
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in heads)
    return scroll(
        f'<table class="sortable"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table>",
        label,
    )


def _cell(shown: str, value: str | float | None = None) -> str:
    sorted_by = "" if value is None else f' data-value="{html.escape(str(value))}"'
    return f"<td{sorted_by}>{html.escape(shown)}</td>"


def _cell_of(row: Row, metric: str) -> str:
    found = values(row, metric)
    return _cell(said(found, metric), fmean(found)) if found else _cell("", "")


def _states(row: Row) -> str:
    found = [job.state for job in row[1]]
    return ", ".join(
        state if len(found) == 1 else f"{found.count(state)} {state}"
        for state in dict.fromkeys(found)
    )


def _link(folder: Path, job: Job) -> str:
    """The number of a job, which leads to its page if it has one."""
    pages = sorted((folder / str(job.number)).glob("*.html"))
    if not pages:
        return str(job.number)
    return f'<a href="{job.number}/{html.escape(pages[0].name)}">{job.number}</a>'


def common_words(words: Sequence[str]) -> str:
    """Return what was typed for all jobs, as HTML."""
    return f'<p class="note">In each job: <code>{html.escape(" ".join(words))}</code></p>'


def list_of_errors(jobs: Iterable[Job]) -> str:
    """Return the errors of the jobs as HTML; the table has no room for them."""
    items = "".join(
        f"<li>job {job.number}: {html.escape(str(job.results['error']))}</li>"
        for job in jobs
        if job.results.get("error")
    )
    return f"{heading('Errors')}<ul>{items}</ul>" if items else ""


def in_grid(figures: Iterable[Figure]) -> str:
    """Return figures side by side, as HTML; "" without any."""
    shown = "".join(figure.html() for figure in figures)
    return f'<div class="figures">{shown}</div>' if shown else ""


def write_page(folder: Path, body: str) -> None:
    """Write summary.html, which opens without a network."""
    title = f"{folder.parent.name} {folder.name}"
    write_text(SweepFolder(folder).page, page(title, body, _STYLE, sortable.SCRIPT))
