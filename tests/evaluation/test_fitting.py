"""The decision of a run: fitted on validation, kept in best.ckpt, the same in every verb."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.conftest import Train
from tests.evaluation.test_evaluate import evaluated, predictions, results

import strided
from strided.cli import main
from strided.decision.calibration import Calibration, ece
from strided.decision.decision import VALIDATION
from strided.errors import UserError
from strided.evaluation.classifier import Classifier, Prediction
from strided.evaluation.fitting import HeldOut, fit_decision
from strided.evaluation.held_out import set_up_data
from strided.evaluation.outputs import outputs_of
from strided.runs.predictions_csv import Predictions
from strided.training.decision_file import store_decision

pytestmark = pytest.mark.usefixtures("blank_figures")


def outputs(classifier: Classifier, split: str) -> tuple[np.ndarray, np.ndarray]:
    data = set_up_data(classifier, None)
    logits, labels = outputs_of(classifier, data, split, data.splits[split])
    return logits.numpy(), labels.numpy()


def test_the_temperature_is_of_validation_and_the_figures_are_of_what_predict_gives(
    trained_run: Path,
) -> None:
    found, classifier = results(trained_run), strided.load(trained_run, device="cpu")
    val, test = (outputs(classifier, split) for split in ("val", "test"))
    own = Calibration.fit("temperature", *val)
    assert found["calibration"]["temperature"] == pytest.approx(own.temperature, rel=1e-6)
    assert found["calibration"]["images"] == found["splits"]["val"] == 288
    calibrated, raw = own.probabilities(test[0]), Calibration().probabilities(test[0])
    assert found["test/ece"] == pytest.approx(ece(calibrated, test[1]), abs=1e-6)
    assert found["test/ece_raw"] == pytest.approx(ece(raw, test[1]), abs=1e-6)
    assert found["test/loss"] == pytest.approx(found["test/nll_raw"], abs=1e-5)
    assert found["test/nll"] < found["test/nll_raw"]  # after two epochs it is not sure enough
    tested = Predictions.read(trained_run / "predictions.csv")
    assert np.sort(tested.probabilities.ravel()) == pytest.approx(
        np.sort(calibrated.ravel()), abs=1e-6
    )
    kept = Predictions.read(trained_run / "val_predictions.csv")
    assert len(kept.paths) == 288 and kept.correct.mean() == found["best_val/acc"]


def test_a_picture_has_the_probabilities_and_the_set_of_the_test(trained_run: Path) -> None:
    classifier = strided.load(trained_run, device="cpu")
    data = set_up_data(classifier, None)
    row = predictions(trained_run)[0]
    pixels = data.picture("test", data.paths("test").index(row["path"]))
    answer = classifier(pixels)
    assert isinstance(answer, Prediction)
    assert answer.label == row["predicted"]
    assert answer.prediction_set is not None
    assert "|".join(answer.prediction_set) == row["prediction_set"]
    named = [float(row[f"prob/{name}"]) for name in classifier.classes]
    assert list(answer.probabilities.values()) == pytest.approx(named, abs=1e-6)
    logs = [p * np.log(p) for p in answer.probabilities.values()]
    assert float(row["entropy"]) == pytest.approx(-sum(logs), abs=1e-5)


def test_eval_takes_the_calibration_away_and_chooses_other_sets_without_data_of_training(
    trained_run: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = results(trained_run)
    plain = results(evaluated(log_dir, f"checkpoint={trained_run}", "calibration=none"))
    assert plain["test/ece"] == pytest.approx(known["test/ece_raw"])
    assert plain["test/brier"] == pytest.approx(known["test/brier_raw"])
    assert "test/ece_raw" not in plain and "sets" not in plain
    words = ("evaluation.coverage=0.99", "evaluation.sets=aps")
    wider = results(evaluated(log_dir, f"checkpoint={trained_run}", *words))
    assert (wider["sets"]["method"], wider["sets"]["coverage"]) == ("aps", 0.99)
    assert wider["test/set_size"] > known["test/set_size"]
    assert wider["test/set_coverage"] > known["test/set_coverage"] > 0.8
    assert wider["test/acc"] == known["test/acc"]
    evaluated(log_dir, f"checkpoint={trained_run}", "calibration=platt", code=1)
    assert "Try src/train.py calibration=platt" in capsys.readouterr().err


def test_an_older_checkpoint_gives_plain_probabilities_and_no_other_sets(
    copied_run: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store_decision(copied_run / "checkpoints" / "best.ckpt", None)
    classifier = Classifier.load(copied_run, device="cpu")
    assert classifier.decision is None
    logits = torch.tensor([[1.0, 2.0, 3.0]])
    assert torch.equal(classifier.probabilities(logits), logits.softmax(1).double())
    evaluated(log_dir, f"checkpoint={copied_run}", "evaluation.coverage=0.5", code=1)
    assert "Try training again" in capsys.readouterr().err


def test_a_decision_that_is_there_is_not_written_again(copied_run: Path) -> None:
    file = copied_run / "checkpoints" / "best.ckpt"
    before = file.stat().st_mtime_ns
    decision = Classifier.load(copied_run, device="cpu").decision
    store_decision(file, decision)
    assert file.stat().st_mtime_ns == before
    store_decision(file, None)
    store_decision(file, decision)
    again = Classifier.load(copied_run, device="cpu").decision
    assert again is not None and decision is not None and again.to_dict() == decision.to_dict()


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("calibration", {"method": "temperature", "temperature": -1.0}),
        ("sets", {"method": "lac", "coverage": 2, "threshold": 0.5, "images": 1}),
        ("scores", {"confidence": [0.5], "correct": [1, 0], "labels": {}}),
        ("fitted_on", "the test"),
        ("calibration", {"method": "temperature", "temperature": 10**400}),
        ("operating_point", {"sensitivity": 0.9, "thresholds": [torch.zeros(1)] * 10}),
    ],
)
def test_a_damaged_decision_is_refused(copied_run: Path, part: str, value: Any) -> None:
    file = copied_run / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(file, weights_only=True)
    checkpoint["strided"]["decision"][part] = value
    torch.save(checkpoint, file)
    with pytest.raises(UserError, match=r"best.ckpt cannot be used: .*; expected .* Try"):
        Classifier.load(copied_run, device="cpu")


def test_scores_of_other_classes_are_refused(copied_run: Path) -> None:
    file = copied_run / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(file, weights_only=True)
    scores = checkpoint["strided"]["decision"]["scores"]
    scores["classes"][0] = 10
    torch.save(checkpoint, file)
    with pytest.raises(UserError, match="calibration images are of other classes; expected"):
        Classifier.load(copied_run, device="cpu")


def test_a_calibration_that_ranks_anew_does_not_flatter_the_gap(run_train: Train) -> None:
    found = results(run_train("calibration=isotonic"))
    told = f"{found['best_val/acc']:.1%}"
    assert any(f"and {told} (" in line for line in found["diagnosis"]["evidence"])


@pytest.mark.parametrize("word", ["evaluation.gate=knn", "triage.copise=1"])
def test_eval_refuses_a_key_that_only_training_has_or_none(
    trained_run: Path, log_dir: Path, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    assert main(["eval", f"checkpoint={trained_run}", word, f"log_dir={log_dir}"]) == 1
    message = capsys.readouterr().err
    assert "is no key of eval; expected" in message
    assert ("Try it with src/train.py" if "gate" in word else "Did you mean copies") in message


def test_few_validation_images_calibrate_nothing_unless_asked_to(run_train: Train) -> None:
    folder = run_train("data.val_fraction=0.05")
    found = results(folder)
    assert found["splits"]["val"] < 100
    assert found["calibration"]["method"] == "none" and found["calibration"]["temperature"] is None
    assert "test/ece_raw" not in found and found["test/set_coverage"] > 0.7
    assert found["test/nll"] == pytest.approx(found["test/loss"], abs=1e-5)


@pytest.mark.parametrize(
    ("method", "fraction", "told"),
    [
        ("isotonic", 0.05, "held-out images; expected 10 of each class or more"),
        ("vector", 0.002, "Try calibration=temperature, or a larger data.val_fraction"),
    ],
)
def test_a_calibration_on_a_handful_of_images_is_refused_before_training(
    log_dir: Path, capsys: pytest.CaptureFixture[str], method: str, fraction: float, told: str
) -> None:
    words = ["trainer=cpu", f"data.val_fraction={fraction}", f"calibration={method}"]
    assert main(["train", *words, f"log_dir={log_dir}"]) == 1
    error = capsys.readouterr().err
    assert f"calibration={method}, but" in error and told in error and "Traceback" not in error
    assert not list(log_dir.glob("train/*/*/checkpoints/*"))


def test_a_temperature_of_three_images_is_refused() -> None:
    held = HeldOut(np.eye(3), np.arange(3), ["a", "b", "c"], np.arange(3), VALIDATION)
    config: Any = {"calibration": "temperature"}
    with pytest.raises(UserError, match="3 images are held out of training; expected 10 or more"):
        fit_decision(config, held, ["0", "1", "2"])
