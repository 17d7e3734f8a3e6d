"""The gate of a run: fitted in training, asked by test, eval, predict and from Python."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images
from tests.conftest import train_in, with_splits, write_images

from strided.cli import main
from strided.decision.gate import REASONS, Gated
from strided.evaluation import gating
from strided.evaluation.classifier import Classifier
from strided.evaluation.members import gated_together
from strided.runs.predictions_csv import Predictions

SQUEEZENET = ("model=torchvision", "model.name=squeezenet1_1", "data.image_size=64")

pytestmark = pytest.mark.usefixtures("blank_figures")


@pytest.fixture(scope="module")
def gated_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_in(tmp_path_factory.mktemp("gated"), "evaluation.gate=knn")


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def results_of(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return found


def new_folder(log_dir: Path, verb: str) -> Path:
    (folder,) = log_dir.glob(f"{verb}/*/*")
    return folder


def test_the_test_counts_what_is_refused_and_measures_the_rest(gated_run: Path) -> None:
    rows, results = rows_of(gated_run), results_of(gated_run)
    refused = [row for row in rows if row["route"] == "refused"]
    gate = results["gate"]
    assert isinstance(gate, dict)
    measured = gate["measured"]
    assert (gate["method"], gate["false_alarms"], gate["layer"]) == ("knn", 0.05, "output")
    assert measured["refused"] == len(refused) > 0
    assert measured["images"] == len(rows)
    assert results["tested"] == len(rows) - len(refused)
    assert measured["share"] < 0.15  # 5 % are asked for
    for row in rows:
        is_refused = row in refused
        assert (float(row["ood"]) > 1) == is_refused
        assert (row["predicted"] == "") == is_refused
        assert (row["prob/0"] == "") == is_refused
        assert not (is_refused and row["prediction_set"])
        assert set(filter(None, row["reasons"].split("|"))) <= REASONS.keys()


def test_validation_keeps_what_the_gate_refuses_as_the_calibration_is_fitted_on_it(
    tmp_path: Path,
) -> None:
    root = with_splits(write_images(tmp_path / "images"), "train", "val")
    words = ["data=image_folder", f"data.root={root}", "data.image_size=32"]
    words += ["evaluation.gate=mahalanobis", "evaluation.false_alarms=0.4"]
    folder = train_in(tmp_path / "logs", *words)
    gate = results_of(folder)["gate"]
    assert isinstance(gate, dict) and gate["measured"]["refused"] > 0
    with (folder / "val_predictions.csv").open(newline="") as stream:
        refused = [row for row in csv.DictReader(stream) if float(row["ood"]) > 1]
    assert len(refused) == gate["measured"]["refused"]
    assert all(row["predicted"] and row["prob/red"] and row["reasons"] for row in refused)
    assert len(Predictions.read(folder / "val_predictions.csv").paths) == 24


def test_eval_refuses_the_same_images(gated_run: Path, log_dir: Path) -> None:
    assert main(["eval", f"checkpoint={gated_run}", f"log_dir={log_dir}"]) == 0
    folder = new_folder(log_dir, "eval")
    assert rows_of(folder) == rows_of(gated_run)
    assert results_of(folder)["gate"] == results_of(gated_run)["gate"]


def test_a_gate_stays_where_the_calibration_is_taken_away(gated_run: Path, log_dir: Path) -> None:
    assert main(["eval", f"checkpoint={gated_run}", "calibration=none", f"log_dir={log_dir}"]) == 0
    found, known = (results_of(folder) for folder in (new_folder(log_dir, "eval"), gated_run))
    assert found["gate"] == known["gate"] and "sets" not in found
    assert "test/ece_raw" not in found


def test_an_ensemble_refuses_what_most_of_its_gates_refuse(
    gated_run: Path, tmp_path: Path, log_dir: Path
) -> None:
    words = ["model=mlp_small", "evaluation.gate=mahalanobis", "evaluation.false_alarms=0.2"]
    runs = [gated_run, train_in(tmp_path / "second", *words)]
    assert main(["eval", f"checkpoint=[{runs[0]},{runs[1]}]", f"log_dir={log_dir}"]) == 0
    folder = new_folder(log_dir, "eval")
    scores = [[float(row["ood"]) for row in rows_of(run)] for run in (*runs, folder)]
    assert scores[2] == pytest.approx(np.mean(scores[:2], axis=0), rel=1e-4)
    refused = [row for row in rows_of(folder) if row["route"] == "refused"]
    assert 0 < len(refused) == sum(score > 1 for score in scores[2])
    assert all(row["reasons"] and not row["prob/0"] for row in refused)
    gate = results_of(folder)["gate"]
    assert isinstance(gate, dict) and gate["measured"]["refused"] == len(refused)
    assert f"refused (median), and so are a few of this kind: {len(refused)} of the" in (
        folder / "card.md"
    ).read_text(encoding="utf-8")

    Image.new("L", (8, 8)).save(tmp_path / "blank.png")
    given = [f"checkpoint=[{runs[0]},{runs[1]}]", f"input={tmp_path / 'blank.png'}"]
    assert main(["predict", *given, f"log_dir={log_dir}"]) == 0
    (row,) = rows_of(new_folder(log_dir, "predict"))
    assert row["route"] == "refused" and row["predicted"] == "" and float(row["ood"]) > 1


def test_the_median_of_three_gates_is_that_of_most() -> None:
    each = [
        Gated(np.array([2.0, 2.0, 0.5]), ["unusual_contrast", "unusual_layout", ""]),
        None,
        Gated(np.array([0.4, 3.0, 0.5]), ["", "unusual_layout|unusual_colour", ""]),
        Gated(np.array([0.5, 0.1, 9.0]), ["", "", "unusual_picture"]),
    ]
    found = gated_together(each)
    assert found and found.ood.tolist() == [0.5, 2.0, 0.5]
    assert found.reasons == ["", "unusual_layout|unusual_colour", ""]
    assert gated_together([None, None]) is None


def test_predict_refuses_what_is_no_digit(gated_run: Path, log_dir: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    pixels = (load_digits().images[-30:] / 16 * 255).astype(np.uint8)
    for number, digit in enumerate(pixels):
        Image.fromarray(digit).save(photos / f"own{number:02d}.png")
    for number, photo in enumerate(load_sample_images().images):
        for part in range(10):
            Image.fromarray(photo[40 * part : 40 * part + 40, 100:140]).save(
                photos / f"photo{number}{part}.png"
            )
    Image.new("L", (8, 8)).save(photos / "blank.png")
    command = ["predict", f"checkpoint={gated_run}", f"input={photos}", f"log_dir={log_dir}"]
    assert main(command) == 0
    folder = new_folder(log_dir, "predict")
    refused = {row["path"]: row["route"] == "refused" for row in rows_of(folder)}
    assert sum(refused[name] for name in refused if name.startswith("own")) <= 6
    assert sum(refused[name] for name in refused if name.startswith("photo")) >= 19
    assert refused["blank.png"]
    refusals = results_of(folder)["refusals"]
    assert isinstance(refusals, dict)
    assert refusals["refused"] == sum(refused.values())
    command = ["explain", f"checkpoint={gated_run}", f"input={photos / 'blank.png'}", "maps=1"]
    assert main([*command, "methods=[occlusion]", f"log_dir={log_dir}"]) == 0
    images = results_of(new_folder(log_dir, "explain"))["images"]
    assert isinstance(images, list)
    assert images[0]["predicted"] and images[0]["refused"].startswith("unusual_")


def test_python_gets_the_reason_in_place_of_a_class(gated_run: Path) -> None:
    classifier = Classifier.load(gated_run, device="cpu")
    photo = load_sample_images().images[0][:200, :200]
    refused = classifier(photo)
    assert (refused.label, refused.probabilities) == ("", {})  # type: ignore[union-attr]
    assert refused.refused  # type: ignore[union-attr]
    digit = classifier((load_digits().images[0] / 16 * 255).astype(np.uint8))
    assert digit.label == "0"  # type: ignore[union-attr]


def test_a_head_on_kept_features_refuses_what_the_whole_network_does(
    gated_run: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without validation images, limits come from training images that were left out in turn."""
    weights = f"model.weights={gated_run / 'checkpoints' / 'best.ckpt'}"
    solved = ("transfer=frozen", "optimizer=lbfgs", "data.val_fraction=0", "trainer=cpu")
    command = ["train", weights, *solved, "evaluation.gate=mahalanobis", f"log_dir={log_dir}"]
    assert main(command) == 0
    run = new_folder(log_dir, "train")
    gate = results_of(run)["gate"]
    assert isinstance(gate, dict)
    assert gate["out_of_fold"]
    assert 0 < gate["measured"]["share"] < 0.15
    assert main(["eval", f"checkpoint={run}", f"log_dir={log_dir}"]) == 0
    whole = rows_of(new_folder(log_dir, "eval"))
    kept = rows_of(run)
    assert [row["route"] for row in whole] == [row["route"] for row in kept]
    ood = [[float(row["ood"]) for row in rows] for rows in (whole, kept)]
    assert ood[0] == pytest.approx(ood[1], rel=1e-3)
    assert main(["eval", f"checkpoint={run}", "split=val", f"log_dir={log_dir}"]) == 1
    assert "split=val of digits has no image; expected" in capsys.readouterr().err


