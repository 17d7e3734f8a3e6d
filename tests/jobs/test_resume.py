"""A run that was stopped and resumed must end as if nothing had happened."""

import csv
import fcntl
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
import yaml
from tests.conftest import contents

from strided.cli import main

ROOT = Path(__file__).parents[2]
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
    # a signal in the last batch of an epoch is acted on in its validation, before the row
    assert (len(rows(folder)) if (folder / "metrics.csv").exists() else 0) == (step - 1) // 8
    earlier = checkpoint(folder, "last.ckpt")["callbacks"]["EpochRecorder"]["fit_seconds"]
    resume(folder, TRUST)
    assert_same_outcome(folder, uninterrupted)
    assert list(log_dir.glob("train/*/*")) == [folder]
    assert results(folder)["train_seconds"] > earlier


def test_a_run_can_be_stopped_more_than_once(log_dir: Path, uninterrupted: Path) -> None:
    folder = train(log_dir, "trainer.max_epochs=3", *stopping(5), code=143)
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("batch: 5", "batch: 6"))
    resume(folder, TRUST, code=143)
    config.write_text(config.read_text().replace("batch: 6", "batch: 20"))
    resume(folder, TRUST, code=143)
    assert len(rows(folder)) == 2
    resume(folder, TRUST)
    assert_same_outcome(folder, uninterrupted)


def test_a_run_that_began_before_a_key_existed_goes_on(log_dir: Path, uninterrupted: Path) -> None:
    folder = train(log_dir, "trainer.max_epochs=3", *stopping(5), code=143)
    config = folder / "config.yaml"
    kept = [line for line in config.read_text().splitlines() if "channels_last" not in line]
    config.write_text("\n".join(kept))
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
    for name in ("predictions.csv", "report.html", "figures/loss.png"):
        (folder / name).unlink()
    resume(folder)
    assert_same_outcome(folder, uninterrupted)
    assert results(folder)["train_seconds"] == kept["train_seconds"]


