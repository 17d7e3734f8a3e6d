"""Small runs that begin with the weights of another."""

import csv
import json
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from strided.cli import main

# ResNet-18 with few maps, so that its checkpoints are small; test_cut.py has whole networks
NARROW = ("model=timm", "model.name=resnet18", "model.channels=[16,32,32,32]")
BACKBONE = (*NARROW, "model.stem=imagenet")
# 9 batches an epoch, batch normalisation, and dropout in the head
NETWORK = (*BACKBONE, "model.head=mlp", "model.head_hidden=16")
DATA = ("data=digits", "data.train_fraction=0.1", "data.batch_size=16", "data.image_size=16")
# what is measured does not matter here, only that it stays the same
MEASURED = ("trainer.limit_val_batches=4", "trainer.limit_test_batches=4")
CASE = (*NETWORK, *DATA, *MEASURED, "trainer=cpu", "scheduler=cosine", "trainer.max_epochs=2")


def train(log_dir: Path, *words: str, code: int = 0) -> Path:
    before = set(log_dir.glob("train/*/*"))
    assert main(["train", *CASE, *words, f"log_dir={log_dir}"]) == code
    (folder,) = set(log_dir.glob("train/*/*")) - before
    return folder


class FailOnce(pl.Callback):
    """Raises an error in the first batch of an epoch, once."""

    def __init__(self, epoch: int, mark: str) -> None:
        self.epoch, self.mark = epoch, Path(mark)

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.current_epoch == self.epoch and not self.mark.exists():
            self.mark.touch()
            raise RuntimeError("as a kill would, nothing is saved")


def results(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return loaded


def losses(folder: Path) -> list[float]:
    with (folder / "metrics.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [float(row[name]) for row in rows for name in ("train/loss", "val/loss")]
