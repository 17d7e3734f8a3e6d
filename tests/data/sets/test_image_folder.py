"""Runs on folders of images: splits that lack, broken and repeated images, grey ones."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.conftest import Train, files, with_splits

pytestmark = pytest.mark.usefixtures("blank_figures")


def results(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return loaded


def run_log(folder: Path) -> str:
    return (folder / "run.log").read_text()


def test_a_folder_without_a_test_split_is_measured_on_validation_and_not_tested(
    image_folder: Path, run_train: Train
) -> None:
    root = with_splits(image_folder, "train", "val")
    folder = run_train(
        "data=image_folder", f"data.root={root}", "data.image_size=32", "data.batch_size=8"
    )
    found = results(folder)
    assert found["splits"] == {"train": 24, "val": 24} and found["state"] == "finished"
    assert not any(key.startswith("test") for key in found)
    assert not {"confusion", "overlap"} & found.keys()
    assert "no test split: nothing was tested" in run_log(folder)
    assert f"val accuracy {found['val/acc']:.4f}" in run_log(folder)
    assert found["val/acc"] == pytest.approx(found["best_val/acc"])
    assert sum(map(sum, found["val_confusion"])) == 24 and found["val_overlap"]["shared"] == 0
    assert "predictions.csv" not in files(folder)
    with (folder / "val_predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    right = sum(row["label"] == row["predicted"] for row in rows)
    assert len(rows) == 24 and right / 24 == pytest.approx(found["val/acc"])
    assert {"figures/confusion.png", "figures/reliability.png"} < files(folder)
    page = (folder / "report.html").read_text()
    assert "Nothing was tested: these are figures of validation, and flatter." in page
    assert f'Validation accuracy</p><p class="value digits">{found["val/acc"]:.2%}<' in page
    assert "the epoch with their best val/acc was kept" in page and ">Test</h2>" not in page
    assert f"{found['val/recall/red']:.4f}" in page


def test_broken_images_are_skipped_on_demand_and_counted(
    image_folder: Path, run_train: Train
) -> None:
    (image_folder / "red" / "broken.png").write_bytes(b"not an image")
    whole = (image_folder / "blue" / "0.jpg").read_bytes()
    (image_folder / "blue" / "half.jpg").write_bytes(whole[: len(whole) // 2])
    folder = run_train(
        "data=image_folder",
        f"data.root={image_folder}",
        "data.image_size=32",
        "data.on_error=skip",
    )
    assert results(folder)["skipped"] == 2
    assert sum(results(folder)["splits"].values()) == 24
    assert "2 of 26 images cannot be read" in run_log(folder)


def test_images_in_two_splits_are_reported(image_folder: Path, run_train: Train) -> None:
    root = with_splits(image_folder, "train", "val", "test")
    shutil.copy(root / "train" / "red" / "0.png", root / "test" / "red" / "copy.png")
    folder = run_train("data=image_folder", f"data.root={root}", "data.image_size=32")
    assert results(folder)["duplicates"] == 1
    assert "pixels of one in another split" in run_log(folder)
    assert "test/red/copy.png = train/red/0.png" in run_log(folder) or (
        "train/red/0.png = test/red/copy.png" in run_log(folder)
    )


def test_a_grey_folder_trains_a_network_of_one_channel(
    image_folder: Path, run_train: Train
) -> None:
    for file in image_folder.rglob("*.*"):
        Image.open(file).convert("L").save(file)
    folder = run_train("data=image_folder", f"data.root={image_folder}", "data.image_size=32")
    assert results(folder)["preprocessing"]["channels"] == 1
    assert results(folder)["parameters"]["total"] < 61_706  # 3 classes rather than 10
    assert "the images are grey" in run_log(folder)


def test_what_is_left_out_is_said_everywhere(image_folder: Path, run_train: Train) -> None:
    (image_folder / "empty").mkdir()
    (image_folder / "red" / "notes.txt").write_text("no image")
    (image_folder / "red" / "1").write_text("no image")
    words = ("data=image_folder", f"data.root={image_folder}", "data.image_size=32")
    folder = run_train(*words, "data.on_error=skip")
    found = results(folder)
    assert found["folders_left_out"] == {"empty/": "empty, or only hidden files"}
    assert found["ignored_files"] == 2
    assert found["ignored_by_ending"] == {".txt": 1, "no ending": 1}
    for text in (run_log(folder), (folder / "report.html").read_text()):
        assert "empty/" in text and "1 .txt, 1 no ending" in text
    assert "images of each class: blue 8, green 8, red 8" in run_log(folder)
