"""What happens around the steps: metrics.csv, checkpoints and their resume, the progress bar."""

import csv
import logging
import math
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint as LightningCheckpoint
from lightning.pytorch.callbacks import ProgressBar as LightningProgressBar
from tqdm import tqdm

from strided.errors import UserError
from strided.interruption import Interruption

log = logging.getLogger(__name__)

LEADING_COLUMNS = (
    "epoch",
    "step",
    "lr",
    "train/loss",
    "train/acc",
    "val/loss",
    "val/acc",
    "epoch_seconds",
    "images_per_second",
)


class EpochRecorder(LightningCheckpoint):
    """Write a row of metrics.csv (`file`, None: nowhere) per epoch, and keep the run's times.

    A Checkpoint to Lightning, so that it runs after the task has logged the epoch; listed before
    strided's Checkpoint, so that a checkpoint never holds an epoch whose row is not written.
    """

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self.fit_seconds = 0.0  # of earlier sittings too
        self._rates: list[float] = []  # images per second, an epoch each
        self._epoch_seconds = 0.0  # of this epoch in an earlier sitting
        self._train_seconds = 0.0  # of this epoch, without validation and checkpoints
        self._images = 0
        self._mark = self._epoch_start = self._fit_start = time.perf_counter()

    @property
    def train_seconds(self) -> float:
        """Seconds inside fit, over all sittings."""
        return self.fit_seconds + time.perf_counter() - self._fit_start

    @property
    def images_per_second(self) -> float | None:
        """Mean over epochs without the first, which warms up; a lone first epoch's own rate."""
        rates = self._rates[1:] or self._rates
        return len(rates) / sum(1 / rate for rate in rates) if rates else None

    def on_train_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Drop rows of epochs that the checkpoint does not hold: they will be trained again."""
        self._fit_start = self._epoch_start = self._mark = time.perf_counter()
        if self.file is not None and self.file.exists():
            rows = [row for row in _read(self.file) if int(row["epoch"]) < trainer.current_epoch]
            _write(self.file, rows)

    def on_train_epoch_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Lightning does not call this when it goes on inside an epoch."""
        self._epoch_start = self._mark = time.perf_counter()
        self._epoch_seconds = self._train_seconds = 0.0
        self._images = 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, task: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        """Count the batch, and the time since the last one: waiting for data included."""
        now = time.perf_counter()
        self._train_seconds += now - self._mark
        self._mark = now
        self._images += len(batch[1]) * trainer.world_size

    def on_validation_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Do not count validation as training."""
        self._mark = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, task: Any) -> None:
        """Write the row of this epoch."""
        rate = self._images / self._train_seconds
        self._rates.append(rate)
        seconds = self._epoch_seconds + time.perf_counter() - self._epoch_start
        row: dict[str, Any] = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "lr": task.learning_rate,
            **{key: value.item() for key, value in sorted(trainer.callback_metrics.items())},
            "epoch_seconds": round(seconds, 3),
            "images_per_second": round(rate, 1),
        }
        log.info("%s", _describe(row, trainer.max_epochs))
        for logger in trainer.loggers:
            logger.log_metrics(
                {key: row[key] for key in ("lr", "epoch_seconds", "images_per_second")},
                trainer.global_step,
            )
        if self.file is not None and trainer.is_global_zero:
            rows = _read(self.file) if self.file.exists() else []
            _write(self.file, [*rows, row])
        if not math.isfinite(row["train/loss"]):
            raise UserError(
                f"the training loss became {row['train/loss']} in epoch {row['epoch']}; expected "
                f"a number. Try a lower optimizer.lr (it was {row['lr']:.3g}) or "
                "trainer.gradient_clip_val=1.0"
            )

    def state_dict(self) -> dict[str, Any]:
        """Times so far."""
        return {
            "fit_seconds": self.train_seconds,
            "rates": self._rates,
            "epoch_seconds": self._epoch_seconds + time.perf_counter() - self._epoch_start,
            "epoch_train_seconds": self._train_seconds,
            "images": self._images,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the times of the earlier sitting."""
        self.fit_seconds = state_dict["fit_seconds"]
        self._rates = list(state_dict["rates"])
        self._epoch_seconds = state_dict["epoch_seconds"]
        self._train_seconds = state_dict["epoch_train_seconds"]
        self._images = state_dict["images"]


def _read(file: Path) -> list[dict[str, Any]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def _write(file: Path, rows: list[dict[str, Any]]) -> None:
    """Write all rows at once: a metric may appear late, and a half-written row must not stay."""
    others = {key for row in rows for key in row} - set(LEADING_COLUMNS)
    unfinished = file.with_suffix(".tmp")
    with unfinished.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [*LEADING_COLUMNS, *sorted(others)])
        writer.writeheader()
        writer.writerows(rows)
    os.replace(unfinished, file)


def _describe(row: dict[str, Any], max_epochs: int | None) -> str:
    last = f"/{max_epochs - 1}" if max_epochs and max_epochs > 0 else ""
    parts = [f"epoch {row['epoch']}{last}"]
    for split in ("train", "val"):
        if f"{split}/acc" in row:
            parts.append(f"{split} loss {row[f'{split}/loss']:.4f} acc {row[f'{split}/acc']:.4f}")
    parts.append(f"{row['epoch_seconds']:.1f} s, {row['images_per_second']:.0f} images/s")
    return "  ".join(parts)


