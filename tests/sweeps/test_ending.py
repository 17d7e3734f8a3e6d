"""What a sweep says at its end."""

import shlex
from pathlib import Path

import pytest

from strided.config.compose import compose
from strided.config.overrides import normalise
from strided.runs.results import Results
from strided.sweeps.ending import failures, next_command, print_ending, table, what_to_try
from strided.sweeps.grammar import sweep_jobs
from strided.sweeps.grouped import Job
from strided.sweeps.page import repetition


def job(
    number: int,
    command: str,
    val: float | None = None,
    *,
    test: float = 0.5,
    split_hash: str = "a",
    error: str = "bad",
) -> Job:
    """A finished job, or without `val` a failed one."""
    words = command.split()
    if val is None:
        return Job(number, words, "failed", {"error": error})
    found: Results = {"best_val/acc": val, "test/acc": test, "train_seconds": 2.0}
    return Job(number, words, "finished", {**found, "split_hash": split_hash})


SEEDS = [
    job(0, "model=mlp lr=1 seed=0", 0.8),
    job(1, "model=lenet5 lr=1 seed=0", 0.9),
    job(2, "model=mlp lr=1 seed=1", 0.84),
    job(3, "model=lenet5 lr=1 seed=1"),
]


def cells(jobs: list[Job], most: int = 30) -> list[list[str]]:
    return [line.split() for line in table(jobs, most)]


def test_the_best_by_validation_is_marked() -> None:
    jobs = [job(0, "lr=1", 0.8), job(1, "lr=2", 0.9), job(2, "lr=3", 0.7, test=0.99)]
    head, *rows, last = cells(jobs)
    assert head == ["job", "lr", "test/acc", "best_val/acc", "train_seconds"]
    assert rows[1] == ["*1", "2", "0.5000", "0.9000", "2.0"]
    assert [row[0] for row in rows] == ["0", "*1", "2"] and " ".join(
        last
    ) == "* the best by best_val/acc"


def test_seeds_are_one_row_with_their_spread() -> None:
    head, mlp, lenet, _ = table(SEEDS, 30)
    assert head.split()[:5] == ["job", "model", "n", "state", "test/acc"]
    assert mlp.split()[:3] == ["0,2", "mlp", "2"] and "0.8200 ± 0.0283" in mlp
    assert lenet.split()[:5] == ["*1,3", "lenet5", "1", "1", "failed"] and "±" not in lenet


def test_a_loss_is_best_when_it_is_lowest() -> None:
    jobs = [Job(n, [f"lr={n}"], "finished", {"best_val/loss": 1.0 + n}) for n in range(3)]  # type: ignore[typeddict-unknown-key]
    assert [row[0] for row in cells(jobs)[1:4]] == ["*0", "1", "2"]


def test_of_many_rows_the_best_are_shown() -> None:
    jobs = [job(n, f"lr={n}", n / 100) for n in range(40)]
    _, *rows, more, _ = cells(jobs, 3)
    assert [row[0] for row in rows] == ["*39", "38", "37"]
    assert " ".join(more) == "... and 37 more in summary.csv"


def test_jobs_that_failed_for_one_reason_are_told_once() -> None:
    jobs = [job(0, "lr=1"), job(1, "lr=2", 0.5), job(2, "lr=3"), job(3, "lr=4", error="worse\x1b")]
    assert failures(jobs) == ["jobs 0, 2 failed: bad", "job 3 failed: worse\\x1b"]


def test_a_reason_that_was_printed_is_cut_short() -> None:
    long = f"lr=-1 is {'very ' * 30}low; expected more. Try lr=1"
    jobs = [job(0, "lr=-1", error="lr=-1; expected above 0. Try lr=1"), job(1, "lr=2", error=long)]
    first, second = failures(jobs)
    assert first == "job 0 failed: lr=-1"
    assert second.startswith("job 1 failed: lr=-1 is very") and second.endswith("...")


def test_what_to_try_is_another_value_where_a_value_is_at_fault() -> None:
    wrong = job(0, "a.lr=-1 data.root=there", error="a.lr=-1; expected above 0. Try a.lr=1")
    moved = job(1, "a.lr=1 data.root=there", error="data.root=there does not exist")
    killed = Job(2, ["a.lr=2"], "killed", {})

    def said(*jobs: Job) -> str:
        return what_to_try(Path("sweep"), jobs, ["data.root"])

    assert said(wrong) == "Try other values of a.lr in a new sweep"
    assert said(moved, killed) == "Try resume=sweep to run only these again"
    assert said(wrong, killed) == (
        "Try other values of a.lr in a new sweep; for the others, resume=sweep to run only these"
        " again"
    )


def test_without_any_accuracy_the_jobs_are_still_listed() -> None:
    jobs = [job(0, "lr=1"), job(1, "lr=2")]
    assert cells(jobs) == [["job", "lr", "state"], ["0", "1", "failed"], ["1", "2", "failed"]]


def test_the_two_best_are_compared_next(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    jobs = [job(0, "lr=1", 0.8), job(1, "lr=2", 0.9), job(2, "lr=3", 0.7)]
    print_ending(tmp_path, jobs)
    *_, report, then = capsys.readouterr().out.splitlines()
    assert report == f"report: {tmp_path / 'summary.html'}"
    assert shlex.split(then)[-1] == f"runs=[{tmp_path / '1'},{tmp_path / '0'}]"
    other = job(0, "lr=1", 0.8, split_hash="b")
    assert f"checkpoint={tmp_path / '1'}" in next_command(tmp_path, [other, jobs[1]])
    assert next_command(tmp_path, SEEDS) == ""
    odd = Path("it's a, b (1)")
    (runs,) = shlex.split(next_command(odd, jobs))[2:]
    assert compose("compare", [runs])["runs"] == [str(odd / "1"), str(odd / "0")]


def test_the_command_for_the_best_trains_its_seeds_and_nothing_else() -> None:
    seeds = [Job(seed, ["name=a, b", f"seed={seed}"], "finished", {}) for seed in (0, 1)]
    words = shlex.split(repetition(({}, seeds)))[2:]
    assert words[0] == "-m"
    assert sweep_jobs(normalise("train", words[1:], multirun=True)) == [s.command for s in seeds]
    assert shlex.split(repetition(({}, seeds[:1])))[2:] == seeds[0].command
