"""Transfer learning: stages, frozen layers, and their resume."""

import csv
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from tests.stopping import TRUST, assert_same_outcome, resume
from tests.training.transfer.transferring import CASE, FailOnce, losses, results, train

from strided.cli import main
from strided.evaluation.classifier import Classifier
from strided.models.pooled import PooledNetwork
from strided.training import fit as fitting

pytestmark = pytest.mark.usefixtures("blank_figures")
STAGES = (
    "transfer=two_stage",
    "transfer.stages.frozen.epochs=2",
    "transfer.stages.fine_tuned.epochs=2",
    "trainer.max_epochs=4",
)


class StopAtStep(pl.Callback):
    """Sends this process a signal after so many optimizer steps of all stages together."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_validation_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == -self.step:  # only the end of the epoch is left
            os.kill(os.getpid(), signal.SIGTERM)


def state(file: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(file, weights_only=True)["state_dict"])


def test_frozen_layers_stay_bit_for_bit(weights: str, log_dir: Path) -> None:
    folder = train(log_dir, weights, "transfer=frozen", "transfer.cache=false")
    before, after = state(Path(weights.partition("=")[2])), state(folder / "checkpoints/last.ckpt")
    backbone = [name for name in after if not name.startswith("model.fc.")]
    assert len(backbone) > 100
    assert all(torch.equal(after[name], before[name]) for name in backbone)
    counts = results(folder)["parameters"]
    assert counts["trainable"] == 32 * 16 + 16 + 16 * 10 + 10
    assert counts["total"] == sum(
        t.numel() for name, t in after.items() if "running" not in name and "batches" not in name
    )


@pytest.mark.parametrize("keep", [True, False])
def test_a_stage_may_keep_the_statistics_of_batch_normalisation(
    weights: str, log_dir: Path, keep: bool
) -> None:
    stage = "transfer.stages.frozen"
    words = ("transfer=frozen", f"{stage}.trainable=all", f"{stage}.keep_statistics={keep}")
    folder = train(log_dir, weights, *words, "trainer.max_epochs=1")
    before, after = state(Path(weights.partition("=")[2])), state(folder / "checkpoints/last.ckpt")
    backbone = [name for name in after if ".fc." not in name]
    same = {name for name in backbone if torch.equal(before[name], after[name])}
    statistics = {name for name in backbone if "running" in name}
    assert len(statistics) > 30 and (statistics <= same) == keep
    assert "model.layer4.0.bn1.weight" not in same and "model.conv1.weight" not in same


def test_a_stage_begins_with_the_best_weights_of_the_one_before(
    weights: str, log_dir: Path
) -> None:
    first = train(log_dir, weights, "transfer=frozen", "trainer.max_epochs=2")
    both = train(log_dir, weights, *STAGES, "transfer.stages.fine_tuned.lr=1e-12")
    assert results(both)["best_val/acc"] == results(first)["best_val/acc"]
    best = state(first / "checkpoints/best.ckpt")
    last = state(both / "checkpoints/last.ckpt")
    parameters = [name for name in best if name.endswith((".weight", ".bias"))]
    assert all(torch.allclose(best[name], last[name], atol=1e-6) for name in parameters)
    assert [row["first_epoch"] for row in results(both)["stages"]] == [0, 2]
    with (both / "metrics.csv").open(newline="") as stream:
        assert [row["epoch"] for row in csv.DictReader(stream)] == ["0", "1", "2", "3"]


@pytest.fixture(scope="module")
def uninterrupted(weights: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stages in one sitting. Read only."""
    return train(tmp_path_factory.mktemp("uninterrupted"), weights, *STAGES)


