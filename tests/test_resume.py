"""A run that was stopped and resumed must end as if nothing had happened."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from strided.cli import main

ROOT = Path(__file__).parents[1]
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
    """Sends this process a signal after an optimizer step, as a user or a cluster would."""

    def __init__(self, step: int, number: int) -> None:
        self.step, self.number = step, number

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.number)


def stopping(step: int, number: int = signal.SIGTERM) -> list[str]:
    return [
        TRUST,
        f"+callbacks.stop._target_={__name__}.StopAt",
        f"+callbacks.stop.step={step}",
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


def same_weights(one: Path, two: Path, name: str) -> bool:
    first, second = (
        torch.load(folder / "checkpoints" / name, weights_only=True)["state_dict"]
        for folder in (one, two)
    )
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def assert_same_outcome(resumed: Path, uninterrupted: Path) -> None:
    assert rows(resumed) == rows(uninterrupted)
    assert same_weights(resumed, uninterrupted, "best.ckpt")
    assert same_weights(resumed, uninterrupted, "last.ckpt")
    one, two = results(resumed), results(uninterrupted)
    assert one["state"] == two["state"] == "finished"
    keys = {key for key in two if key.startswith(("test/", "best_", "split"))}
    assert {key: one.get(key) for key in keys} == {key: two[key] for key in keys}
    names = ("predictions.csv", "report.html", "figures/curves.png", "run.log")
    assert all((resumed / name).is_file() for name in names)
    predictions = [(folder / "predictions.csv").read_bytes() for folder in (resumed, uninterrupted)]
    assert predictions[0] == predictions[1]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three epochs of the case in one sitting. Read only."""
    return train(tmp_path_factory.mktemp("uninterrupted"), "trainer.max_epochs=3")


@pytest.mark.parametrize(
    ("step", "number", "code"),
    [
        (1, signal.SIGTERM, 143),
        (13, signal.SIGTERM, 143),  # inside the second epoch
        (13, signal.SIGINT, 130),
        (16, signal.SIGTERM, 143),  # after the last batch of an epoch
        (24, signal.SIGTERM, 143),  # after the last batch of all
    ],
)
def test_a_stopped_run_goes_on_to_the_same_bits(
    step: int, number: signal.Signals, code: int, log_dir: Path, uninterrupted: Path
) -> None:
    words = ("trainer.max_epochs=3", *stopping(step, number))
    folder = train(log_dir, *words, code=code)
    stopped = results(folder)
    assert stopped["state"] == "interrupted" and "error" not in stopped
    assert not any(key.startswith("test/") for key in stopped)
    assert len(rows(folder)) == step // 8 if (folder / "metrics.csv").exists() else step < 8
    resume(folder, TRUST)
    assert_same_outcome(folder, uninterrupted)
    assert list(log_dir.glob("train/*/*")) == [folder]
    assert results(folder)["train_seconds"] > stopped["train_seconds"]


def test_a_run_can_be_stopped_more_than_once(log_dir: Path, uninterrupted: Path) -> None:
    folder = train(log_dir, "trainer.max_epochs=3", *stopping(5), code=143)
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("step: 5", "step: 6"))
    resume(folder, TRUST, code=143)
    config.write_text(config.read_text().replace("step: 6", "step: 20"))
    resume(folder, TRUST, code=143)
    assert len(rows(folder)) == 2
    resume(folder, TRUST)
    assert_same_outcome(folder, uninterrupted)


def test_an_epoch_stopped_inside_reports_the_whole_epoch(
    log_dir: Path, uninterrupted: Path
) -> None:
    folder = train(log_dir, "trainer.max_epochs=3", *stopping(4), code=143)
    resume(folder, TRUST)
    assert rows(folder)[0]["train/loss"] == rows(uninterrupted)[0]["train/loss"]


def test_resume_without_a_checkpoint_starts_again_in_the_folder(
    uninterrupted: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    shutil.rmtree(folder / "checkpoints")
    for name in ("results.json", "predictions.csv", "report.html"):
        (folder / name).unlink()
    resume(folder)
    assert_same_outcome(folder, uninterrupted)


def test_resume_after_fit_completes_test_and_report(uninterrupted: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    kept = {k: v for k, v in results(folder).items() if not k.startswith("test/")}
    (folder / "results.json").write_text(json.dumps({**kept, "state": "interrupted"}))
    for name in ("predictions.csv", "report.html", "figures/curves.png"):
        (folder / name).unlink()
    resume(folder)
    assert_same_outcome(folder, uninterrupted)
    assert results(folder)["train_seconds"] == kept["train_seconds"]


def test_resume_after_a_kill_between_fit_and_results_completes_the_run(
    uninterrupted: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    for name in ("results.json", "predictions.csv", "report.html"):
        (folder / name).unlink()
    resume(folder)
    assert_same_outcome(folder, uninterrupted)
    assert results(folder)["command"] == results(uninterrupted)["command"]


def test_resume_of_a_complete_run_changes_no_number(uninterrupted: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    resume(folder)
    assert_same_outcome(folder, uninterrupted)


def test_more_epochs_continue_as_if_asked_for_at_first(log_dir: Path) -> None:
    case = ("scheduler=constant",)
    long = train(log_dir, *case, "trainer.max_epochs=4")
    folder = train(log_dir, *case, "trainer.max_epochs=2")
    resume(folder, "trainer.max_epochs=4")
    assert_same_outcome(folder, long)


@pytest.mark.parametrize("scheduler", ["cosine", "one_cycle"])
def test_more_epochs_stretch_the_schedule(scheduler: str, log_dir: Path) -> None:
    case = (f"scheduler={scheduler}",)
    long = train(log_dir, *case, "trainer.max_epochs=4")
    folder = train(log_dir, *case, "trainer.max_epochs=2")
    resume(folder, "trainer.max_epochs=4")
    found = rows(folder)
    assert [row["epoch"] for row in found] == ["0", "1", "2", "3"]
    rates = [float(row["lr"]) for row in found]
    expected = [float(row["lr"]) for row in rows(long)]
    assert rates[2:] == pytest.approx(expected[2:])
    assert rates[1] < expected[1]  # what the short run had come down to


def test_a_plateau_schedule_keeps_its_state(log_dir: Path) -> None:
    case = (
        "scheduler=plateau",
        "scheduler.patience=1",
        "scheduler.threshold=0.99",  # hardly an epoch counts as better
        "trainer.max_epochs=5",
    )
    long = train(log_dir, *case)
    assert len({row["lr"] for row in rows(long)}) > 1
    folder = train(log_dir, *case, *stopping(20), code=143)
    resume(folder, TRUST)
    assert_same_outcome(folder, long)


@pytest.mark.parametrize("step", [12, 16, 32])  # 32: the epoch that ends the run
def test_early_stopping_keeps_its_count(step: int, log_dir: Path) -> None:
    case = ("optimizer.lr=0", "callbacks.early_stopping.patience=3", "trainer.max_epochs=9")
    long = train(log_dir, *case)
    assert len(rows(long)) == 4
    folder = train(log_dir, *case, *stopping(step), code=143)
    resume(folder, TRUST)
    assert_same_outcome(folder, long)


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
    assert not (folder / "results.json").exists() and len(rows(folder)) < 6
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] % 3 == 0 or last["global_step"] % 29 == 0

    resume(folder)
    assert_same_outcome(folder, longer_uninterrupted)
