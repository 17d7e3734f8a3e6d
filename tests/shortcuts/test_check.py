"""The shortcut check warns of a planted shortcut, and is silent where the subject decides."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from tests.conftest import Train

from strided.cli import main

pytestmark = pytest.mark.usefixtures("blank_figures")
SIDE, MIDDLE = 32, slice(10, 22)
NETWORK = ("model=resnet18", "model.stem=imagenet")
POOLED = ("model.head=pooled", "model.pooled=[layer1]")
SOLVED = ("transfer=frozen", "optimizer=lbfgs", "optimizer.l2=0.03", "shortcuts=true")


def bars(index: int, label: int) -> np.ndarray:
    """Noise with bars in the middle: across or upright, which nothing else tells apart."""
    noise = np.random.default_rng([index, label])
    pixels = noise.normal(90, 20, (SIDE, SIDE))
    bar = np.where(np.arange(12) // 2 % 2, 120, 0)[:, None] * np.ones((1, 12))
    pixels[MIDDLE, MIDDLE] += bar if label else bar.T
    return pixels


def bright_border(index: int, label: int) -> np.ndarray:
    """The same bars, drawn by lot; the border of class 1 is brighter."""
    pixels = bars(index, int(np.random.default_rng(index + 1000 * label).integers(2)))
    border = np.ones((SIDE, SIDE), dtype=bool)
    border[4:-4, 4:-4] = False
    pixels[border] += 60 * label
    return pixels


def write_set(root: Path, draw: Any) -> Path:
    """Write 160 grey pictures of two classes, and their table; names and sizes tell nothing."""
    order = np.random.default_rng(0).permutation(160).tolist()
    rows = []
    for index, number in enumerate(order):
        label = index % 2
        pixels = draw(index, label).clip(0, 255).astype(np.uint8)
        root.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(root / f"{number:03d}.bmp")
        rows.append([f"{number:03d}.bmp", "ab"[label], f"machine {label}", str(index)])
    with (root / "table.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["path", "label", "source", "id"], *rows])
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """`model.weights=` of a network that was not trained: its filters see edges all the same."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(torchvision.models.resnet18().state_dict(), file)
    return f"model.weights={file}"


def checked(log_dir: Path, root: Path, *words: str) -> tuple[Path, dict[str, Any]]:
    """Solve a head on the frozen network's features of a set, and check it."""
    data = ("trainer=cpu", "data=csv", f"data.csv={root / 'table.csv'}", f"data.image_size={SIDE}")
    folds = ("data.test_fraction=0.4", "data.val_fraction=0.1", "data.channels=3")
    assert main(["train", *NETWORK, *SOLVED, *data, *folds, *words, f"log_dir={log_dir}"]) == 0
    (folder,) = log_dir.glob("train/*/*")
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())["shortcuts"]
    return folder, found


def test_it_warns_of_a_border_that_tells_the_class(
    log_dir: Path, weights: str, tmp_path: Path
) -> None:
    root = write_set(tmp_path / "planted", bright_border)
    folder, found = checked(log_dir, root, weights, "model.head=linear")
    assert found["images"] == 64 and found["model"] >= 60
    assert found["baselines"]["the border alone"]["hits"] >= 60
    assert found["again"]["without the centre"]["hits"] >= 60
    assert found["again"]["only the centre"]["hits"] <= 50
    assert len(found["verdict"]["warnings"]) == 2
    page = (folder / "report.html").read_text()
    assert "Warning, a shortcut is likely. With the centre" in page
    assert "Does it take a shortcut?" in page and "trained again, only the centre" in page
    assert "shortcut: With the centre" in (folder / "run.log").read_text()
    assert found["columns"]["source"]["hits"] == 64 and found["id_like"]["id"]["images"] == 64


def test_near_copies_are_found_in_other_splits_and_among_other_images(
    log_dir: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_set(tmp_path / "planted", bright_border)
    others = tmp_path / "others"
    others.mkdir()
    (others / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for file in root.glob("*.bmp"):  # of each split, written anew
        Image.open(file).save(others / f"{file.stem}.jpg", quality=95)
    _, found = checked(log_dir, root, weights, "model.head=linear", f"data.external={others}")
    copies = found["near_copies"]
    assert copies["external"] == 161 and copies["tested"] == found["images"] == copies["pairs"]
    for tested, other, place, likeness in copies["first"]:
        assert Path(tested).stem == Path(other).stem and place == "data.external" and likeness > 0.9
    assert main(["train", "data=digits", f"data.external={others}", f"log_dir={log_dir}"]) == 1
    assert "Try shortcuts=true with it" in capsys.readouterr().err
    missing = ("shortcuts=true", f"data.external={tmp_path / 'none'}", f"log_dir={log_dir}")
    assert main(["train", "data=digits", *missing]) == 1
    assert "data.external=" in (error := capsys.readouterr().err) and "gives no image" in error


def test_it_is_silent_where_the_subject_tells_the_class(
    log_dir: Path, weights: str, tmp_path: Path
) -> None:
    root = write_set(tmp_path / "honest", bars)
    folder, found = checked(log_dir, root, weights, *POOLED)
    assert found["model"] >= 60
    assert found["again"]["as it is"]["hits"] == found["model"]
    assert found["again"]["only the centre"]["hits"] >= 60
    assert found["verdict"]["warnings"] == []
    page = (folder / "report.html").read_text()
    assert "Warning" not in page and "Nothing found speaks for a shortcut" in page
    with (folder / "label_suspects.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    errors = len(rows)
    assert errors == 64 - found["model"]
    _, seen = checked(log_dir / "views", root, weights, *POOLED, "evaluation.views=flip")
    assert "again" not in seen and "not measured on kept features" in seen["why_not_again"]
    assert "evaluation.views" in seen["why_not_again"]


def test_a_network_that_was_trained_whole_is_only_tested_on_altered_images(
    run_train: Train,
) -> None:
    folder = run_train("shortcuts=true", "data.train_fraction=0.3")
    found = json.loads((folder / "results.json").read_text())["shortcuts"]
    assert "again" not in found and "kept features" in found["why_not_again"]
    assert found["columns"] == {} and found["id_like"] == {}  # digits are no files
    assert {"hits", "images", "before"} == set(found["stress"]["noise"])
    assert found["why_not_again"] in (folder / "report.html").read_text()