def test_a_finished_run_whose_checkpoints_are_deleted_is_trained_again(
    uninterrupted: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    shutil.rmtree(folder / "checkpoints")
    resume(folder)
    assert_same_outcome(folder, uninterrupted)


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


def test_fewer_epochs_than_were_made_are_refused(
    copied_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", f"resume={copied_run}", "trainer.max_epochs=1"]) == 1
    assert "has made 2 epochs" in capsys.readouterr().err


def test_a_logger_typed_on_resume_keeps_what_else_the_run_said_of_it(log_dir: Path) -> None:
    words = ("logger=wandb", "logger.wandb.project=mine", "logger.wandb.offline=true")
    folder = train(log_dir, *words, "trainer.max_epochs=1")
    resume(folder, "trainer.max_epochs=2", "logger.wandb.init_timeout=20.0")
    logger = yaml.safe_load((folder / "config.yaml").read_text())["logger"]["wandb"]
    assert logger["project"] == "mine" and logger["init_timeout"] == 20.0


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


@pytest.mark.parametrize(
    ("words", "batches"),
    [
        (["trainer.accumulate_grad_batches=3"], [4, 16]),
        (
            [
                "trainer.val_check_interval=4",
                "scheduler=plateau",
                "scheduler.patience=1",
                "scheduler.threshold=0.99",
            ],
            [4, 10],
        ),
        (["trainer.val_check_interval=0.4"], [6, 7]),  # validations after batches 3 and 6
        (["trainer.num_sanity_val_steps=2", "trainer.check_val_every_n_epoch=2"], [8, 13]),
    ],
    ids=["accumulation", "plateau within epochs", "validation within epochs", "every other epoch"],
)
def test_trainer_settings_do_not_make_a_resume_inexact(
    words: list[str], batches: list[int], log_dir: Path
) -> None:
    words = ["trainer.max_epochs=4", *words]
    long = train(log_dir, *words)
    assert any(row["val/loss"] for row in rows(long))
    for batch in batches:
        folder = train(log_dir, *words, *stopping(batch), code=143)
        assert results(folder)["state"] == "interrupted"
        resume(folder, TRUST)
        assert_same_outcome(folder, long)


@pytest.mark.parametrize(
    ("balance", "batches"),
    [("loss.class_weights=auto", [5, 16]), ("data.sampler=class_balanced", [13])],
)
def test_weights_mixing_averages_and_rates_by_layer_do_not_make_a_resume_inexact(
    balance: str, batches: list[int], log_dir: Path
) -> None:
    words = [
        balance,
        "loss=focal",
        "augment=mixup",
        "augment.rand_augment_ops=1",
        "callbacks.ema.decay=0.9",
        "optimizer.layer_decay=0.7",
        "scheduler=one_cycle",
        "trainer.max_epochs=3",
    ]
    long = train(log_dir, *words)
    raw = checkpoint(long, "last.ckpt")["current_model_state"]
    for batch in batches:
        folder = train(log_dir, *words, *stopping(batch), code=143)
        resume(folder, TRUST)
        assert_same_outcome(folder, long)
        resumed = checkpoint(folder, "last.ckpt")["current_model_state"]
        assert all(torch.equal(resumed[name], raw[name]) for name in raw)


def test_an_epoch_stopped_after_its_last_validation_keeps_what_that_measured(
    log_dir: Path,
) -> None:
    words = ("trainer.max_epochs=1", "trainer.val_check_interval=0.4")
    folder = train(log_dir, *words, *stopping(7), code=143)
    resume(folder, TRUST)
    (row,) = rows(folder)
    assert row["val/loss"] and row["val/acc"]
    assert results(folder)["best_val/acc"] == pytest.approx(float(row["val/acc"]))


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


def damage(file: Path) -> None:
    """Flip a bit in the middle, among the weights: torch.load would not notice."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_a_damaged_last_checkpoint_is_replaced_by_the_one_before(
    uninterrupted: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    assert checkpoint(folder, "previous.ckpt")["epoch"] == 1
    damage(folder / "checkpoints" / "last.ckpt")
    (folder / "results.json").unlink()
    resume(folder)
    assert "going on from previous.ckpt" in (folder / "run.log").read_text()
    assert_same_outcome(folder, uninterrupted)


def test_checkpoints_that_are_all_damaged_are_a_mistake_that_says_what_to_try(
    uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    damage(folder / "checkpoints" / "last.ckpt")
    os.truncate(folder / "checkpoints" / "previous.ckpt", 0)
    resume(folder, code=1)
    said = capsys.readouterr().err
    assert "previous.ckpt (File is not a zip file)" in said and "Traceback" not in said
    assert f"Try deleting {folder / 'checkpoints'}" in said
    shutil.rmtree(folder / "checkpoints")
    (folder / "results.json").unlink()
    resume(folder)
    assert_same_outcome(folder, uninterrupted)


class StopInValidation(pl.Callback):
    """Sends this process SIGTERM in a batch of a validation, counted over the run."""

    def __init__(self, batch: int) -> None:
        self.batch, self.seen = batch, 0

    def on_validation_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.seen += not trainer.sanity_checking
        if self.seen == self.batch:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    ("words", "batches"),
    [
        (["callbacks.ema.decay=0.9", "scheduler=plateau", "scheduler.patience=0"], [1, 12]),
        (["trainer.val_check_interval=4", "trainer.accumulate_grad_batches=2"], [2, 11, 20]),
        (["optimizer.lr=0", "callbacks.early_stopping.patience=1"], [10]),
    ],
    ids=["averaged weights and plateau", "validation within epochs", "early stopping"],
)
def test_a_signal_inside_validation_stops_there_and_validation_is_repeated(
    words: list[str], batches: list[int], log_dir: Path
) -> None:
    words = ["trainer.max_epochs=3", *words]
    long = train(log_dir, *words)
    stop = [TRUST, f"+callbacks.stop._target_={__name__}.StopInValidation"]
    for batch in batches:
        folder = train(log_dir, *words, *stop, f"+callbacks.stop.batch={batch}", code=143)
        found = checkpoint(folder, "last.ckpt")
        assert found["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]["current"] == {
            "ready": 1,
            "started": 1,
            "processed": 0,
            "completed": 0,
        }
        config = (folder / "config.yaml").read_text()  # it would strike again
        (folder / "config.yaml").write_text(config.replace(f"batch: {batch}\n", "batch: -1\n"))
        resume(folder, TRUST)
        assert_same_outcome(folder, long)


def test_more_epochs_for_a_run_that_stopped_early_change_nothing_and_that_is_said(
    log_dir: Path,
) -> None:
    case = ("optimizer.lr=0", "callbacks.early_stopping.patience=2", "trainer.max_epochs=5")
    folder = train(log_dir, *case)
    before, found = rows(folder), results(folder)
    assert len(before) == 3
    resume(folder, "trainer.max_epochs=9")
    assert rows(folder) == before and results(folder)["test/acc"] == found["test/acc"]
    said = (folder / "run.log").read_text().count("stopped early, before epoch 3")
    assert said == 2 and results(folder)["resumed_with"] == [["trainer.max_epochs=9"]]


seen: list[dict[str, Any]] = []


class Witness(pl.Callback):
    """Notes what results.json says while training."""

    def on_train_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        seen.append(results(Path(trainer.default_root_dir)))


def test_results_of_a_run_under_way_say_so_and_hold_no_earlier_test(log_dir: Path) -> None:
    seen.clear()
    witness = f"+callbacks.witness._target_={__name__}.Witness"
    folder = train(log_dir, "trainer.max_epochs=1", TRUST, witness)
    first = results(folder)
    assert "test/acc" in first and "confusion" in first
    resume(folder, TRUST, "trainer.max_epochs=2")
    assert [kept["state"] for kept in seen] == ["running", "running"]
    stale = [key for key in seen[1] if key.startswith("test/") or key in ("confusion", "error")]
    assert stale == [] and seen[1]["best_epoch"] == first["best_epoch"]
    assert results(folder)["state"] == "finished" and "test/acc" in results(folder)


def test_a_folder_of_eval_cannot_be_resumed_and_stays_as_it_is(
    uninterrupted: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", f"checkpoint={uninterrupted}", f"log_dir={log_dir}"]) == 0
    (folder,) = log_dir.glob("eval/*/*")
    before = contents(folder)
    resume(folder, code=1)
    assert "is not a run of train" in capsys.readouterr().err
    assert contents(folder) == before


def test_a_run_that_another_process_is_at_work_in_is_left_alone(
    uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    before = contents(folder)
    with (folder / "run.log").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        resume(folder, "trainer.max_epochs=9", code=1)
        assert "another process is at work" in capsys.readouterr().err
        assert contents(folder) == before
    resume(folder)  # the lock ends with its holder


def test_a_second_start_with_several_processes_leaves_a_run_alone_too(
    uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    before = contents(folder)
    with (folder / "run.log").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        resume(folder, "trainer.max_epochs=9", "trainer.devices=2", code=1)
    assert "another process is at work" in capsys.readouterr().err
    assert contents(folder) == before


def test_a_damaged_results_file_is_named(
    uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    os.truncate(folder / "results.json", 100)
    resume(folder, code=1)
    assert "results.json is damaged" in capsys.readouterr().err
    (folder / "results.json").unlink()
    resume(folder)
    assert_same_outcome(folder, uninterrupted)


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
    assert results(folder)["state"] == "running" and len(rows(folder)) < 6
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] % 3 == 0 or last["global_step"] % 29 == 0

    resume(folder)
    assert_same_outcome(folder, longer_uninterrupted)


KILLER = """
import os
import signal
import lightning.pytorch as pl

def die():
    os.kill(os.getpid(), signal.SIGKILL)

class KillAt(pl.Callback):
    def __init__(self, event: str, count: int) -> None:
        self.event, self.count = event, count
        os.replace = self.watched(os.replace)

    def watched(self, replace):
        def act(source, target):
            self.happened(os.path.basename(target))
            replace(source, target)
        return act

    def happened(self, event):
        self.count -= event == self.event
        if self.count == 0:
            die()

    def on_train_batch_end(self, *_):
        self.happened("batch")

    def on_validation_batch_end(self, *_):
        self.happened("validation")
"""
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
    (tmp_path / "killer.py").write_text(KILLER)
    target = f"+callbacks.killer._target_=killer.KillAt +callbacks.killer.event={event}"
    words = [*EVERYTHING, "trust=[killer]", *target.split(), f"+callbacks.killer.count={count}"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "src" / "train.py"), *words, f"log_dir={log_dir}"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
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
