"""summary.csv, summary_seeds.csv and summary.html: the results of a sweep's jobs."""

import html
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strided.pages.page import page
from strided.runs.csv_files import write_csv
from strided.runs.folder import read_results
from strided.runs.results import Results, by_name
from strided.sweeps.folder import SweepFolder
from strided.system.durable import write_text

TRAINED = ("best_val/acc", "best_epoch", "train_seconds")
REPEATS = ("seed", "data.split_seed", "data.fold")  # keys that only repeat a measurement
AVERAGED = ("best_val/acc", "train_seconds")
TO_TARGET = ("seconds_to_target", "epochs_to_target", "flops_to_target")

TABLE_STYLE = """
body { max-width: none; } p, ul { max-width: 60rem; } td, th { padding-right: 1.5rem; }
th { border-bottom: 1px solid; } .number { text-align: right; font-variant-numeric: tabular-nums; }
tr.failed td, tr.killed td, tr.missing td, tr.interrupted td { color: light-dark(#a00, #f99); }
"""


@dataclass(frozen=True)
class Job:
    """One job: its overrides, its state, and its results.json (empty: none yet)."""

    number: int
    command: list[str]
    state: str
    results: Results

    @classmethod
    def read(cls, folder: Path, command: list[str]) -> "Job":
        """Read a job's folder, which may be missing; a state `running` means that it was killed."""
        results = read_results(folder)
        state = results.get("state", "running") if folder.is_dir() else "missing"
        return cls(
            int(folder.name), command, "killed" if state == "running" else str(state), results
        )

    @property
    def overrides(self) -> dict[str, str]:
        """The typed overrides, by key."""
        return {key: value for key, _, value in (word.partition("=") for word in self.command)}


@dataclass(frozen=True)
class Table:
    """Column names and rows of values; the columns in `typed` are overrides."""

    head: list[str]
    rows: list[list[Any]]
    typed: list[str]

    def write(self, file: Path) -> None:
        """Write the table as CSV."""
        write_csv(file, self.head, self.rows)

    def html(self) -> str:
        """Return the table as HTML; with several rows, overrides that never change are left out."""
        shown = [i for i, name in enumerate(self.head) if name != "error" and not self._same(i)]
        head = "".join(f"<th>{html.escape(self.head[i])}</th>" for i in shown)
        rows = "".join(
            f'<tr class="{html.escape(str(dict(zip(self.head, row, strict=True)).get("state")))}">'
            f"{''.join(_cell(row[i]) for i in shown)}</tr>"
            for row in self.rows
        )
        return f'<div class="scroll"><table><tr>{head}</tr>{rows}</table></div>'

    def _same(self, index: int) -> bool:
        values = {str(row[index]) for row in self.rows}
        return self.head[index] in self.typed and len(values) == 1 < len(self.rows)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f'<td class="number">{value:.4f}</td>'
    if isinstance(value, int):
        return f'<td class="number">{value}</td>'
    return f"<td>{html.escape(str(value))}</td>"


def _keys(jobs: Iterable[Job]) -> list[str]:
    return list(dict.fromkeys(key for job in jobs for key in job.overrides))


def measured(jobs: Iterable[Job]) -> list[str]:
    """Return accuracy and loss of the splits that the jobs measured; of test if none did."""
    found = {key for job in jobs for key in job.results}
    splits = [split for split in ("test", "val") if f"{split}/acc" in found] or ["test"]
    return [f"{split}/{metric}" for split in splits for metric in ("acc", "loss")]


def to_target(jobs: Iterable[Job]) -> list[str]:
    """Return the results of callbacks.target, if any of the jobs has one."""
    return [*TO_TARGET] if any(TO_TARGET[0] in job.results for job in jobs) else []


def table_of_jobs(jobs: Sequence[Job], columns: Sequence[str]) -> Table:
    """Return a row per job: its overrides, its state, and `columns` of its results."""
    keys = _keys(jobs)
    rows = [
        [job.number, *(job.overrides.get(key, "") for key in keys), job.state]
        + ["" if (value := job.results.get(name)) is None else value for name in columns]
        for job in jobs
    ]
    return Table(["job", *keys, "state", *columns], rows, keys)


def table_of_repeats(jobs: Sequence[Job]) -> Table | None:
    """Return a row for all jobs that differ in seed, split or fold only; None if none does.

    Mean and standard deviation (of a sample, n - 1; empty for a single value) are over the
    finished jobs, which `n` counts; `unfinished` counts the others.
    """
    if not any(len({job.overrides.get(key) for job in jobs}) > 1 for key in REPEATS):
        return None
    keys = [key for key in _keys(jobs) if key not in REPEATS]
    averaged = [*measured(jobs), *AVERAGED, *to_target(jobs)]
    groups: dict[tuple[str, ...], list[Job]] = {}
    for job in jobs:
        groups.setdefault(tuple(job.overrides.get(key, "") for key in keys), []).append(job)
    rows = []
    for values, members in groups.items():
        done = [by_name(job.results) for job in members if job.state == "finished"]
        row: list[Any] = [*values, len(done), len(members) - len(done)]
        for name in averaged:
            row += _mean_and_std([r[name] for r in done if r.get(name) is not None])
        rows.append(row)
    columns = [f"{name} {of}" for name in averaged for of in ("mean", "std")]
    return Table([*keys, "n", "unfinished", *columns], rows, keys)


def _mean_and_std(values: list[float]) -> list[float | str]:
    if not values:
        return ["", ""]
    std: float | str = statistics.stdev(values) if len(values) > 1 else ""
    return [math.fsum(values) / len(values), std]


def summarise(folder: Path, jobs: Sequence[Job], trend: str = "") -> Table:
    """Write the summary of a sweep into its folder, and return its table of jobs.

    `trend` is HTML to start the page with.
    """
    columns = [*measured(jobs), *TRAINED, *to_target(jobs), "error"]
    table, repeats = table_of_jobs(jobs, columns), table_of_repeats(jobs)
    table.write(SweepFolder(folder).summary)
    common = [word for word in jobs[0].command if all(word in job.command for job in jobs)]
    body = (
        f"<p>{len(jobs)} jobs, {sum(job.state == 'finished' for job in jobs)} finished. "
        f"In each: <code>{html.escape(' '.join(common))}</code></p>"
    )
    body += trend
    if repeats is not None:
        repeats.write(SweepFolder(folder).summary_of_repeats)
        body += f"<h2>Over {', '.join(REPEATS)}</h2>{repeats.html()}"
    write_page(folder, f"{body}<h2>Jobs</h2>{table.html()}{list_of_errors(jobs)}")
    return table


def list_of_errors(jobs: Iterable[Job]) -> str:
    """Return the errors of the jobs as HTML; the table has no room for them."""
    items = "".join(
        f"<li>job {job.number}: {html.escape(str(job.results['error']))}</li>"
        for job in jobs
        if job.results.get("error")
    )
    return f"<h2>Errors</h2><ul>{items}</ul>" if items else ""


def write_page(folder: Path, body: str) -> None:
    """Write summary.html, which opens without a network."""
    title = f"{folder.parent.name} {folder.name}"
    write_text(SweepFolder(folder).page, page(title, body, TABLE_STYLE))
