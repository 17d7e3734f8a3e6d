"""What a trainer is told: precision, clipping, early stopping, and the rate it reaches."""

import os
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import LambdaCallback, TQDMProgressBar
from PIL import Image
from tests.conftest import write_images
from tests.reading import only_run, results, rows, run_log, weights

import strided
from strided.cli import main
from strided.data.pixels.streaming import Decoded, Decoding
from strided.evaluation.classifier import Prediction
from strided.training.callbacks.progress_bar import ProgressBar
from strided.training.trainer import build_trainer, leave_out_empty_hooks

pytestmark = pytest.mark.usefixtures("blank_figures")
FAST = ("model=mlp", "data.train_fraction=0.2", "data.batch_size=32")  # 8 batches an epoch
Train = Callable[..., Path]


def test_overfit_drives_the_loss_to_nearly_nothing(log_dir: Path) -> None:
    strided.train(["debug=overfit", "model=mlp", "trainer.accelerator=cpu", f"log_dir={log_dir}"])
    found = rows(only_run(log_dir))
    assert float(found[-1]["train/loss"]) < 0.05 and len(found) == 50


def test_limit_trains_two_short_epochs(log_dir: Path) -> None:
    strided.train(["debug=limit", "trainer.accelerator=cpu", f"log_dir={log_dir}"])
    found = rows(only_run(log_dir))
    assert len(found) == 2 and 0 < int(found[-1]["step"]) < 18  # less than an epoch in all


