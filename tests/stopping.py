"""Runs that are stopped and resumed: a case with everything random, and what to compare."""

import csv
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from strided.cli import main

TIMING = ("epoch_seconds", "images_per_second")
TRUST = f"trust=[{__name__.partition('.')[0]}]"
# 8 batches an epoch; everything random that a network and its data can have
CASE = (
    "model=mlp",
    "model.dropout=0.3",
    "augment=standard",
    "scheduler=cosine",
    "data=digits",
    "data.train_fraction=0.2",
    "data.batch_size=32",
    "trainer=cpu",
)


class StopAt(pl.Callback):
    """Sends this process a signal after so many batches, as a user or a cluster would."""

    def __init__(self, batch: int, number: int) -> None:
        self.batch, self.number = batch, number

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.fit_loop.total_batch_idx + 1 == self.batch:
            os.kill(os.getpid(), self.number)


def stopping(batch: int, number: int = signal.SIGTERM) -> list[str]:
    return [
        TRUST,
        f"+callbacks.stop._target_={__name__}.StopAt",
        f"+callbacks.stop.batch={batch}",
        f"+callbacks.stop.number={int(number)}",
    ]


def train(log_dir: Path, *words: str, code: int = 0) -> Path:
    """Run in this process, expecting an exit code; return the new run folder."""
    before = set(log_dir.glob("train/*/*"))
    assert main(["train", *CASE, *words, f"log_dir={log_dir}"]) == code
    (folder,) = set(log_dir.glob("train/*/*")) - before
    return folder


def resume(folder: Path, *words: str, code: int = 0) -> None:
    assert main(["train", f"resume={folder}", *words]) == code


def rows(folder: Path) -> list[dict[str, str]]:
    """metrics.csv without the columns of times."""
    with (folder / "metrics.csv").open(newline="") as stream:
        found = list(csv.DictReader(stream))
    return [{k: v for k, v in row.items() if k not in TIMING} for row in found]


def results(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return loaded


def checkpoint(folder: Path, name: str) -> dict[str, Any]:
    return dict(torch.load(folder / "checkpoints" / name, weights_only=True))


def same_weights(one: Path, two: Path, name: str) -> bool:
    first, second = (checkpoint(folder, name)["state_dict"] for folder in (one, two))
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def assert_same_outcome(resumed: Path, uninterrupted: Path) -> None:
    assert rows(resumed) == rows(uninterrupted)
    assert same_weights(resumed, uninterrupted, "best.ckpt")
    assert same_weights(resumed, uninterrupted, "last.ckpt")
    one, two = results(resumed), results(uninterrupted)
    assert one["state"] == two["state"] == "finished"
    keys = {key for key in two if key.startswith(("test/", "best_", "split"))}
    assert {key: one.get(key) for key in keys} == {key: two[key] for key in keys}
    names = ("predictions.csv", "report.html", "figures/loss.png", "run.log")
    assert all((resumed / name).is_file() for name in names)
    predictions = [(folder / "predictions.csv").read_bytes() for folder in (resumed, uninterrupted)]
    assert predictions[0] == predictions[1]


@contextmanager
def forked(
    work: Callable[[], object], output: Path, session: bool = False
) -> Iterator[ForkProcess]:
    """Do some work in a process that does not outlive the test; the result is the exit code.

    It is forked from this process, which has imported torch already: a new one would take longer
    to import it than to work. `session`: with its children it is a process group, as in a terminal.
    """
    process = get_context("fork").Process(target=_work, args=(work, output, session))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # this process has threads: idle ones
        process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def _work(work: Callable[[], object], output: Path, session: bool) -> None:
    if session:
        os.setsid()
    with output.open("ab") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
    sys.exit(work())  # type: ignore[arg-type]
