"""A fit that is stopped anywhere and resumed ends as if nothing had happened."""

import os
import signal
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from tests.stopping import (
    TRUST,
    assert_same_outcome,
    checkpoint,
    results,
    resume,
    rows,
    stopping,
    train,
)

from strided.cli import main

pytestmark = pytest.mark.usefixtures("blank_figures")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three epochs of the case in one session. Read only."""
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


def test_images_on_the_device_give_the_same_bits_also_after_a_stop_inside_an_epoch(
    log_dir: Path, uninterrupted: Path
) -> None:
    words = ("trainer.max_epochs=3", "data.resident=true", *stopping(13))
    folder = train(log_dir, *words, code=143)
    resume(folder, TRUST)
    assert_same_outcome(folder, uninterrupted)
    assert results(folder)["execution"]["resident"] is True
    assert results(uninterrupted)["execution"]["resident"] is False


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


def test_an_epoch_stopped_inside_reports_the_whole_epoch(
    log_dir: Path, uninterrupted: Path
) -> None:
    folder = train(log_dir, "trainer.max_epochs=3", *stopping(4), code=143)
    resume(folder, TRUST)
    assert rows(folder)[0]["train/loss"] == rows(uninterrupted)[0]["train/loss"]


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
        pytest.param(
            ["trainer.num_sanity_val_steps=2", "trainer.check_val_every_n_epoch=2"],
            [8, 13],
            marks=pytest.mark.slow,
        ),
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
def test_weights_mixing_averages_rates_and_turns_do_not_make_a_resume_inexact(
    balance: str, batches: list[int], log_dir: Path
) -> None:
    words = [
        balance,
        "loss=focal",
        "augment=mixup",
        "augment.rand_augment_ops=1",
        "augment.horizontal_flip=true",
        "augment.flip=alternating",
        "augment.border=reflect",
        "augment.cutout=0.25",
        "callbacks.ema.decay=0.9",
        "callbacks.lookahead.steps=3",
        "callbacks.lookahead.rise=1",
        "callbacks.target.value=0.01",
        "callbacks.target.monitor=train/acc",
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
        counts = [results(f)[f"{k}_to_target"] for f in (folder, long) for k in ("epochs", "flops")]
        assert counts[:2] == counts[2:] and counts[0] == 1


@pytest.mark.filterwarnings("ignore:When using `Trainer.accumulate_grad_batches:UserWarning")
def test_accumulation_by_epoch_counts_in_the_schedule_and_goes_on_inside_an_epoch(
    log_dir: Path,
) -> None:
    by_epoch = "+callbacks.by_epoch._target_=lightning.pytorch.callbacks."
    words = [f"{by_epoch}GradientAccumulationScheduler", "+callbacks.by_epoch.scheduling={1:3}"]
    words += ["trainer.max_epochs=3", "callbacks.lookahead.steps=2"]
    long = train(log_dir, *words)
    steps, rates = ([float(row[key]) for row in rows(long)] for key in ("step", "lr"))
    assert steps == [8, 11, 14] and 0 < rates[-1] < 0.1 * rates[0]
    folder = train(log_dir, *words, *stopping(11), code=143)
    resume(folder, TRUST)
    assert_same_outcome(folder, long)


def test_an_epoch_stopped_after_its_last_validation_keeps_what_that_measured(
    log_dir: Path,
) -> None:
    words = ("trainer.max_epochs=1", "trainer.val_check_interval=0.4")
    folder = train(log_dir, *words, *stopping(7), code=143)
    resume(folder, TRUST)
    (row,) = rows(folder)
    assert row["val/loss"] and row["val/acc"]
    assert results(folder)["best_val/acc"] == pytest.approx(float(row["val/acc"]))


def test_only_a_metric_of_validation_cannot_choose_an_epoch_without_one(log_dir: Path) -> None:
    words = ("trainer.max_epochs=3", "trainer.check_val_every_n_epoch=2")
    by_training = ("callbacks.checkpoint.monitor=train/loss", "callbacks.checkpoint.mode=min")
    runs = [train(log_dir, *words, *choice) for choice in ((), by_training)]
    assert [results(folder)["best_epoch"] for folder in runs] == [1, 2]
    told = ["last epoch was not validated" in (run / "run.log").read_text() for run in runs]
    assert told == [True, False]


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


@pytest.mark.parametrize("step", [12, 16, 32])  # 32: the epoch that ends the run
def test_early_stopping_keeps_its_count(step: int, log_dir: Path) -> None:
    case = ("optimizer.lr=0", "callbacks.early_stopping.patience=3", "trainer.max_epochs=9")
    long = train(log_dir, *case)
    assert len(rows(long)) == 4
    folder = train(log_dir, *case, *stopping(step), code=143)
    resume(folder, TRUST)
    assert_same_outcome(folder, long)


@pytest.mark.parametrize(
    "word",
    ["optimizer.lr=-1", "scheduler=step scheduler.step_size=0", "transfer.stages.fine.epochs=3",
     "transfer=frozen transfer.from_scratch=true transfer.stages.frozen.trainable=layer9"],
)  # fmt: skip
def test_what_no_stage_can_begin_with_is_refused_before_anything_is_decoded(
    word: str, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "data=synthetic", *word.split(), f"log_dir={log_dir}"]) == 1
    said = capsys.readouterr()
    assert "Try" in said.err and "train 420" not in said.out
