"""How soon a metric reaches a value: in seconds, epochs and FLOPs."""

from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Train
from tests.stopping import results, rows, train

from strided.errors import UserError
from strided.models import build_model
from strided.models.macs import count_macs
from strided.training import Target

pytestmark = pytest.mark.usefixtures("blank_figures")
IMAGES = 230  # training images
FEW = ("data.train_fraction=0.2", "data.batch_size=23")


def flops_of_lenet5() -> int:
    """Of training on an image: three times its multiply-adds, less a gradient of the image."""
    import torch

    net: Any = build_model(
        {"_target_": "strided.models.LeNet5"}, num_classes=10, in_channels=1, image_size=32
    )
    first = count_macs(net.c1, torch.zeros(1, 1, 32, 32))
    return 2 * (3 * count_macs(net, torch.zeros(1, 1, 32, 32)) - first)


def test_a_run_stops_at_its_target_and_says_what_it_took(run_train: Train) -> None:
    target = ("callbacks.target.value=0.5", "callbacks.target.stop=true")
    folder = run_train("trainer.max_epochs=30", *FEW, *target)
    found, epochs = results(folder), len(rows(folder))
    accuracies = [float(row["val/acc"]) for row in rows(folder)]
    assert epochs < 30 and accuracies[-1] >= 0.5 > max(accuracies[:-1], default=0.0)
    assert found["epochs_to_target"] == epochs
    assert found["flops_to_target"] == epochs * IMAGES * flops_of_lenet5()
    assert 0 < found["seconds_to_target"] <= found["train_seconds"]
    assert "reached 0.5 after" in (folder / "run.log").read_text()


def test_a_target_of_the_first_stage_ends_a_run_of_two(run_train: Train, trained_run: Path) -> None:
    words = (
        f"model.weights={trained_run}/checkpoints/best.ckpt",
        "transfer=two_stage",
        "trainer.max_epochs=9",
        *FEW,
    )
    folder = run_train(*words, "callbacks.target.value=0.001", "callbacks.target.stop=true")
    assert len(rows(folder)) == 1 and [s["name"] for s in results(folder)["stages"]] == ["frozen"]
    assert "before epoch 1: callbacks.target was reached" in (folder / "run.log").read_text()


def test_validations_inside_an_epoch_count_a_part_of_it(run_train: Train) -> None:
    # by a name of its own: results.json says what was to be reached
    aim = ("+callbacks.aim._target_=strided.training.Target", "+callbacks.aim.value=0.001")
    folder = run_train(*FEW, "trainer.val_check_interval=0.5", *aim)
    found = results(folder)
    assert found["target"] == {"monitor": "val/acc", "value": 0.001}
    assert "target 0.1 % after" in (folder / "report.html").read_text()
    assert found["epochs_to_target"] == 0.5
    assert found["flops_to_target"] == IMAGES // 2 * flops_of_lenet5()


def test_a_target_that_is_not_reached_has_no_figures(run_train: Train, log_dir: Path) -> None:
    words = ("callbacks.target.value=1e-9", "callbacks.target.monitor=val/loss")
    found = results(run_train(*FEW, *words))
    assert [found[f"{what}_to_target"] for what in ("seconds", "epochs", "flops")] == [None] * 3


def test_a_diverged_run_has_not_reached_what_its_first_class_gives(
    log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("optimizer=sgd", "optimizer.lr=1e30", "callbacks.target.value=0.01")
    train(log_dir, *words, "trainer.max_epochs=1", code=1)
    assert "loss became nan" in capsys.readouterr().err
    (folder,) = log_dir.glob("train/*/*")
    assert results(folder)["target"] and results(folder)["epochs_to_target"] is None


def test_percent_are_refused() -> None:
    with pytest.raises(UserError, match=r"callbacks\.target\.value=94.*value <= 1\. Try"):
        Target(94)
