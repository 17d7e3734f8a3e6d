"""The jobs of a sweep, with those together that only repeat a measurement."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from strided.runs.folder import read_results
from strided.runs.results import Results, by_name

REPEATS = ("seed", "data.split_seed", "data.fold")  # keys that only repeat a measurement
_LONG, _LONGEST = 8, 32  # characters of a number, and of another value
CHOSEN_BY = {"best_val/acc": max, "best_val/loss": min}  # never by the test


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


Row = tuple[dict[str, str], list[Job]]  # what was typed, and the jobs that differ in REPEATS only


def measured(jobs: Iterable[Job]) -> list[str]:
    """Return accuracy and loss of the splits that the jobs measured; of test if none did."""
    found = {key for job in jobs for key in job.results}
    splits = [split for split in ("test", "val") if f"{split}/acc" in found] or ["test"]
    return [f"{split}/{metric}" for split in splits for metric in ("acc", "loss")]


def rows(jobs: Sequence[Job]) -> list[Row]:
    """Group the jobs that differ in REPEATS only; what all have in common is left out."""
    keys = dict.fromkeys(key for job in jobs for key in job.overrides)
    varied = [key for key in keys if len({job.overrides.get(key) for job in jobs}) > 1]
    kept = [key for key in varied if key not in REPEATS]
    groups: dict[tuple[str, ...], list[Job]] = {}
    for job in jobs:
        groups.setdefault(tuple(job.overrides.get(key, "") for key in kept), []).append(job)
    if len(groups) == len(jobs):
        return [({key: job.overrides.get(key, "") for key in varied}, [job]) for job in jobs]
    return [(dict(zip(kept, group, strict=True)), members) for group, members in groups.items()]


def criterion_of(grouped: Sequence[Row]) -> str | None:
    """Return what the best row is chosen by; None if no job was validated."""
    return next((name for name in CHOSEN_BY if any(values(row, name) for row in grouped)), None)


def ranking(grouped: Sequence[Row], criterion: str) -> list[Row]:
    """Return the rows that have a value of the criterion, the best first."""
    known = [row for row in grouped if values(row, criterion)]
    sign = -1 if CHOSEN_BY[criterion] is max else 1
    return sorted(known, key=lambda row: sign * fmean(values(row, criterion)))


def values(row: Row, name: str) -> list[float]:
    """Return a metric of the finished jobs of a row."""
    found = (by_name(job.results).get(name) for job in row[1] if job.state == "finished")
    return [float(value) for value in found if value is not None]


def shortened(value: str) -> str:
    """Return what was typed, with fewer digits or letters if it is long."""
    if len(value) <= _LONG:
        return value
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return value if len(value) <= _LONGEST else f"...{value[3 - _LONGEST :]}"


def each_repeat(jobs: Sequence[Job]) -> list[Row]:
    """Return a row for each job, with what it repeats: its seed, split or fold."""
    keys = [key for key in REPEATS if len({job.overrides.get(key) for job in jobs}) > 1]
    return [({key: job.overrides.get(key, "") for key in keys}, [job]) for job in jobs]
