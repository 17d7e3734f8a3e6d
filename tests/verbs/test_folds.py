"""Folds through the verbs: a sweep over them, results.json, eval, resume and mistakes."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Train, with_splits

from strided.cli import main

pytestmark = pytest.mark.usefixtures("blank_figures")

QUICK = ("model=mlp_small", "data=image_folder", "data.image_size=8", "data.val_fraction=0.2")


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return found


def paths_of(folder: Path) -> list[str]:
    with (folder / "predictions.csv").open(newline="") as stream:
        return [row["path"] for row in csv.DictReader(stream)]


def evaluated(log_dir: Path, *words: str, code: int = 0) -> Path:
    before = set(log_dir.glob("eval/*/*"))
    assert main(["eval", *words, f"log_dir={log_dir}"]) == code
    (folder,) = set(log_dir.glob("eval/*/*")) - before
    return folder


def test_a_sweep_over_the_folds_tests_every_image_once(image_folder: Path, log_dir: Path) -> None:
    words = ["data.num_folds=3", "data.fold=range(3)", f"data.root={image_folder}", "name=folds"]
    words += ["trainer=cpu", "trainer.max_epochs=1", f"log_dir={log_dir}"]
    assert main(["train", "-m", *QUICK, *words]) == 0
    (sweep,) = log_dir.glob("multirun/folds/*")
    found = [results(sweep / job) for job in "012"]
    assert [(run["fold"], run["num_folds"]) for run in found] == [(0, 3), (1, 3), (2, 3)]
    assert len({run["partition_hash"] for run in found}) == 1
    assert len({run["split_hash"] for run in found}) == 3
    paths = [path for job in "012" for path in paths_of(sweep / job)]
    assert len(paths) == len(set(paths)) == 24


def test_eval_measures_the_fold_and_refuses_another(
    image_folder: Path, run_train: Train, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = with_splits(image_folder, "train", "test")
    place = (f"data.root={root}", "data.num_folds=3", "data.fold=1")
    run = run_train(*QUICK, *place)
    for words in ([], ["data=image_folder", *place, "data.val_fraction=0.2"]):
        again = evaluated(log_dir, f"checkpoint={run}", *words)
        assert results(again)["fold"] == 1 and paths_of(again) == paths_of(run)
        assert results(again)["test/acc"] == results(run)["test/acc"]
        assert results(again)["overlap"]["shared"] == 0
    evaluated(log_dir, f"checkpoint={run}", "data.fold=2", code=1)
    assert "data.fold=2 would split the training data in another way" in capsys.readouterr().err
    evaluated(log_dir, f"checkpoint={run}", "data=image_folder", f"data.root={root}", code=1)
    assert "Try data.val_fraction=0.2 data.num_folds=3 data.fold=1" in capsys.readouterr().err
    # the data set's own test split, and the same images at another place
    own = ("data.num_folds=null", "data.fold=null", "overlap=exclude")
    untouched = results(evaluated(log_dir, f"checkpoint={run}", *own))
    assert untouched["splits"] == {"test": 24} and untouched["overlap"]["shared"] == 0
    moved = Path(shutil.copytree(root, root.with_name("moved")))
    assert paths_of(evaluated(log_dir, f"checkpoint={run}", f"data.root={moved}")) == paths_of(run)


def test_images_from_elsewhere_are_not_folded(
    image_folder: Path, run_train: Train, log_dir: Path
) -> None:
    run = run_train(*QUICK, f"data.root={image_folder}", "data.num_folds=3", "data.fold=0")
    elsewhere = with_splits(image_folder, "train", "test")
    shutil.rmtree(elsewhere / "train")
    for file in sorted(elsewhere.rglob("*.*"))[::2]:
        file.unlink()
    for file in elsewhere.rglob("*.*"):
        file.write_bytes(_mirrored(file))
    found = results(evaluated(log_dir, f"checkpoint={run}", f"data.root={elsewhere}"))
    assert found["splits"] == {"test": 12} and "fold" not in found


def _mirrored(file: Path) -> bytes:
    from PIL import Image, ImageOps

    ImageOps.mirror(Image.open(file)).save(file)
    return file.read_bytes()


def test_a_resume_keeps_the_fold(image_folder: Path, run_train: Train) -> None:
    words = (f"data.root={image_folder}", "data.num_folds=3", "data.fold=2")
    run = run_train(*QUICK, *words)
    before = results(run)
    assert main(["train", f"resume={run}", "trainer.max_epochs=2"]) == 0
    assert results(run)["split_hash"] == before["split_hash"] and results(run)["fold"] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.num_folds=3", "data.fold=3"], "expected the fold to test, 0 to 2"),
        (["data.fold=1"], "without data.num_folds"),
        (
            ["data.num_folds=3", "data.fold=1", "data.test_fraction=0.3"],
            "data.test_fraction=0.3 would do nothing: the fold is the test split",
        ),
        (["data.num_folds=9", "data.fold=1"], "has 8 readable images"),
    ],
)
def test_folds_that_cannot_be_are_refused(
    image_folder: Path,
    log_dir: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    place = [f"data.root={image_folder}", "trainer=cpu", f"log_dir={log_dir}"]
    assert main(["train", *QUICK, *place, *words]) == 1
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_a_sweep_over_folds_refuses_a_test_fraction_before_its_first_job(
    image_folder: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data.num_folds=3", "data.fold=0,1,2", "data.test_fraction=0.3", f"log_dir={log_dir}"]
    assert main(["train", "-m", *QUICK, f"data.root={image_folder}", *words]) == 1
    assert "the fold is the test split" in capsys.readouterr().err
    assert not log_dir.exists()
