"""Predicting with published ImageNet weights: real photographs, never random weights."""

import csv
import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from PIL import Image

from strided.cli import main
from strided.errors import UserError
from strided.evaluation.imagenet import _state_of_file, imagenet_classes, pretrained_task
from strided.evaluation.predict_files import most_probable
from strided.models import torchvision_model
from strided.models.offline_weights import PACKAGES

PACKAGE = PACKAGES["tf_efficientnet_lite0"].name
RESNET = {"_target_": "strided.models.torchvision_model", "name": "resnet18", "stem": "auto"}


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """The two photographs of scikit-learn: a Chinese palace, a flower like a daisy."""
    from sklearn.datasets import load_sample_image

    folder = tmp_path / "photographs"
    folder.mkdir()
    for name in ("china", "flower"):
        Image.fromarray(load_sample_image(f"{name}.jpg")).save(folder / f"{name}.png")
    return folder


@pytest.mark.skipif(not find_spec(PACKAGE), reason=f"{PACKAGE} is not installed")
def test_photographs_are_recognised_without_any_training(
    photographs: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["model=efficientnet_lite0", "model.pretrained=true", f"input={photographs}"]
    assert main(["predict", *words, "accelerator=cpu", f"log_dir={log_dir}"]) == 0
    (folder,) = log_dir.glob("predict/efficientnet_lite0/*")
    with (folder / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["predicted"] for row in rows] == ["palace", "daisy"]
    assert len(rows[0]) == 4 + 1000
    assert sum(float(rows[0][f"prob/{name}"]) for name in imagenet_classes()) == pytest.approx(
        1, abs=1e-3
    )
    results = json.loads((folder / "results.json").read_text())
    assert results["state"] == "finished" and results["classes"] == imagenet_classes()
    shown = next(line for line in capsys.readouterr().out.splitlines() if "flower.png" in line)
    assert shown.startswith("flower.png: daisy (0.") and shown.count("(0.") == 5


def _imagenet_file(file: Path, num_classes: int = 1000) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(torchvision_model("resnet18", num_classes).state_dict(), file)
    return str(file)


def test_torchvision_weights_come_from_its_cache_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = _imagenet_file(tmp_path / "hub/checkpoints/resnet18-f37072fd.pth")
    cached = pretrained_task({**RESNET, "pretrained": True, "weights": None})
    given = pretrained_task({**RESNET, "pretrained": False, "weights": file})
    images = torch.rand(1, 3, 224, 224)
    torch.testing.assert_close(cached.eval()(images), given.eval()(images))
    assert cached.preprocessing == given.preprocessing
    assert cached.preprocessing.crop_fraction == 224 / 256
    assert cached.preprocessing.mean == (0.485, 0.456, 0.406)
    assert cached.classes[207] == "golden retriever"


def test_weights_for_other_classes_are_refused(tmp_path: Path) -> None:
    file = _imagenet_file(tmp_path / "w.pth", num_classes=7)
    with pytest.raises(UserError, match=r"no output for ImageNet's 1,000.*Expected.*Try"):
        pretrained_task({**RESNET, "weights": file})


def test_a_checkpoint_of_strided_is_sent_to_where_its_classes_are_known(trained_run: Path) -> None:
    file = trained_run / "checkpoints" / "best.ckpt"
    with pytest.raises(UserError, match=r"on other classes.*Try checkpoint=.*best\.ckpt"):
        _state_of_file(file)


def test_the_best_five_are_shown_where_there_are_more_classes() -> None:
    assert most_probable([0.1, 0.6, 0.3], "abc") == "b (0.600)"
    six = most_probable([0.1, 0.3, 0.25, 0.2, 0.05, 0.1], "abcdef")
    assert six == "b (0.300), c (0.250), d (0.200), a (0.100), f (0.100)"