class Checkpoint(LightningCheckpoint):
    """Keep last.ckpt and, by `monitor`, best.ckpt; save and stop when a signal asked for it.

    Lightning's ModelCheckpoint forgets its best score when it resumes elsewhere, refuses epochs
    and steps together, and falls silent when a metric is NaN. Both files are written whole and
    then renamed into place. `every_n_train_steps` writes last.ckpt inside epochs too.
    """

    def __init__(
        self,
        monitor: str = "val/acc",
        mode: Literal["min", "max"] = "max",
        every_n_train_steps: int | None = None,
    ) -> None:
        if every_n_train_steps is not None and every_n_train_steps < 1:
            raise UserError(
                f"callbacks.checkpoint.every_n_train_steps={every_n_train_steps}; expected 1 or "
                "more, or null for the end of each epoch only"
            )
        self.monitor, self.mode = monitor, mode
        self.every_n_train_steps = every_n_train_steps
        self.best_score: float | None = None
        self.best_epoch: int | None = None
        self.folder: Path | None = None
        self.interruption = Interruption()

    def attach(self, folder: Path, interruption: Interruption) -> None:
        """Give the run's folder and what listens for signals; both are not configuration."""
        self.folder, self.interruption = folder, interruption

    def on_train_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Take the signals over from Lightning, which would stop before the epoch is saved."""
        self.interruption.take_over()

    def on_train_batch_end(
        self, trainer: pl.Trainer, task: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        """Save inside an epoch. Not after its last batch: the end of the epoch comes right away,
        and Lightning would skip the validation of an epoch resumed from there."""
        if index + 1 >= trainer.num_training_batches:
            return
        stop = self.interruption.requested is not None
        every = self.every_n_train_steps
        if stop or (every is not None and trainer.global_step % every == 0):
            self._save(trainer, "last.ckpt")
        self._stop_if_requested()

    def on_train_epoch_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Save the epoch, as best.ckpt too if it is."""
        improved = self._improved(trainer)
        last = self._save(trainer, "last.ckpt")
        if improved and last is not None:
            _copy(last, last.with_name("best.ckpt"))
        self._stop_if_requested()

    def _stop_if_requested(self) -> None:
        if self.interruption.requested is not None and self.folder is not None:
            log.info("saved; to go on: resume=%s", self.folder.parent)
        self.interruption.raise_if_requested()

    def _improved(self, trainer: pl.Trainer) -> bool:
        if self.monitor not in trainer.callback_metrics:
            raise UserError(
                f"callbacks.checkpoint.monitor={self.monitor} was not measured; expected one of "
                f"{', '.join(sorted(trainer.callback_metrics))}. Try "
                "callbacks.checkpoint.monitor=val/acc"
            )
        score = trainer.callback_metrics[self.monitor].item()
        if not math.isfinite(score):
            return False
        better: Callable[[float, float], bool] = (
            float.__gt__ if self.mode == "max" else float.__lt__
        )
        if self.best_score is not None and not better(score, self.best_score):
            return False
        self.best_score, self.best_epoch = score, trainer.current_epoch
        return True

    def _save(self, trainer: pl.Trainer, name: str) -> Path | None:
        if self.folder is None:
            return None
        file = self.folder / name
        unfinished = file.with_suffix(".tmp")
        trainer.save_checkpoint(unfinished)
        if trainer.is_global_zero:
            os.replace(unfinished, file)
        return file

    def state_dict(self) -> dict[str, Any]:
        """The best so far, so that a resumed run compares with it."""
        return {"best_score": self.best_score, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best so far."""
        self.best_score, self.best_epoch = state_dict["best_score"], state_dict["best_epoch"]


def _copy(source: Path, target: Path) -> None:
    unfinished = target.with_suffix(".tmp")
    shutil.copyfile(source, unfinished)
    os.replace(unfinished, target)


class ProgressBar(LightningProgressBar):
    """One line on a terminal: loss, accuracy, images per second, time left of the epoch.

    Nothing when the output is not a terminal: the line of each epoch is logged anyhow.
    """

    REFRESH_SECONDS = 0.2  # reading the loss waits for the device

    def __init__(self) -> None:
        super().__init__()
        self._bar: tqdm[Any] | None = None
        self._shown = 0.0

    def disable(self) -> None:
        """Lightning asks ranks other than the first for silence."""
        self._enabled = False

    def enable(self) -> None:
        """Lightning's counterpart of `disable`."""
        self._enabled = True

    _enabled = True

    def on_train_epoch_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Open the line of the epoch."""
        if self._enabled and sys.stderr.isatty():
            self._bar = tqdm(
                total=int(trainer.num_training_batches),
                desc=f"epoch {trainer.current_epoch}",
                leave=False,
                dynamic_ncols=True,
                unit="batch",
                bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
            )

    def on_train_batch_end(
        self, trainer: pl.Trainer, task: Any, outputs: Any, batch: Any, index: int
    ) -> None:
        """Move the line on, at most a few times a second."""
        now = time.perf_counter()
        if self._bar is None or now - self._shown < self.REFRESH_SECONDS:
            return
        self._shown = now
        self._bar.n = index + 1
        so_far = task.meters["train"].compute()
        rate = (index + 1) * len(batch[1]) / max(self._bar.format_dict["elapsed"], 1e-9)
        self._bar.set_postfix_str(
            f"loss {so_far['loss']:.4f}, acc {so_far['acc']:.4f}, {rate:.0f} images/s"
        )

    def on_validation_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Say what takes the time now."""
        if self._bar is not None:
            self._bar.set_description_str(f"epoch {trainer.current_epoch} (validating)")

    def on_train_epoch_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Clear the line: the epoch's is logged."""
        self._close()

    def on_exception(
        self, trainer: pl.Trainer, task: pl.LightningModule, exception: BaseException
    ) -> None:
        """Clear the line before the message."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