def test_limit_decodes_no_more_than_it_uses_of_the_whole_sets_split(
    tmp_path: Path, run_train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cache, decoded = write_images(tmp_path / "many", 200), tmp_path / "cache", tmp_path / "at"
    decode = Decoding.__getitem__

    def noting(self: Decoding, indices: np.ndarray) -> Decoded:  # in processes of their own
        with decoded.open("ab") as stream:
            stream.write(indices.astype(np.int64).tobytes())
        return decode(self, indices)

    monkeypatch.setattr(Decoding, "__getitem__", noting)
    words = ["data=image_folder", f"data.root={root}", f"data.cache_dir={cache}"]
    words += ["data.image_size=32", "data.batch_size=2"]
    folder = run_train(*words, "debug=limit")
    assert len(np.unique(np.fromfile(decoded, np.int64))) < 120  # of 600
    assert not list(cache.rglob("images.npy"))
    whole = run_train(*words, "debug=fast_dev_run")
    assert list(cache.rglob("images.npy"))
    for key in ("split_hash", "splits"):
        assert results(folder)[key] == results(whole)[key]


def test_profiler_tells_where_the_time_went(
    log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strided.train(["debug=profiler", "trainer.accelerator=cpu", *FAST, f"log_dir={log_dir}"])
    assert "run_training_epoch" in run_log(only_run(log_dir)) + capsys.readouterr().out


def test_early_stopping_ends_a_run_that_does_not_improve(run_train: Train) -> None:
    folder = run_train(
        *FAST,
        "optimizer.lr=0",
        "trainer.max_epochs=9",
        "callbacks.early_stopping.patience=2",
    )
    assert len(rows(folder)) == 3 and results(folder)["best_epoch"] == 0


def test_the_lowest_loss_is_kept_when_that_is_the_monitor(run_train: Train) -> None:
    lowest = ("callbacks.checkpoint.monitor=val/loss", "callbacks.checkpoint.mode=min")
    # a rate at which the loss falls and rises again
    folder = run_train(*FAST, *lowest, "optimizer.lr=0.03", "trainer.max_epochs=6")
    losses = [float(row["val/loss"]) for row in rows(folder)]
    found = results(folder)
    assert found["best_epoch"] == losses.index(min(losses)) not in (0, 5)
    assert found["best_val/loss"] == pytest.approx(min(losses)) and "best_val/acc" not in found
    kept = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert kept["epoch"] == found["best_epoch"]


@pytest.mark.parametrize(
    ("precision", "dtype"), [("bf16-true", torch.bfloat16), ("64-true", torch.float64)]
)
def test_true_precisions_train_and_evaluate(
    precision: str, dtype: torch.dtype, run_train: Train, log_dir: Path
) -> None:
    words = ("model=lenet5", "data.train_fraction=0.2", f"trainer.precision={precision}")
    folder = run_train(*words, "optimizer.lr=0.01", "trainer.max_epochs=3")
    assert {value.dtype for value in weights(folder).values()} == {dtype}
    assert results(folder)["test/acc"] > 0.3 and torch.get_default_dtype() == torch.float32
    assert main(["eval", f"checkpoint={folder}", "accelerator=cpu", f"log_dir={log_dir}"]) == 0
    (evaluated,) = log_dir.glob("eval/*/*")
    same = pytest.approx(
        results(folder)["test/loss"], abs=0.02 if dtype is torch.bfloat16 else 1e-5
    )
    assert results(evaluated)["test/loss"] == same


def test_a_progress_bar_of_the_users_own_replaces_ours(run_train: Train, tmp_path: Path) -> None:
    node = {"_target_": "lightning.pytorch.Trainer", "accelerator": "cpu"}
    own = TQDMProgressBar()
    assert build_trainer(node, [own], tmp_path).progress_bar_callback is own
    assert isinstance(build_trainer(node, [], tmp_path).progress_bar_callback, ProgressBar)
    run_train(*FAST, "+callbacks.bar._target_=lightning.pytorch.callbacks.TQDMProgressBar")


def test_the_rate_does_not_count_checkpoints(
    run_train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = pl.Trainer.save_checkpoint

    def slowly(self: pl.Trainer, *words: Any, **options: Any) -> None:
        time.sleep(0.1)
        save(self, *words, **options)

    monkeypatch.setattr(pl.Trainer, "save_checkpoint", slowly)
    every = "callbacks.checkpoint.every_n_train_steps=1"
    row = rows(run_train(*FAST, every, "trainer.max_epochs=2"))[-1]
    overall = 230 / float(row["epoch_seconds"])
    assert float(row["images_per_second"]) / overall > 2


def test_mixed_precision_trains_and_tests(run_train: Train) -> None:
    folder = run_train(*FAST, "trainer.precision=bf16-mixed", "trainer.max_epochs=3")
    assert results(folder)["test/acc"] > 0.5
    assert {value.dtype for value in weights(folder).values()} == {torch.float32}


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_run_leaves_a_checkpoint_for_uncompiled_use(
    run_train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    # few batches of one size: each graph takes the C++ compiler seconds
    words = (*FAST, "trainer.limit_train_batches=4", "trainer.limit_val_batches=1")
    compiled, plain = run_train(*words, "compile=true"), run_train(*words)
    assert weights(compiled).keys() == weights(plain).keys()
    assert results(compiled)["test/loss"] == pytest.approx(results(plain)["test/loss"], abs=1e-3)
    classifier = strided.load(str(compiled), device="cpu")
    assert isinstance(classifier(Image.new("L", (8, 8))), Prediction)


def test_gradient_clipping_bounds_the_step(run_train: Train) -> None:
    one_step = (
        *FAST,
        "optimizer=sgd",
        "optimizer.momentum=0",
        "optimizer.nesterov=false",
        "optimizer.weight_decay=0",
        "trainer.limit_train_batches=1",
    )
    start = weights(run_train(*one_step, "optimizer.lr=0"))
    end = weights(run_train(*one_step, "optimizer.lr=1", "trainer.gradient_clip_val=0.01"))
    moved = torch.stack([(end[key] - start[key]).norm() for key in start]).norm().item()
    assert moved == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("hook", ["on_before_backward", "on_train_batch_end"])
def test_empty_hooks_of_callbacks_cost_nothing_in_a_step(
    hook: str, run_train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    monkeypatch.setattr(pl.Callback, hook, lambda self, *_: called.append(type(self).__name__))
    run_train(*FAST, "callbacks.early_stopping.patience=3")
    assert not called


def test_a_hook_on_a_callback_itself_is_no_empty_one() -> None:
    seen: list[str] = []
    callback = LambdaCallback(on_train_batch_end=lambda *_: seen.append("batch"))
    leave_out_empty_hooks([callback])
    leave_out_empty_hooks([callback])  # of the next stage
    callback.on_train_batch_end(None, None, None, None, 0)  # type: ignore[arg-type]
    assert seen and callback.on_before_backward is None


def test_the_rate_of_an_epoch_waits_for_its_last_batch(
    run_train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[torch.device] = []

    def wait(device: torch.device) -> None:  # as for a GPU that is behind
        waits.append(device)
        time.sleep(0.5)

    monkeypatch.setattr("strided.training.callbacks.epoch_recorder.synchronise", wait)
    folder = run_train(*FAST, "trainer.max_epochs=2", "trainer.limit_train_batches=3")
    rates = [float(row["images_per_second"]) for row in rows(folder)]
    assert len(waits) == 2 and max(rates) < 3 * 32 / 0.5


def test_a_machine_that_has_srun_is_no_reason_to_warn(
    run_train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    build_trainer({"_target_": "lightning.pytorch.Trainer", "accelerator": "cpu"}, [], tmp_path)
    with warnings.catch_warnings():
        warnings.resetwarnings()  # pytest's, one of which ignores the hint
        folder = run_train(*FAST, "debug=fast_dev_run")
    assert "`srun` command" not in run_log(folder)
