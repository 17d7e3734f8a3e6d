"""Run folders that version 0.1.0 wrote, before its modules were laid out anew.

They are as users have them on their disks, but for pictures, pages, logs and some checkpoints: a
finished run, a sweep of two jobs, a search of two trials, and a run in the second of its stages and
a search in its only trial that SIGTERM stopped. Their configs and checkpoints name classes where
these were then. Whoever breaks a test here breaks a user's old run: mend the code, not the folders.
"""

import csv
import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import strided
from strided.cli import main

FOLDERS = Path(__file__).parent / "data" / "run_0_1"
RUNS = ("run", "sweep/0", "sweep/1", "search/1", "interrupted", "stopped_search/0")
TESTED = ("run", "sweep/0", "sweep/1")
NUM_TESTED = 72
ONE_IMAGE = 1.01 / NUM_TESTED  # as far as another machine's rounding may move an accuracy
TIMING = ("epoch_seconds", "images_per_second")
NAMES_IN_CONFIGS = (
    "strided.callbacks.Checkpoint",
    "strided.callbacks.EMA",
    "strided.data.BatchAugment",
    "strided.data.Digits",
    "strided.gradients.GradientNorms",
    "strided.losses.CrossEntropy",
    "strided.losses.FocalLoss",
    "strided.models.MLP",
    "strided.pruning.Pruning",
    "strided.rates.LearningRateFinder",
    "strided.schedules.OneCycle",
    "strided.schedules.Plateau",
    "strided.schedules.cosine",
    "strided.space.Search",
    "strided.transfer.Stage",
    "strided.transfer.Transfer",
)
NAMES_IN_CHECKPOINTS = (
    "strided.data.Digits",
    "strided.losses.CrossEntropy",
    "strided.losses.FocalLoss",
    "strided.models.MLP",
    "strided.schedules.OneCycle",
    "strided.schedules.Plateau",
    "strided.schedules.cosine",
)


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folders, to be changed at will, where relative paths in them begin."""
    copied = Path(shutil.copytree(FOLDERS, tmp_path / "old"))
    monkeypatch.chdir(copied)
    return copied


def results(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return loaded


def rows(file: Path) -> list[dict[str, str]]:
    """A table without the columns of times."""
    with file.open(newline="") as stream:
        found = list(csv.DictReader(stream))
    return [{k: v for k, v in row.items() if k not in TIMING} for row in found]


def measured(folder: Path) -> dict[str, Any]:
    return {key: value for key, value in results(folder).items() if key.startswith("test/")}


def assert_same_measures(one: Path, two: Path) -> None:
    """The keys of `two`, which may be older, and its numbers as far as other machines have them."""
    first, second = measured(one), measured(two)
    assert first.keys() >= second.keys() and "test/acc" in second
    assert first["test/acc"] == pytest.approx(second["test/acc"], abs=ONE_IMAGE)
    assert first["test/loss"] == pytest.approx(second["test/loss"], rel=1e-3)


@cache
def digits() -> np.ndarray:
    from sklearn.datasets import load_digits

    return np.asarray((load_digits().images * 255 / 16).round().astype(np.uint8))


def digit(number: int) -> np.ndarray:
    """One of scikit-learn's digits, as training sees it."""
    return np.asarray(digits()[number])


@pytest.mark.parametrize("name", NAMES_IN_CONFIGS)
def test_the_old_configs_name_what_they_are_kept_for(name: str) -> None:
    files = [*FOLDERS.rglob("config.yaml"), FOLDERS / "search" / "search.yaml"]
    lines = [line.strip() for file in files for line in file.read_text().splitlines()]
    assert f"_target_: {name}" in lines


@pytest.mark.parametrize("name", NAMES_IN_CHECKPOINTS)
def test_the_old_checkpoints_name_what_they_are_kept_for(name: str) -> None:
    files = FOLDERS.rglob("best.ckpt")
    assert any(name.encode() in file.read_bytes() for file in files)


@pytest.mark.parametrize("name", RUNS)
def test_the_network_of_an_old_run_classifies_an_array(name: str, old: Path) -> None:
    prediction: Any = strided.load(str(old / name), device="cpu")(digit(0))
    assert sum(prediction.probabilities.values()) == pytest.approx(1)
    assert prediction.label in results(old / name)["classes"]


@pytest.mark.parametrize("name", TESTED)
def test_the_network_of_an_old_run_has_the_probabilities_it_had(name: str, old: Path) -> None:
    table = rows(old / name / "predictions.csv")
    classifier = strided.load(str(old / name), device="cpu")
    predictions: Any = classifier([digit(int(row["path"])) for row in table])
    assert len(table) == NUM_TESTED
    for row, prediction in zip(table, predictions, strict=True):
        expected = {label: float(row[f"prob/{label}"]) for label in classifier.classes}
        assert prediction.probabilities == pytest.approx(expected, abs=1e-4)


def test_an_old_checkpoint_can_be_loaded_by_its_file(old: Path) -> None:
    file = old / "interrupted" / "checkpoints" / "last.ckpt"
    prediction: Any = strided.load(str(file), device="cpu")(digit(0))
    assert prediction.label in results(old / "interrupted")["classes"]


@pytest.mark.parametrize("name", TESTED)
def test_eval_of_an_old_run_measures_what_it_measured(name: str, old: Path, log_dir: Path) -> None:
    words = [f"checkpoint={old / name}", "accelerator=cpu", f"log_dir={log_dir}"]
    assert main(["eval", *words]) == 0
    (folder,) = log_dir.glob("eval/*/*")
    assert_same_measures(folder, old / name)
    assert len(rows(folder / "predictions.csv")) == NUM_TESTED


