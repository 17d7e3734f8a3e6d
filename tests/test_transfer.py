"""Transfer learning: stages, frozen layers, kept features, and their resume."""

import csv
import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import nn

from strided.cli import main
from strided.features import Cut, CutError
from strided.models import build_model
from strided.models.blocks import anatomy
from strided.transfer import freeze, parts
from tests.test_resume import assert_same_outcome, resume

# 9 batches an epoch, batch normalisation, and dropout in the head
NETWORK = ("model=resnet18", "model.stem=imagenet", "model.head=mlp", "model.head_hidden=16")
DATA = ("data=digits", "data.train_fraction=0.1", "data.batch_size=16", "data.image_size=16")
CASE = (*NETWORK, *DATA, "trainer=cpu", "scheduler=cosine", "trainer.max_epochs=2")
STAGES = (
    "transfer=two_stage",
    "transfer.stages.frozen.epochs=2",
    "transfer.stages.fine_tuned.epochs=2",
    "trainer.max_epochs=4",
)


def train(log_dir: Path, *words: str, code: int = 0) -> Path:
    before = set(log_dir.glob("train/*/*"))
    assert main(["train", *CASE, *words, f"log_dir={log_dir}"]) == code
    (folder,) = set(log_dir.glob("train/*/*")) - before
    return folder


class StopAtStep(pl.Callback):
    """Sends this process a signal after so many optimizer steps of all stages together."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def results(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return loaded


def losses(folder: Path) -> list[float]:
    with (folder / "metrics.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [float(row[name]) for row in rows for name in ("train/loss", "val/loss")]


def state(file: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(file, weights_only=True)["state_dict"])


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """`model.weights=` of a run of the same network, with another head."""
    folder = train(tmp_path_factory.mktemp("weights"), "trainer.max_epochs=1", "model.head=linear")
    return f"model.weights={folder / 'checkpoints' / 'best.ckpt'}"


def test_frozen_layers_stay_bit_for_bit(weights: str, log_dir: Path) -> None:
    folder = train(log_dir, weights, "transfer=frozen", "transfer.cache=false")
    before, after = state(Path(weights.partition("=")[2])), state(folder / "checkpoints/last.ckpt")
    backbone = [name for name in after if not name.startswith("model.fc.")]
    assert len(backbone) > 100
    assert all(torch.equal(after[name], before[name]) for name in backbone)
    counts = results(folder)["parameters"]
    assert counts["trainable"] == 512 * 16 + 16 + 16 * 10 + 10
    assert counts["total"] == sum(
        t.numel() for name, t in after.items() if "running" not in name and "batches" not in name
    )


@pytest.mark.parametrize("stage", ["head", "1", "layer3"])
def test_losses_on_kept_features_are_those_on_images(
    weights: str, log_dir: Path, stage: str
) -> None:
    words = (weights, "transfer=frozen", f"transfer.stages.frozen.trainable={stage}")
    kept = train(log_dir, *words, "transfer.cache=true")
    computed = train(log_dir, *words, "transfer.cache=false")
    assert losses(kept) == pytest.approx(losses(computed), abs=1e-5)
    (row,) = results(kept)["stages"]
    images = results(kept)["splits"]["train"] + results(kept)["splits"]["val"]
    assert row["features"]["bytes"] == 4 * math.prod(row["features"]["shape"]) * images
    assert "features" not in results(computed)["stages"][0]


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


# 8 steps an epoch: inside a stage, between both, in the second one, after its first epoch
@pytest.mark.parametrize("step", [3, 16, 20, 24])
def test_a_run_goes_on_inside_any_stage(
    weights: str, uninterrupted: Path, log_dir: Path, step: int
) -> None:
    stop = (f"callbacks.stop._target_={__name__}.StopAtStep", f"callbacks.stop.step={step}")
    trust = f"trust=[{__name__.partition('.')[0]}]"
    folder = train(log_dir, weights, *STAGES, *(f"+{word}" for word in stop), trust, code=143)
    resume(folder, trust)
    assert_same_outcome(folder, uninterrupted)
