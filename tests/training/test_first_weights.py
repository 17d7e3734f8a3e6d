"""Filters that are made of training images, and stay as they are."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.conftest import Train
from tests.stopping import TRUST, assert_same_outcome, checkpoint, results, resume, stopping

from strided.cli import main
from strided.training.first_weights import some_training_images

pytestmark = pytest.mark.usefixtures("blank_figures")
WORDS = (
    "model=airbench",
    "model.widths=[8,16,16]",
    "data=digits",
    "data.image_size=16",
    "data.train_fraction=0.2",
    "data.batch_size=32",
    "optimizer=sgd",
    "optimizer.norm_bias_factor=16",
    "trainer=cpu",
    "trainer.max_epochs=2",
)


def trained(log_dir: Path, *words: str, code: int = 0) -> Path:
    assert main(["train", *WORDS, *words, f"log_dir={log_dir}"]) == code
    (folder,) = log_dir.glob("train/*/*")
    return folder


def test_whitening_filters_stay_also_in_a_resumed_run_which_ends_with_the_same_bits(
    log_dir: Path, tmp_path: Path
) -> None:
    long = trained(log_dir)
    folder = trained(tmp_path / "stopped", *stopping(5), code=143)
    before = checkpoint(folder, "last.ckpt")["state_dict"]
    resume(folder, TRUST)
    assert_same_outcome(folder, long)
    after = checkpoint(folder, "last.ckpt")["state_dict"]
    kept = "model.stem.weight"
    assert torch.equal(after[kept], before[kept]) and torch.equal(after[kept][4:], -after[kept][:4])
    assert not torch.equal(after["model.stem.bias"], before["model.stem.bias"])
    counts = results(folder)["parameters"]
    assert counts["total"] - counts["trainable"] == before[kept].numel()


def test_loaded_weights_take_the_place_of_made_ones(run_train: Train, trained_run: Path) -> None:
    weights = f"model.weights={trained_run}/checkpoints/best.ckpt"
    words = ("model.whitening=true", "model.dirac=true", weights, "optimizer.lr=1e-9")
    folder = run_train(*words, "data.train_fraction=0.1")
    one, two = (checkpoint(f, "best.ckpt")["state_dict"] for f in (folder, trained_run))
    assert torch.equal(one["model.c1.weight"], two["model.c1.weight"])
    torch.testing.assert_close(one["model.c3.weight"], two["model.c3.weight"], atol=1e-6, rtol=0)


@pytest.mark.parametrize(("size", "most"), [(16, 5000), (32, 5000), (224, 102), (9999, 1)])
def test_of_large_images_fewer_are_whitened(size: int, most: int) -> None:
    asked: list[tuple[str, int]] = []
    data: Any = SimpleNamespace(
        preprocessing=SimpleNamespace(image_size=size),
        spread=lambda *given: asked.append(given),
        loader=lambda split, indices: [],
    )
    assert list(some_training_images(data)) == [] and asked == [("train", most)]