def test_predict_takes_an_old_run(old: Path, log_dir: Path) -> None:
    row = rows(old / "run" / "predictions.csv")[0]
    Image.fromarray(digit(int(row["path"]))).save(old / "digit.png")
    words = [f"checkpoint={old / 'run'}", f"input={old / 'digit.png'}", "accelerator=cpu"]
    assert main(["predict", *words, f"log_dir={log_dir}"]) == 0
    (folder,) = log_dir.glob("predict/run/*")
    (found,) = rows(folder / "predictions.csv")
    assert found["predicted"] == row["predicted"]


def test_an_old_run_that_was_stopped_goes_on_to_more_epochs(old: Path) -> None:
    folder = old / "interrupted"
    before = {name: rows(folder / name) for name in ("metrics.csv", "gradients.csv")}
    assert results(folder)["state"] == "interrupted" and len(before["metrics.csv"]) == 1
    assert main(["train", f"resume={folder}", "trainer.max_epochs=4"]) == 0
    found = results(folder)
    assert found["state"] == "finished" and "test/acc" in found
    assert [stage["name"] for stage in found["stages"]] == ["frozen", "fine_tuned"]
    assert found["resumed_with"] == [["trainer.max_epochs=4"]] and found["fit_finished"] == 4
    table = rows(folder / "metrics.csv")
    assert [row["epoch"] for row in table] == ["0", "1", "2", "3"]
    assert table[:1] == before["metrics.csv"]
    norms = rows(folder / "gradients.csv")
    assert norms[: len(before["gradients.csv"])] == before["gradients.csv"]
    assert len(norms) == 4 * 2  # epochs, layers
    assert float(table[-1]["train/loss"]) < float(table[0]["train/loss"])


def test_an_old_finished_run_is_complete(old: Path) -> None:
    folder = old / "run"
    table = rows(folder / "metrics.csv")
    assert main(["train", f"resume={folder}"]) == 0
    assert rows(folder / "metrics.csv") == table
    assert results(folder)["state"] == "finished"
    assert_same_measures(folder, FOLDERS / "run")
    assert (folder / "report.html").is_file()


@pytest.mark.parametrize(("name", "epochs"), [("run", 2), ("sweep/0", 1)])
def test_an_old_finished_run_can_be_asked_for_more_epochs(
    name: str, epochs: int, old: Path
) -> None:
    folder = old / name
    table = rows(folder / "metrics.csv")
    assert main(["train", f"resume={folder}", f"trainer.max_epochs={epochs + 1}"]) == 0
    longer = rows(folder / "metrics.csv")
    assert longer[:epochs] == table and len(longer) == epochs + 1
    assert results(folder)["state"] == "finished"
    assert measured(folder).keys() >= measured(FOLDERS / name).keys()


def test_old_runs_can_be_compared(old: Path, log_dir: Path) -> None:
    runs = [old / "run", old / "sweep" / "1", old / "search" / "best"]
    words = [f"runs=[{','.join(map(str, runs))}]", f"log_dir={log_dir}"]
    assert main(["compare", *words]) == 0
    (folder,) = log_dir.glob("compare/runs/*")
    found = results(folder)
    assert [row["acc"] for row in found["runs"]] == [results(run)["test/acc"] for run in runs]
    assert len(found["pairs"]) == 3 and all("p" in pair for pair in found["pairs"])


def test_nothing_is_left_of_an_old_sweep(old: Path) -> None:
    folder = old / "sweep"
    table = rows(folder / "summary.csv")
    before = [(folder / job / "results.json").read_bytes() for job in "01"]
    assert main(["train", f"resume={folder}"]) == 0
    assert [(folder / job / "results.json").read_bytes() for job in "01"] == before
    assert rows(folder / "summary.csv") == table
    assert [row["state"] for row in table] == ["finished", "finished"]


def test_nothing_is_left_of_an_old_search(old: Path) -> None:
    folder = old / "search"
    table, best = rows(folder / "summary.csv"), json.loads((folder / "best.json").read_text())
    assert main(["train", f"resume={folder}"]) == 0
    assert rows(folder / "summary.csv") == table
    found = json.loads((folder / "best.json").read_text())
    assert found.keys() >= best.keys()
    assert all(found[key] == best[key] for key in ("trial", "best_val/acc", "overrides", "command"))
    assert_same_measures(folder / "best", FOLDERS / "search" / "best")


def test_an_old_search_that_was_stopped_goes_on(old: Path) -> None:
    folder = old / "stopped_search"
    before = rows(folder / "0" / "metrics.csv")
    assert not (folder / "best.json").exists()
    assert main(["train", f"resume={folder}"]) == 0
    assert [row["state"] for row in rows(folder / "summary.csv")] == ["finished"]
    table = rows(folder / "0" / "metrics.csv")
    assert table[:1] == before and len(table) == 2
    assert results(folder / "0")["resumed_with"] == [[]]
    assert "test/acc" in results(folder / "best")


def test_an_old_search_can_be_asked_for_more_trials(old: Path) -> None:
    folder = old / "search"
    table = rows(folder / "summary.csv")
    assert main(["train", f"resume={folder}", "search.num_trials=3"]) == 0
    longer = rows(folder / "summary.csv")
    assert longer[:2] == table and len(longer) == 3
    assert longer[2]["state"] == "finished" and "test/acc" in results(folder / "best")
