"""What a sweep or a search says at its end: its table, what failed, its page, what to type next."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from statistics import fmean, stdev

from strided.config.overrides import listed
from strided.errors import one_line, printable
from strided.runs.ending import from_here, typed_here
from strided.sweeps.folder import SweepFolder
from strided.sweeps.grouped import (
    CHOSEN_BY,
    Job,
    Row,
    criterion_of,
    measured,
    ranking,
    rows,
    shortened,
    values,
)
from strided.system.text_table import text_table
from strided.system.verbosity import ONCE, shown_from

MOST_ROWS = 30  # more, and only the best are shown
_MOST_NUMBERS = 4
_WIDEST = 100  # characters of a reason


def print_ending(
    folder: Path, jobs: Sequence[Job], headline: str = "", most: int = MOST_ROWS
) -> None:
    """Print the table of at most `most` rows, the failures, the headline, the page, a command.

    The headline may have several lines.
    """
    for line in ["", *table(jobs, most), *failures(jobs), *headline.splitlines()]:
        print(printable(line))
    print(printable(f"report: {from_here(SweepFolder(folder).page)}"))
    if shown_from() <= ONCE and (then := next_command(folder, jobs)):
        print(printable(f"next: {then}"))


def table(jobs: Sequence[Job], most: int) -> list[str]:
    """Return a line for all jobs that differ in seed, split or fold only; `*` marks the best.

    The best is chosen by validation. Values of several jobs are mean and standard deviation.
    """
    grouped = rows(jobs)
    columns = [*measured(jobs)[::2], *CHOSEN_BY, "train_seconds"]
    columns = [name for name in columns if any(values(row, name) for row in grouped)]
    criterion = criterion_of(grouped)
    ranked = ranking(grouped, criterion) if criterion else []
    shown = grouped if len(grouped) <= most else (ranked or grouped)[:most]
    best = ranked[0] if len(ranked) > 1 else None
    states = ["state"] if any(state(row) for row in shown) else []
    head = ["job", *shown[0][0], *(["n"] if len(grouped) < len(jobs) else []), *states, *columns]
    lines = [head, *(line(row, head, columns, row is best) for row in shown)]
    said = text_table(lines, left=1 + len(shown[0][0]))
    if more := len(grouped) - len(shown):
        said.append(f"... and {more} more in summary.csv")
    return said + ([f"* the best by {criterion}"] if best else [])


def line(row: Row, head: Sequence[str], columns: Sequence[str], is_best: bool) -> list[str]:
    """Return the cells of a row under `head`."""
    typed, jobs = row
    numbers = ",".join([*(str(job.number) for job in jobs[:_MOST_NUMBERS]), "..."][: len(jobs)])
    marked = ("*" if is_best else " ") + numbers
    count = [str(sum(job.state == "finished" for job in jobs))] if "n" in head else []
    states = [state(row)] if "state" in head else []
    measured_cells = [cell(row, name) for name in columns]
    return [marked, *map(shortened, typed.values()), *count, *states, *measured_cells]


def state(row: Row) -> str:
    """Return how the jobs of a row ended that did not finish: `failed`, `2 failed`."""
    found = [job.state for job in row[1] if job.state != "finished"]
    counts = {name: found.count(name) for name in dict.fromkeys(found)}
    if len(row[1]) == 1:
        return "".join(counts)
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def cell(row: Row, name: str) -> str:
    """Return `0.9053`, or `0.9053 ± 0.0021` of several jobs."""
    digits = 1 if name == "train_seconds" else 4
    found = values(row, name)
    if not found:
        return ""
    spread = f" ± {stdev(found):.{digits}f}" if len(found) > 1 else ""
    return f"{fmean(found):.{digits}f}{spread}"


def failures(jobs: Sequence[Job]) -> list[str]:
    """Return a line for each reason why jobs did not finish, with their numbers.

    The reason is cut short: a job has printed all of it, and summary.csv has it.
    """
    reasons: dict[str, list[int]] = {}
    for job in jobs:
        if job.state not in ("finished", "pruned"):
            error = one_line(str(job.results.get("error", "")))
            why = f"{job.state}: {cut_short(error)}" if error else job.state
            reasons.setdefault(why, []).append(job.number)
    return [
        f"job{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))} {why}"
        for why, numbers in reasons.items()
    ]


def cut_short(reason: str) -> str:
    """Return what was given of a reason, without what was expected and what to try."""
    given = re.split(r"; |\. (?=Expected|Try)", reason)[0]
    return given if len(given) <= _WIDEST else f"{given[: _WIDEST - 3]}..."


def what_to_try(folder: Path, jobs: Sequence[Job], resumable: Collection[str]) -> str:
    """Return what may help jobs that did not finish: other values, or to run them again.

    A value is at fault if the error names it as typed; only `resumable` keys change on a resume.
    """
    unfinished = [job for job in jobs if job.state != "finished"]
    faults = [
        [key for key in job.overrides if key not in resumable and _names(job, key)]
        for job in unfinished
    ]
    keys = dict.fromkeys(key for found in faults for key in found)
    again = f"resume={folder} to run only these again"
    if not keys:
        return f"Try {again}"
    return f"Try other values of {', '.join(keys)} in a new sweep" + (
        "" if all(faults) else f"; for the others, {again}"
    )


def _names(job: Job, key: str) -> bool:
    return bool(re.search(rf"(?<![\w.]){re.escape(key)}=", str(job.results.get("error", ""))))


def next_command(folder: Path, jobs: Sequence[Job]) -> str:
    """Return a command for after a sweep: pool its folds, compare its two best, or predict.

    It is "" if jobs are left to be run again, which the error says, or if none is the best.
    """
    grouped = rows(jobs)
    criterion = criterion_of(grouped)
    if criterion is None or any(job.state == "failed" for job in jobs):
        return ""
    best, *others = [row[1][0] for row in ranking(grouped, criterion)]
    place = from_here(folder)
    if SweepFolder(folder).pool.is_file():
        return typed_here("compare", f"pool={listed([place])}")
    if others and "test/acc" in best.results and _same_test(best, others[0]):
        two = [place / str(job.number) for job in (best, others[0])]
        return typed_here("compare", f"runs={listed(two)}")
    return typed_here("predict", f"checkpoint={place / str(best.number)}", "input=photos/")


def _same_test(first: Job, second: Job) -> bool:
    return first.results.get("split_hash") == second.results.get("split_hash")
