import csv
import os
import re
import shutil
import signal
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import yaml
from tests.stopping import forked

from strided.cli import main
from strided.errors import UserError
from strided.runs.folder import read_config, read_results
from strided.sweeps.grouped import Job
from strided.sweeps.summary import summarise, table_of_repeats
from strided.sweeps.sweep import keep_places
from strided.system.machine import alone_in

pytestmark = pytest.mark.usefixtures("blank_figures")

FAST = (
    "trainer=cpu",
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=2",
    "trainer.limit_val_batches=1",
)


def sweep(log_dir: Path, *words: str) -> int:
    return main(["train", "-m", *FAST, *words, f"log_dir={log_dir}"])


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "summary.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    """Exit code and folder of a sweep of 2 models x 2 rates, of which one rate is impossible."""
    log_dir = tmp_path_factory.mktemp("sweep")
    code = sweep(log_dir, "model=mlp,lenet5", "optimizer.lr=0.001,-1")
    (folder,) = log_dir.glob("multirun/*/*")
    return code, folder


def test_a_bad_value_fails_its_own_jobs_and_the_exit_code(grid: tuple[int, Path]) -> None:
    code, folder = grid
    assert code == 1
    assert [row["state"] for row in rows_of(folder)] == [
        "finished", "failed", "finished", "failed",
    ]  # fmt: skip


def test_the_summary_has_what_was_swept_and_what_came_of_it(grid: tuple[int, Path]) -> None:
    rows = rows_of(grid[1])
    assert [row["job"] for row in rows] == ["0", "1", "2", "3"]
    assert [row["model"] for row in rows] == ["mlp", "mlp", "lenet5", "lenet5"]
    assert [float(row["optimizer.lr"]) for row in rows] == [0.001, -1, 0.001, -1]
    for row in rows:
        if row["state"] == "finished":
            assert 0 <= float(row["test/acc"]) <= 1 and not row["error"]
        else:
            assert row["test/acc"] == "" and "-1" in row["error"]


def test_the_summary_can_be_looked_at(grid: tuple[int, Path]) -> None:
    page = (grid[1] / "summary.html").read_text()
    assert page.count("<tr") == 5
    assert "://" not in page


def test_each_job_has_a_whole_run_folder(grid: tuple[int, Path]) -> None:
    folder = grid[1]
    files = {entry.name for entry in folder.iterdir()} - {"multirun.yaml"}  # which Hydra writes
    assert files == {"0", "1", "2", "3", "sweep.yaml", "summary.csv", "summary.html"}
    assert not list(folder.rglob(".hydra"))
    for job, name in ((0, "mlp-digits"), (2, "lenet5-digits")):
        assert (folder / str(job) / "checkpoints" / "best.ckpt").is_file()
        assert (folder / str(job) / "report.html").is_file()
        assert yaml.safe_load((folder / str(job) / "config.yaml").read_text())["name"] == name
    failed = read_results(folder / "1")
    assert failed["state"] == "failed" and "-1" in failed["error"]
    assert yaml.safe_load((folder / "1" / "config.yaml").read_text())["optimizer"]["lr"] == -1


def test_the_sweep_is_named_after_its_jobs(grid: tuple[int, Path]) -> None:
    assert grid[1].parent.name == "mlp-digits+lenet5-digits"


def test_a_job_of_a_sweep_can_be_evaluated(grid: tuple[int, Path], log_dir: Path) -> None:
    assert main(["eval", f"checkpoint={grid[1] / '0'}", f"log_dir={log_dir}"]) == 0
    (folder,) = log_dir.glob("eval/mlp-digits/*")
    assert read_results(folder)["test/acc"] == read_results(grid[1] / "0")["test/acc"]


def test_a_sweep_of_evaluations_shows_the_split_that_it_measured(
    grid: tuple[int, Path], log_dir: Path
) -> None:
    runs = f"checkpoint={grid[1] / '0'},{grid[1] / '2'}"
    assert main(["eval", "-m", runs, "split=val", f"log_dir={log_dir}"]) == 0
    (folder,) = log_dir.glob("multirun/*/*")
    for row in rows_of(folder):
        measured = read_results(folder / row["job"])
        assert float(row["val/acc"]) == measured["val/acc"]
        assert float(row["val/loss"]) == measured["val/loss"]


def test_a_sweep_of_seeds_finishes_with_code_0(
    log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep(log_dir, "model=mlp", "seed=0,1", "name=seeds") == 0
    (folder,) = log_dir.glob("multirun/seeds/*")
    jobs, ending = capsys.readouterr().out.split("\n\n")[-2:]
    head, averages, report, then = ending.splitlines()
    assert head.split()[:3] == ["job", "n", "test/acc"] and averages.split()[:2] == ["0,1", "2"]
    assert averages.count(" ± ") == 3 and report == f"report: {folder / 'summary.html'}"
    assert then.endswith(f"src/predict.py checkpoint={folder / '0'} input=photos/")
    assert "Linear" not in jobs and "next: " not in jobs and "test accuracy" in jobs
    accuracies = [read_results(folder / job)["test/acc"] for job in "01"]
    with (folder / "summary_seeds.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["model"], row["n"], row["unfinished"]) == ("mlp", "2", "0")
    assert float(row["test/acc mean"]) == pytest.approx(sum(accuracies) / 2)
    assert "2 repeats" in (folder / "summary.html").read_text()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["model=mlp,lenet9"], "Did you mean lenet5?"),
        (["model=mlp,lenet5", "optimizer.weight_deca=1,2"], "Did you mean weight_decay?"),
        (["model=mlp,lenet5", "model.activation=relu"], "model.activation is not an argument"),
        (["sede=1,2"], "Did you mean seed?"),
        (["seed=range(1"], "cannot be read"),
    ],
)
def test_an_unknown_option_or_key_stops_a_sweep_before_its_first_job(
    words: list[str], expected: str, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep(log_dir, *words) == 1
    assert expected in capsys.readouterr().err
    assert not log_dir.exists()


def test_a_job_that_was_killed_or_never_began_has_a_row(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "results.json").write_text('{"state": "running"}')
    summarise(tmp_path, [Job.read(tmp_path / str(n), [f"seed={n}"]) for n in range(3)])
    rows = rows_of(tmp_path)
    assert [row["state"] for row in rows] == ["killed", "killed", "missing"]
    assert [row["seed"] for row in rows] == ["0", "1", "2"]


def job(number: int, acc: float | None, *command: str) -> Job:
    state = "failed" if acc is None else "finished"
    return Job(number, list(command), state, {} if acc is None else {"test/acc": acc})


def test_seeds_are_averaged_over_finished_jobs_only() -> None:
    table = table_of_repeats(
        [
            job(0, 0.8, "model=mlp", "seed=0"),
            job(1, 0.9, "model=mlp", "seed=1"),
            job(2, 0.5, "model=lenet5", "seed=0"),
            job(3, None, "model=lenet5", "seed=1"),
        ]
    )
    assert table is not None
    mlp, lenet = (dict(zip(table.head, row, strict=True)) for row in table.rows)
    assert (mlp["model"], mlp["n"], mlp["unfinished"]) == ("mlp", 2, 0)
    assert mlp["test/acc mean"] == pytest.approx(0.85)
    assert mlp["test/acc std"] == pytest.approx(0.05 * 2**0.5)  # n - 1
    assert (lenet["n"], lenet["unfinished"]) == (1, 1)
    assert (lenet["test/acc mean"], lenet["test/acc std"]) == (0.5, "")


def test_jobs_that_were_only_tested_have_no_best(tmp_path: Path) -> None:
    tested = [job(n, n / 2, f"checkpoint={n}") for n in (0, 1)]
    summarise(tmp_path, tested, "eval")
    assert "★" not in (tmp_path / "summary.html").read_text()
    chosen = [replace(one, results={"best_val/acc": one.number / 2}) for one in tested]
    summarise(tmp_path, chosen)
    assert (
        '<tr class="best"><th scope="row" data-value="1">1 ★'
        in (tmp_path / "summary.html").read_text()
    )


def test_seeds_are_no_scale_that_a_line_could_follow(tmp_path: Path) -> None:
    seeds = [job(n, 0.8 + n / 100, f"seed={n}") for n in range(3)]
    summarise(tmp_path, seeds)
    page = (tmp_path / "summary.html").read_text()
    assert "seed=1: 81.0%</title></circle>" in page
    assert not re.search(r'<polyline[^>]*stroke="var\(--c\d\)"', page)


def test_without_several_seeds_there_is_nothing_to_average() -> None:
    assert table_of_repeats([job(0, 0.8, "lr=1", "seed=0"), job(1, 0.8, "lr=2", "seed=0")]) is None


def test_what_a_target_took_is_averaged_over_the_seeds_that_reached_it(tmp_path: Path) -> None:
    flops = (2e9, None, 4e9)
    jobs = [
        Job(n, [f"seed={n}"], "finished", {"seconds_to_target": f and 9.0, "flops_to_target": f})
        for n, f in enumerate(flops)
    ]
    table = table_of_repeats(jobs)
    assert table is not None
    row = dict(zip(table.head, table.rows[0], strict=True))
    assert (row["n"], row["reached"], row["flops_to_target mean"]) == (3, 2, 3e9)
    summarise(tmp_path, jobs)
    with (tmp_path / "summary.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["flops_to_target"] for row in rows] == ["2000000000.0", "", "4000000000.0"]
    without = table_of_repeats([job(n, 0.8, f"seed={n}") for n in (0, 1)])
    assert without is not None and "reached" not in without.head
    assert without.head[-1] == "train_seconds std"


def test_a_sweep_over_many_models_has_a_short_name(log_dir: Path) -> None:
    models = "model=mlp,lenet5,alexnet,vgg16,resnet18,googlenet"
    assert sweep(log_dir, models, "data.batch_size=0") == 1  # each job fails at once
    (folder,) = log_dir.glob("multirun/*/*")
    assert folder.parent.name == "mlp-digits+5-more"
    assert [row["state"] for row in rows_of(folder)] == ["failed"] * 6


def test_a_job_is_as_long_as_the_run_of_its_words(log_dir: Path) -> None:
    words = [word for word in FAST if "max_epochs" not in word] + [f"log_dir={log_dir}"]
    words += ["transfer.from_scratch=true", "transfer.stages.frozen.epochs=1,2", "name=stages"]
    assert main(["train", "-m", "model=mlp", "transfer=frozen", *words]) == 0
    (folder,) = log_dir.glob("multirun/stages/*")
    for job, length in (("0", 1), ("1", 2)):
        assert read_config(folder / job)["trainer"]["max_epochs"] == length


def test_arguments_of_callbacks_can_be_swept(log_dir: Path) -> None:
    assert sweep(log_dir, "model=mlp", "callbacks.early_stopping.patience=2,3") == 0
    (folder,) = log_dir.glob("multirun/*/*")
    patience = [
        read_config(folder / job)["callbacks"]["early_stopping"]["patience"] for job in "01"
    ]
    assert patience == [2, 3]


def interrupted_sweep(
    log_dir: Path, number: int, once: str = "1/checkpoints/last.ckpt"
) -> tuple[int | None, Path]:
    """Start three jobs in another process, signal it once a file is there; return code, folder."""
    words = ("model=mlp", "seed=0,1,2", "trainer.max_epochs=3", "trainer.limit_train_batches=1.0")
    with forked(partial(sweep, log_dir, *words), log_dir.with_suffix(".output")) as process:
        deadline = time.monotonic() + 120
        while not list(log_dir.glob(f"multirun/*/*/{once}")):
            assert process.exitcode is None and time.monotonic() < deadline
            time.sleep(0.02)
        assert process.pid is not None
        os.kill(process.pid, number)
        process.join(60)
    (folder,) = log_dir.glob("multirun/*/*")
    return process.exitcode, folder


@pytest.mark.parametrize(
    ("number", "code", "state"),
    [(signal.SIGKILL, -9, "running"), (signal.SIGTERM, 143, "interrupted")],
)
def test_a_stopped_sweep_runs_only_what_is_left(
    number: int, code: int, state: str, log_dir: Path
) -> None:
    exit_code, folder = interrupted_sweep(log_dir, number)
    assert exit_code == code and read_results(folder / "1")["state"] == state
    assert not (folder / "2").exists()
    if number == signal.SIGTERM:
        states = [row["state"] for row in rows_of(folder)]
        assert states == ["finished", "interrupted", "missing"]
        said = log_dir.with_suffix(".output").read_text()
        assert f"to go on with the whole sweep: resume={folder}" in said
    before = (folder / "0" / "run.log").read_bytes()
    assert main(["train", f"resume={folder}"]) == 0
    assert [row["state"] for row in rows_of(folder)] == ["finished"] * 3
    assert (folder / "0" / "run.log").read_bytes() == before
    assert ["resumed_with" in read_results(folder / job) for job in "012"] == [False, True, False]
    for job in "012":
        assert (folder / job / "run.log").read_text().count("\nepoch 0/2 ") == 1
        assert len((folder / job / "metrics.csv").read_text().splitlines()) == 1 + 3


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_sweep_that_is_stopped_between_its_jobs_has_a_summary(
    number: int, code: int, log_dir: Path
) -> None:
    exit_code, folder = interrupted_sweep(log_dir, number, "multirun.yaml")  # before the first job
    assert exit_code == code
    assert [row["state"] for row in rows_of(folder)][1:] == ["missing"] * 2


@pytest.fixture
def copied_grid(grid: tuple[int, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(grid[1], tmp_path / "grid"))


def test_resuming_runs_failed_jobs_again_and_no_others(copied_grid: Path) -> None:
    before = (copied_grid / "0" / "results.json").read_bytes()
    assert main(["train", f"resume={copied_grid}"]) == 1  # the rate is as bad as it was
    assert [row["state"] for row in rows_of(copied_grid)] == [
        "finished", "failed", "finished", "failed",
    ]  # fmt: skip
    assert (copied_grid / "0" / "results.json").read_bytes() == before


def test_resuming_takes_no_other_words(
    copied_grid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", f"resume={copied_grid}", "seed=3"]) == 1
    assert "seed=3 cannot be changed on resume" in capsys.readouterr().err


def test_a_sweep_whose_words_mean_other_jobs_now_is_not_resumed(
    copied_grid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = yaml.safe_load((copied_grid / "sweep.yaml").read_text())
    sweep["jobs"].pop()
    (copied_grid / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    assert main(["train", f"resume={copied_grid}"]) == 1
    assert "no longer stand for the same 3 jobs" in capsys.readouterr().err


def test_one_process_at_a_time_is_at_work_on_a_sweep(
    copied_grid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with alone_in(copied_grid / "sweep.yaml"):
        assert main(["train", f"resume={copied_grid}"]) == 1
    assert "another process is at work" in capsys.readouterr().err


def test_nobody_moves_the_data_of_a_sweep_at_work(tmp_path: Path) -> None:
    (file := tmp_path / "sweep.yaml").write_text("words: []")
    with alone_in(file), pytest.raises(UserError, match="another process is at work"):
        keep_places(file, {"words": [], "jobs": [[]]}, ["data.root=there"])
    assert file.read_text() == "words: []"  # a new file would be one that nobody has locked


def test_what_may_run_code_counts_only_as_typed(log_dir: Path) -> None:
    sweep(log_dir, "model=mlp", "seed=0,1", "trust=[mine]", "hydra/launcher=basic", "name=kept")
    (folder,) = log_dir.glob("multirun/kept/*")
    words = yaml.safe_load((folder / "sweep.yaml").read_text())["words"]
    assert not [word for word in words if "trust" in word or "hydra" in word]
    assert "seed=0,1" in words


# A sweep's folder may be a stranger's


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("verb", "../../x", "verb ../../x, expected one of train"),
        ("verb", "cli", "verb cli"),
        ("verb", None, "verb None"),
        ("words", ["seed=0,1", "trust=[os]"], "trust=[os], which counts only as typed"),
        ("words", ["hydra.callbacks.x._target_=os.system"], "counts only as typed"),
        ("words", ["+hydra/launcher=x"], "counts only as typed"),
        ("words", "seed=0,1", "no list of text"),
        ("words", [{"seed": 1}], "no list of text"),
        ("jobs", 3, "jobs is no list"),
        ("trend", {"over": {"trust": [["os"]]}, "x": "trust", "lines": "trust"}, "only as typed"),
    ],
)
def test_a_damaged_sweep_is_refused(
    key: str, value: object, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = {"verb": "train", "words": [*FAST, "seed=0,1"], "jobs": [], "trend": None, key: value}
    if key == "trend":
        sweep["jobs"] = [[*FAST, f"seed={n}"] for n in (0, 1)]
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    assert main(["train", f"resume={tmp_path}"]) == 1
    assert words in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["sweep.yaml"]


@pytest.mark.parametrize(
    "key", ["trust", "+callbacks.x._target_", "hydra.launcher", "log_dir", "resume", "a b"]
)
def test_what_a_yaml_varies_never_counts_as_typed(
    key: str, tmp_path: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    sweep = {"over": {"seed": [0, 1], key: ["os"]}, "x": "seed", "lines": "seed"}
    text = "# @package _global_\n" + yaml.safe_dump({"sweep": sweep})
    (tmp_path / "mine" / "experiment" / "theirs.yaml").write_text(text)
    words = ["--config-dir", str(tmp_path / "mine"), "experiment=theirs", f"log_dir={log_dir}"]
    assert main(["train", *words]) == 1
    assert "counts only as typed" in capsys.readouterr().err
    assert not log_dir.exists()
