"""A run whose process is killed, and resumed, ends as if nothing had happened."""

import fcntl
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import yaml
from tests.stopping import (
    CASE,
    TRUST,
    assert_same_outcome,
    checkpoint,
    forked,
    results,
    resume,
    rows,
    train,
)

from strided.cli import main
from strided.config.yaml_files import CONF_DIR

pytestmark = pytest.mark.usefixtures("blank_figures")

ROOT = CONF_DIR.parent


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three epochs of the case in one session. Read only."""
    return train(tmp_path_factory.mktemp("uninterrupted"), "trainer.max_epochs=3")


class Killed(BaseException):
    """Stands for a power cut: nothing catches it."""


@pytest.mark.parametrize("epoch", [0, 1])
@pytest.mark.parametrize("name", ["last.ckpt", "best.ckpt"])
def test_a_kill_inside_a_save_leaves_best_and_last_checkpoint_in_step(
    name: str, epoch: int, log_dir: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.replace
    saved: list[Path] = []

    def dies(source: Path, target: Path) -> None:
        if Path(target).name == name:
            if len(saved) == epoch:
                raise Killed
            saved.append(Path(target))
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", dies)
        with pytest.raises(Killed):
            main(["train", *CASE, "trainer.max_epochs=3", f"log_dir={log_dir}"])
    (folder,) = log_dir.glob("train/*/*")
    # the case gets better each epoch
    assert (folder / "checkpoints" / "last.ckpt").exists() == (epoch > 0 or name == "best.ckpt")
    assert (folder / "checkpoints" / "best.ckpt").exists() == (epoch > 0)
    resume(folder)
    assert_same_outcome(folder, uninterrupted)
    assert checkpoint(folder, "best.ckpt")["epoch"] == results(folder)["best_epoch"]
    assert not list(folder.rglob("*.tmp"))


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts src/train.py as a user would, in a process that does not outlive the test."""
    started: list[subprocess.Popen[bytes]] = []

    def run(log_dir: Path, *words: str) -> subprocess.Popen[bytes]:
        log_dir.mkdir(parents=True)
        with (log_dir / "output").open("wb") as output:
            command = [sys.executable, str(ROOT / "src" / "train.py"), *CASE, *words]
            started.append(
                subprocess.Popen(
                    [*command, f"log_dir={log_dir}"],
                    cwd=log_dir,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            )
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()


def wait_for(file: str, log_dir: Path, process: subprocess.Popen[bytes]) -> Path:
    """Return the run folder once it holds `file`."""
    for _ in range(12_000):
        if found := list(log_dir.glob(f"train/*/*/{file}")):
            return found[0].parents[len(Path(file).parts) - 1]
        assert process.poll() is None, (log_dir / "output").read_text()
        time.sleep(0.01)
    raise AssertionError(f"no {file} after two minutes")


LONGER = ("trainer.max_epochs=6", "data.batch_size=8")  # 29 batches an epoch


@pytest.fixture(scope="module")
def longer_uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the processes below would have done. Read only."""
    return train(tmp_path_factory.mktemp("longer"), *LONGER)


def test_sigterm_to_a_process_saves_the_run(
    log_dir: Path, start: Callable[..., subprocess.Popen[bytes]], longer_uninterrupted: Path
) -> None:
    process = start(log_dir, *LONGER)
    folder = wait_for("metrics.csv", log_dir, process)
    time.sleep(0.1)  # into the next epoch
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    output = (log_dir / "output").read_text()
    assert "Traceback" not in output and "stopped by SIGTERM" in output
    assert results(folder)["state"] == "interrupted" and 1 <= len(rows(folder)) < 6

    resume(folder)
    assert_same_outcome(folder, longer_uninterrupted)


def test_a_killed_process_loses_only_what_came_after_the_last_save(
    log_dir: Path, start: Callable[..., subprocess.Popen[bytes]], longer_uninterrupted: Path
) -> None:
    process = start(log_dir, *LONGER, "callbacks.checkpoint.every_n_train_steps=3")
    folder = wait_for("metrics.csv", log_dir, process)
    time.sleep(0.1)
    process.kill()
    assert process.wait(60) == -signal.SIGKILL
    assert results(folder)["state"] == "running" and len(rows(folder)) < 6
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] % 3 == 0 or last["global_step"] % 29 == 0

    resume(folder)
    assert_same_outcome(folder, longer_uninterrupted)


class KillAt(pl.Callback):
    """Kills this process after so many batches, or as it is about to replace a file."""

    def __init__(self, event: str, count: int) -> None:
        self.event, self.count = event, count
        self.replace = os.replace
        os.replace = self.watched  # type: ignore[assignment]

    def watched(self, source: Path, target: Path) -> None:
        self.happened(Path(target).name)
        self.replace(source, target)

    def happened(self, event: str) -> None:
        self.count -= event == self.event
        if self.count == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_train_batch_end(self, *_: Any) -> None:
        self.happened("batch")

    def on_validation_batch_end(self, *_: Any) -> None:
        self.happened("validation")


EVERYTHING = (
    *("model=mlp", "model.dropout=0.3", "data=digits", "data.train_fraction=0.2", "trainer=cpu"),
    *("data.batch_size=32", "trainer.max_epochs=3", "augment=strong", "scheduler=cosine"),
    *("callbacks.ema.decay=0.9", "callbacks.early_stopping.patience=2"),
    "callbacks.checkpoint.every_n_train_steps=3",
)


@pytest.fixture(scope="module")
def everything_uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the killed processes below would have done. Read only."""
    return train(tmp_path_factory.mktemp("everything"), *EVERYTHING)


@pytest.mark.parametrize(
    ("event", "count"),
    [("batch", 14), ("previous.ckpt", 3), ("validation", 17), ("predictions.csv", 1)],
)
def test_a_process_that_was_killed_goes_on_as_if_it_had_not_been(
    event: str, count: int, tmp_path: Path, log_dir: Path, everything_uninterrupted: Path
) -> None:
    words = [f"+callbacks.killer._target_={__name__}.KillAt", f"+callbacks.killer.event={event}"]
    words += [TRUST, f"+callbacks.killer.count={count}", f"log_dir={log_dir}"]
    work = partial(main, ["train", *EVERYTHING, *words])
    with forked(work, tmp_path / "output") as process:
        process.join(120)
        assert process.exitcode == -signal.SIGKILL, (tmp_path / "output").read_text()
    (folder,) = log_dir.glob("train/*/*")
    assert results(folder)["state"] == "running"
    config = yaml.safe_load((folder / "config.yaml").read_text())
    del config["callbacks"]["killer"]
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    resume(folder)
    assert_same_outcome(folder, everything_uninterrupted)
    one, two = (
        checkpoint(f, "last.ckpt")["current_model_state"]
        for f in (folder, everything_uninterrupted)
    )
    assert all(torch.equal(one[name], two[name]) for name in two)


def in_terminal(work: Callable[[], int], ours: int, terminal: int) -> int:
    """Do some work as the first process of a terminal, whose other end is the parent's alone."""
    os.close(ours)
    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    for number in (1, 2):
        os.dup2(terminal, number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
    return work()


@pytest.mark.parametrize("pipeline", ["store", "streaming"])
def test_a_run_whose_terminal_is_closed_is_saved(
    pipeline: str, tmp_path: Path, log_dir: Path
) -> None:
    words = ("trainer.max_epochs=1000", f"data.pipeline={pipeline}", f"log_dir={log_dir}")
    ours, theirs = os.openpty()
    work = partial(in_terminal, partial(main, ["train", *CASE, *words]), ours, theirs)
    with forked(work, tmp_path / "output") as process:
        os.close(theirs)
        shown = b""
        while b"epoch 1/" not in shown:
            shown += os.read(ours, 4096)
        os.close(ours)
        process.join(60)
        assert process.exitcode == 128 + signal.SIGHUP
    (folder,) = log_dir.glob("train/*/*")
    assert results(folder)["state"] == "interrupted"
    assert f"to go on: resume={folder}" in (folder / "run.log").read_text()
    assert checkpoint(folder, "last.ckpt")["epoch"] >= 1


class FullDisk(pl.Callback):
    """Lets the next checkpoint be written to a device without any room."""

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.fit_loop.total_batch_idx + 1 == 10:
            (Path(trainer.default_root_dir) / "checkpoints" / "last.tmp").symlink_to("/dev/full")


def test_a_full_disk_ends_a_run_that_can_go_on(
    log_dir: Path, uninterrupted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (TRUST, f"+callbacks.full._target_={__name__}.FullDisk", "trainer.max_epochs=3")
    folder = train(log_dir, *words, code=1)
    assert "a disk is full" in capsys.readouterr().err
    assert results(folder)["state"] == "failed" and "a disk is full" in results(folder)["error"]
    assert not list(folder.rglob("*.tmp"))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    del config["callbacks"]["full"]
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    resume(folder)
    assert_same_outcome(folder, uninterrupted)
