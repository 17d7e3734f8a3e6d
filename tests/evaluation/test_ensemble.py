"""Several checkpoints as one: the mean of networks with other inputs and orders of classes."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.conftest import train_in
from tests.evaluation.test_evaluate import evaluated, predictions, results

from strided.cli import main
from strided.decision.calibration import Calibration
from strided.errors import UserError
from strided.evaluation.classifier import Classifier, Prediction
from strided.evaluation.members import LEAST_PROBABILITY, members
from strided.runs.predictions_csv import Predictions
from strided.training.decision_file import store_decision

pytestmark = pytest.mark.usefixtures("blank_figures")


@pytest.fixture(scope="module")
def other_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLP on the same split, with another input size."""
    return train_in(tmp_path_factory.mktemp("other"), "model=mlp", "data.image_size=12")


def test_the_answer_is_the_mean_and_it_is_measured_against_each_member(
    trained_run: Path, other_run: Path, log_dir: Path
) -> None:
    folder = evaluated(log_dir, f"checkpoint=[{trained_run},{other_run}]")
    found, runs = results(folder), (trained_run, other_run)
    each, whole = [Predictions.read(run / "predictions.csv") for run in runs], predictions(folder)
    mean = np.log(np.mean([own.probabilities for own in each], axis=0).clip(LEAST_PROBABILITY))
    temperature = found["calibration"]["temperature"]
    expected = np.exp(mean / temperature)
    expected /= expected.sum(1, keepdims=True)
    own = Predictions.read(folder / "predictions.csv")
    assert own.paths == each[0].paths
    assert own.probabilities == pytest.approx(expected, abs=1e-4)
    assert whole[0]["entropy"] and own.sets is not None
    assert found["calibration"]["images"] == 288 and found["ensemble"]["not_calibrated"] is None
    assert 0 < found["test/mutual_information"] < found["test/entropy"] < np.log(10)
    for member, predicted in zip(found["ensemble"]["members"], each, strict=True):
        assert member["acc"] == pytest.approx(predicted.correct.mean())
        only = (own.correct & ~predicted.correct).sum(), (~own.correct & predicted.correct).sum()
        assert (member["only_ensemble_right"], member["only_member_right"]) == only
        low, high = member["acc_difference_ci95"]
        assert low <= member["acc_difference"] <= high and member["p"] <= member["p_holm"] <= 1
    assert folder.parent.name == "ensemble"


def permuted(run: Path, copy: Path) -> Path:
    """A copy of LeNet-5's run whose classes, and outputs, are in the reverse order."""
    shutil.copytree(run, copy)
    file = copy / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(file, weights_only=True)
    checkpoint["hyper_parameters"]["classes"].reverse()
    for name in ("model.output.weight", "model.output.bias"):
        checkpoint["state_dict"][name] = checkpoint["state_dict"][name].flip(0)
    torch.save(checkpoint, file)
    return copy


def test_classes_in_another_order_are_matched_by_name_and_others_are_refused(
    trained_run: Path, tmp_path: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "sweep"
    shutil.copytree(trained_run, sweep / "0")
    permuted(trained_run, sweep / "1")
    shutil.copytree(trained_run / "figures", sweep / "2")  # a job that has not begun
    digits = tmp_path / "digits"
    digits.mkdir()
    Image.linear_gradient("L").resize((32, 32)).save(digits / "a.png")
    (digits / "b.png").write_bytes(b"no picture")
    words = (f"input={digits}", "accelerator=cpu", f"log_dir={log_dir}")
    assert main(["predict", f"checkpoint={sweep}", *words]) == 0
    (folder,) = log_dir.glob("predict/ensemble/*")
    first, second = predictions(folder)
    alone = Classifier.load(trained_run, device="cpu")(digits / "a.png")
    assert isinstance(alone, Prediction)
    assert first["predicted"] == alone.label and second["error"] and not second["predicted"]
    # both members say the same; only the temperature after the mean, close to 1, differs
    for name, p in alone.probabilities.items():
        assert float(first[f"prob/{name}"]) == pytest.approx(p, abs=0.02)

    checkpoint = torch.load(sweep / "1/checkpoints/best.ckpt", weights_only=True)
    checkpoint["hyper_parameters"]["classes"][0] = "ten"
    torch.save(checkpoint, sweep / "1/checkpoints/best.ckpt")
    assert main(["predict", f"checkpoint={sweep}", *words]) == 1
    assert "other classes than the first checkpoint (9, ten" in capsys.readouterr().err
    assert main(["explain", f"checkpoint={sweep}", *words]) == 1
    assert "expected one run. Try checkpoint=" in capsys.readouterr().err


def test_members_without_sets_have_none_together_and_may_choose_some(
    trained_run: Path, tmp_path: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copies = [Path(shutil.copytree(trained_run, tmp_path / name)) for name in "ab"]
    for copy in copies:
        decision = Classifier.load(copy, device="cpu").decision
        assert decision is not None
        store_decision(copy / "checkpoints" / "best.ckpt", replace(decision, sets=None))
    given = f"checkpoint=[{copies[0]},{copies[1]}]"
    assert "sets" not in results(evaluated(log_dir, given))
    assert results(evaluated(log_dir, given, "evaluation.coverage=0.8"))["sets"]["coverage"] == 0.8
    (copies[1] / "val_predictions.csv").unlink()
    assert main(["eval", given, "evaluation.coverage=0.8", f"log_dir={log_dir}"]) == 1
    assert "has not kept what its held-out images gave; expected" in capsys.readouterr().err


def test_members_that_follow_their_held_out_images_choose_nothing_on_them(
    trained_run: Path, other_run: Path, tmp_path: Path, log_dir: Path
) -> None:
    copy = Path(shutil.copytree(trained_run, tmp_path / "vector"))
    decision = Classifier.load(copy, device="cpu").decision
    assert decision is not None and decision.sets is not None
    vector = Calibration("vector", {"weight": [1.0] * 10, "bias": [0.0] * 10})
    store_decision(copy / "checkpoints" / "best.ckpt", replace(decision, calibration=vector))
    found = results(evaluated(log_dir, f"checkpoint=[{other_run},{copy}]"))
    assert "was calibrated by vector, which follows" in found["ensemble"]["not_calibrated"]
    assert "sets" not in found


def test_each_counts_once_and_a_sweep_without_a_finished_job_is_refused(
    trained_run: Path, tmp_path: Path
) -> None:
    assert members(str(trained_run)) == [trained_run / "checkpoints" / "best.ckpt"]
    with pytest.raises(UserError, match="same one twice"):
        members([str(trained_run), str(trained_run / "checkpoints" / "best.ckpt")])
    (tmp_path / "sweep" / "0").mkdir(parents=True)
    with pytest.raises(UserError, match="none has finished"):
        members(str(tmp_path / "sweep"))