def test_no_more_images_count_than_the_limits_are_chosen_on(
    monkeypatch: pytest.MonkeyPatch, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gating, "MOST_IMAGES", 10)
    command = ["train", "trainer=cpu", "trainer.max_epochs=1", "evaluation.gate=knn"]
    assert main([*command, f"log_dir={log_dir}"]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "but 10 images are held out" in said and "epoch 0" not in said


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("data.val_fraction=0.01",), "images are held out of training; expected 19 or more"),
        (("evaluation.false_alarms=0.001",), "expected 999 or more"),
        (
            ("model=torchvision", "model.name=squeezenet1_1", "data.image_size=64"),
            "the last linear layer is given",
        ),
    ],
)
def test_a_gate_that_could_not_be_fitted_is_refused_before_training(
    overrides: tuple[str, ...], told: str, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "trainer=cpu", "trainer.max_epochs=1", "evaluation.gate=knn", *overrides]
    assert main([*command, f"log_dir={log_dir}"]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert told in said
    assert "epoch 0" not in said


@pytest.mark.parametrize(
    "change",
    [
        lambda saved: saved["gate"].pop("features.axes"),
        lambda saved: saved["gate"].update({"looks.mean": torch.ones(1).expand(1 << 40)}),
        lambda saved: saved["gate"].update({"looks.mean": torch.full((25,), torch.nan)}),
        lambda saved: saved["decision"]["gate"].update({"layer": "c1"}),
        lambda saved: saved["decision"]["gate"].update({"limits": [1.0, "1"]}),
        lambda saved: saved["decision"]["gate"].update({"limits": [1.0, 10**400]}),
        lambda saved: saved["gate"].update({"looks.rest": torch.ones(1, requires_grad=True)}),
        lambda saved: saved["gate"].update(
            {f"looks.{name}": torch.ones(29) for name in ("mean", "scale")}
            | {"looks.axes": torch.ones(29, len(saved["gate"]["looks.spread"]))}
        ),
        lambda saved: saved.update({"gate": ["no", "mapping"]}),
    ],
)
def test_a_strangers_gate_is_refused(
    change: object, gated_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = torch.load(gated_run / "checkpoints" / "best.ckpt", weights_only=True)
    change(checkpoint["strided"])  # type: ignore[operator]
    file = tmp_path / "strange.ckpt"
    torch.save(checkpoint, file)
    assert main(["eval", f"checkpoint={file}", f"log_dir={tmp_path}"]) == 1
    assert "cannot be used: " in capsys.readouterr().err