# 8 steps an epoch: inside a stage, in its last validation, between both, in the second one
@pytest.mark.parametrize("step", [3, 16, -16, 20, -24])
def test_a_run_goes_on_inside_any_stage(
    weights: str, uninterrupted: Path, log_dir: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = (f"callbacks.stop._target_={__name__}.StopAtStep", f"callbacks.stop.step={step}")
    folder = train(log_dir, weights, *STAGES, *(f"+{word}" for word in stop), TRUST, code=143)
    taken_over: list[Path] = []
    between = fitting.go_on_between_stages

    def spy(run: Any, task: Any, checkpoint: Path) -> None:
        taken_over.append(checkpoint)
        between(run, task, checkpoint)

    monkeypatch.setattr(fitting, "go_on_between_stages", spy)
    resume(folder, TRUST)
    # only where the first stage was over: else times would count twice, as this sitting fitted it
    assert len(taken_over) == (step == -16)
    assert_same_outcome(folder, uninterrupted)


def test_muon_goes_on_inside_either_stage_to_the_same_bits(weights: str, log_dir: Path) -> None:
    words = (weights, *STAGES, "optimizer=muon", "scheduler=one_cycle")
    whole = train(log_dir, *words)
    stop = f"+callbacks.stop._target_={__name__}.StopAtStep"
    for step in (3, 20):
        folder = train(log_dir, *words, stop, f"+callbacks.stop.step={step}", TRUST, code=143)
        resume(folder, TRUST)
        assert_same_outcome(folder, whole)


def test_a_stage_that_must_not_stop_yet_is_gone_on_with(weights: str, log_dir: Path) -> None:
    words = ("optimizer.lr=1e-12", "transfer.stages.frozen.epochs=3", "trainer.max_epochs=4")
    least = ("callbacks.early_stopping.patience=1", "trainer.min_epochs=3", weights, *STAGES)
    stop = (f"+callbacks.stop._target_={__name__}.StopAtStep", "+callbacks.stop.step=20", TRUST)
    folder = train(log_dir, *least, *words, *stop, code=143)
    resume(folder, TRUST)
    assert [row["first_epoch"] for row in results(folder)["stages"]] == [0, 3]


def test_more_epochs_than_the_stages_have_add_nothing_and_that_is_said(
    uninterrupted: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    resume(folder, "trainer.max_epochs=9")
    assert "trainer.max_epochs=9 adds nothing" in (folder / "run.log").read_text()
    assert losses(folder) == losses(uninterrupted)


def test_a_run_that_its_limit_ended_between_two_stages_is_resumed_as_complete(
    weights: str, log_dir: Path, tmp_path: Path
) -> None:
    words = ("trainer.max_epochs=2", "callbacks.target.value=0.001")
    whole = train(log_dir, weights, *STAGES, *words)
    folder = Path(shutil.copytree(whole, tmp_path / "run"))
    for name in ("results.json", "predictions.csv", "report.html"):  # killed while it was tested
        (folder / name).unlink()
    resume(folder)
    assert_same_outcome(folder, whole)
    assert results(folder)["epochs_to_target"] == results(whole)["epochs_to_target"] == 1


@pytest.mark.parametrize("ema", ["null", "0.9"])
def test_a_run_goes_on_between_two_stages(
    weights: str, uninterrupted: Path, log_dir: Path, tmp_path: Path, ema: str
) -> None:
    words = (weights, *STAGES, f"callbacks.ema.decay={ema}")
    whole = uninterrupted if ema == "null" else train(log_dir, *words)
    fail = (
        f"+callbacks.fail._target_={FailOnce.__module__}.FailOnce",
        "+callbacks.fail.epoch=2",
        f"+callbacks.fail.mark={tmp_path / 'failed'}",
    )
    folder = train(log_dir, *words, *fail, TRUST, code=1)
    resume(folder, TRUST, fail[-1])  # a path counts only as typed
    assert_same_outcome(folder, whole)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("transfer=frozen",), ["stage frozen", "random", "model.pretrained=true"]),
        (("weights", "transfer=frozen", "transfer.stages.frozen.trainable=layer9"), ["layer4"]),
        (("weights", "transfer=frozen", "transfer.stages.frozen.trainable=7"), ["up to 5"]),
        (("weights", "transfer=two_stage", "transfer.stages.frozen.epochs=null"), ["epochs=10"]),
        (("weights", "transfer=two_stage", "transfer.stages.fine_tuned.trainable=b9"), ["layer4"]),
        (("transfer.stages.fine_tuned.layer_decay=2", "transfer=two_stage"), ["decay=0.75"]),
        (("transfer.stages.fine_tuned.scheduler.gamma=2", "transfer=two_stage"), ["_target_="]),
        (
            ("weights", "transfer=frozen", "augment=strong", "transfer.cached_views=0"),
            ["cached_views=5"],
        ),
        (("weights", "transfer=frozen", "transfer.stages.frozen.epoch=3"), ["epochs"]),
        (("weights", "transfer=frozen", "transfer.cache=true", "augment=mixup"), ["mixup"]),
        (("weights", "transfer=frozen", "transfer.stages.tuned.lr=1"), ["~transfer.stages.tuned"]),
        (("model.head=flat",), ["flatten_mlp"]),
        (("model.head=pooled",), ["pools no block", "model.pooled=["]),
        (("model.pooled=[layer1]",), ["only model.head=pooled reads it"]),
        (("model.head_dropout=1.0",), ["head_dropout=0.5"]),
        (("model.head=original", "model.head_dropout=0.5"), ["head=linear"]),
    ],
)
def test_mistakes_say_what_to_try(
    words: tuple[str, ...],
    expected: list[str],
    request: pytest.FixtureRequest,
    log_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [request.getfixturevalue("weights") if word == "weights" else word for word in words]
    capsys.readouterr()
    assert main(["train", *CASE, *given, f"log_dir={log_dir}"]) == 1
    message = capsys.readouterr().err
    assert len(message.splitlines()) <= 15
    assert "Traceback" not in message
    for part in expected:
        assert part in message
    assert not list(log_dir.glob("train/*/*/metrics.csv"))  # nothing was trained


def test_a_fast_dev_run_tries_each_stage(weights: str, log_dir: Path) -> None:
    folder = train(log_dir, weights, *STAGES, "debug=fast_dev_run")
    assert [row["name"] for row in results(folder)["stages"]] == ["frozen", "fine_tuned"]


def test_from_scratch_has_the_input_of_the_weights_and_none_of_them(
    weights: str, log_dir: Path
) -> None:
    scratch = train(log_dir, weights, "transfer=scratch", "trainer.max_epochs=1")
    tuned = train(log_dir, weights, "trainer.max_epochs=1")
    assert results(scratch)["preprocessing"] == results(tuned)["preprocessing"]
    assert "tensors loaded" not in (scratch / "run.log").read_text(encoding="utf-8")
    tuned_log = (tuned / "run.log").read_text(encoding="utf-8")
    assert "tensors loaded" in tuned_log


@pytest.mark.parametrize(("few", "is_said"), [(10_000, True), (10, False)])
def test_that_all_layers_are_trained_is_said_of_few_images_once(
    few: int, is_said: bool, weights: str, log_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strided.training.fit.FEW", few)
    log = train(log_dir, weights, "trainer.max_epochs=1") / "run.log"
    assert log.read_text(encoding="utf-8").count("usually does better") == is_said


def test_a_pooled_head_is_trained_on_its_kept_features_loaded_and_fine_tuned(
    weights: str, log_dir: Path
) -> None:
    words = (weights, "model.head=pooled", "model.head_hidden=256", "model.pooled=[layer1,layer2]")
    folder = train(log_dir, *words, "transfer=frozen", "transfer.cache=true")
    assert results(folder)["stages"][0]["features"]["shape"] == [2 * (16 + 32)]
    names = state(folder / "checkpoints/best.ckpt")
    assert not any("layer3" in name for name in names)
    loaded = Classifier.load(folder)
    assert isinstance(loaded.task.model, PooledNetwork)
    assert main(["eval", f"checkpoint={folder}", f"log_dir={log_dir}"]) == 0
    tuned = train(log_dir, *words, *STAGES)
    assert not all(
        torch.equal(names[name], tensor)
        for name, tensor in state(tuned / "checkpoints/last.ckpt").items()
        if "layer2" in name
    )
