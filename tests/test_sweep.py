import csv
from pathlib import Path

import pytest
import yaml

from strided.cli import main
from strided.run import read_results
from strided.sweep import summarise

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
    assert page.count("<tr>") == 5
    assert "http" not in page


def test_each_job_has_a_whole_run_folder(grid: tuple[int, Path]) -> None:
    folder = grid[1]
    files = {entry.name for entry in folder.iterdir()} - {"multirun.yaml"}  # which Hydra writes
    assert files == {"0", "1", "2", "3", "summary.csv", "summary.html"}
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


def test_a_sweep_of_seeds_finishes_with_code_0(log_dir: Path) -> None:
    assert sweep(log_dir, "model=mlp", "seed=0,1", "name=seeds") == 0
    (folder,) = log_dir.glob("multirun/seeds/*")
    assert [read_results(folder / job)["seed"] for job in "01"] == [0, 1]


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


@pytest.mark.parametrize("results", [None, '{"state": "running", "command": ["seed=1"]}'])
def test_a_job_that_was_killed_has_a_row(results: str | None, tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    if results is not None:
        (tmp_path / "0" / "results.json").write_text(results)
    assert summarise(tmp_path) == 1
    (row,) = rows_of(tmp_path)
    assert row["state"] == "killed" and row.get("seed", "") == ("1" if results else "")


def test_a_sweep_over_many_models_has_a_short_name(log_dir: Path) -> None:
    models = "model=mlp,lenet5,alexnet,vgg16,resnet18,googlenet"
    assert sweep(log_dir, models, "data.batch_size=0") == 1  # each job fails at once
    (folder,) = log_dir.glob("multirun/*/*")
    assert folder.parent.name == "mlp-digits+5-more"
    assert [row["state"] for row in rows_of(folder)] == ["failed"] * 6


def test_jobs_are_listed_by_number(tmp_path: Path) -> None:
    for job in range(12):
        (tmp_path / str(job)).mkdir()
    summarise(tmp_path)
    assert [row["job"] for row in rows_of(tmp_path)] == [str(job) for job in range(12)]
