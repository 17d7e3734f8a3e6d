"""summary.csv, summary_seeds.csv and summary.html: the results of a sweep's jobs."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strided.runs.csv_files import write_csv
from strided.runs.results import by_name
from strided.sweeps.folder import SweepFolder
from strided.sweeps.grouped import REPEATS, Job, measured
from strided.sweeps.page import write_summary

TRAINED = ("best_val/acc", "best_epoch", "train_seconds")
AVERAGED = ("best_val/acc", "train_seconds")
TO_TARGET = ("seconds_to_target", "epochs_to_target", "flops_to_target")


@dataclass(frozen=True)
class Table:
    """Column names and rows of values; the columns in `typed` are overrides."""

    head: list[str]
    rows: list[list[Any]]
    typed: list[str]

    def write(self, file: Path) -> None:
        """Write the table as CSV."""
        write_csv(file, self.head, self.rows)


def _keys(jobs: Iterable[Job]) -> list[str]:
    return list(dict.fromkeys(key for job in jobs for key in job.overrides))


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
    finished jobs, which `n` counts; `unfinished` counts the others. Those to a target are over the
    finished jobs that reached it, which `reached` counts.
    """
    if not any(len({job.overrides.get(key) for job in jobs}) > 1 for key in REPEATS):
        return None
    keys = [key for key in _keys(jobs) if key not in REPEATS]
    aims = to_target(jobs)
    averaged = [*measured(jobs), *AVERAGED, *aims]
    groups: dict[tuple[str, ...], list[Job]] = {}
    for job in jobs:
        groups.setdefault(tuple(job.overrides.get(key, "") for key in keys), []).append(job)
    rows = []
    for values, members in groups.items():
        done = [by_name(job.results) for job in members if job.state == "finished"]
        row: list[Any] = [*values, len(done), len(members) - len(done)]
        if aims:
            row.append(sum(r.get(aims[0]) is not None for r in done))
        for name in averaged:
            row += _mean_and_std([r[name] for r in done if r.get(name) is not None])
        rows.append(row)
    columns = [f"{name} {of}" for name in averaged for of in ("mean", "std")]
    counts = ["n", "unfinished", *(["reached"] if aims else [])]
    return Table([*keys, *counts, *columns], rows, keys)


def _mean_and_std(values: list[float]) -> list[float | str]:
    if not values:
        return ["", ""]
    std: float | str = statistics.stdev(values) if len(values) > 1 else ""
    return [math.fsum(values) / len(values), std]


def summarise(
    folder: Path, jobs: Sequence[Job], verb: str = "train", shown: str = "", drawn: bool = False
) -> Table:
    """Write the summary of a sweep into its folder, and return its table of jobs.

    `shown` is HTML for the page; `drawn` says that it has a figure already.
    """
    columns = [*measured(jobs), *TRAINED, *to_target(jobs), "error"]
    table, repeats = table_of_jobs(jobs, columns), table_of_repeats(jobs)
    table.write(SweepFolder(folder).summary)
    if repeats is not None:
        repeats.write(SweepFolder(folder).summary_of_repeats)
    write_summary(folder, verb, jobs, shown, drawn)
    return table
