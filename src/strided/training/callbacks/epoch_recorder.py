"""metrics.csv: a row per epoch, and the time that everything took."""

import logging
import math
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint as LightningCheckpoint

from strided.errors import UserError
from strided.runs.metrics_csv import read_rows, write_rows
from strided.system.devices import synchronise
from strided.training.callbacks.checkpoint import Checkpoint

log = logging.getLogger(__name__)


class EpochRecorder(LightningCheckpoint):
    """Write a row of metrics.csv (`file`, None: nowhere) per epoch, and keep the run's times.

    For Lightning it is a Checkpoint, so that it runs after the task has logged the epoch. It is
    listed before strided's Checkpoint, so that no checkpoint holds an epoch without a written row.
    """

    def __init__(self, file: Path | None, checkpoint: Checkpoint | None) -> None:
        self.file, self.checkpoint = file, checkpoint
        self.fit_seconds = 0.0  # of earlier sessions too
        self._rates: list[float] = []  # images per second, one value per epoch
        self._epoch_seconds = 0.0  # of this epoch in an earlier session
        self._train_seconds = 0.0  # of this epoch, without validation and checkpoints
        self._images = 0
        self._saved = 0.0  # checkpoint.save_seconds at the clock's last restart
        self._mark = self._epoch_start = time.perf_counter()
        self._fit_start: float | None = None

    @property
    def train_seconds(self) -> float:
        """Seconds inside fit, over all sessions."""
        this_session = time.perf_counter() - self._fit_start if self._fit_start else 0.0
        return self.fit_seconds + this_session

    @property
    def images_per_second(self) -> float | None:
        """Mean over the epochs after the first, which warms up; if there is only one, its rate."""
        rates = self._rates[1:] or self._rates
        return len(rates) / sum(1 / rate for rate in rates) if rates else None

    def start(self) -> None:
        """Start the clock of fit, with all its stages."""
        self._fit_start = time.perf_counter()

    def on_train_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Drop rows of epochs that the checkpoint does not hold: they will be trained again."""
        self._epoch_start = time.perf_counter()
        self._restart_clock()
        if self.file is not None and trainer.is_global_zero and self.file.exists():
            rows = [
                row for row in read_rows(self.file) if int(row["epoch"]) < trainer.current_epoch
            ]
            write_rows(self.file, rows)

    def on_train_epoch_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Reset the counts; Lightning does not call this when it continues inside an epoch."""
        self._epoch_start = time.perf_counter()
        self._epoch_seconds = self._train_seconds = 0.0
        self._images = 0
        self._restart_clock()

    def _restart_clock(self) -> None:
        self._mark = time.perf_counter()
        self._saved += self._save_seconds()

    def _save_seconds(self) -> float:
        """Seconds spent on checkpoints since the clock was restarted."""
        return self.checkpoint.save_seconds - self._saved if self.checkpoint else 0.0

    def on_train_batch_end(
        self, trainer: pl.Trainer, task: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        """Count the batch, and the time since the last one: waiting for data included."""
        if trainer.is_last_batch:
            synchronise(task.device)  # a GPU may be batches behind
        self._train_seconds += time.perf_counter() - self._mark - self._save_seconds()
        self._restart_clock()
        self._images += len(batch[1]) * trainer.world_size

    def on_validation_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Leave validation out of the training time."""
        self._restart_clock()

    def on_train_epoch_end(self, trainer: pl.Trainer, task: Any) -> None:
        """Write the row of this epoch."""
        rate = self._images / self._train_seconds
        self._rates.append(rate)
        seconds = self._epoch_seconds + time.perf_counter() - self._epoch_start
        row: dict[str, Any] = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "lr": task.learning_rate,
            **task.measured,
            "epoch_seconds": round(seconds, 3),
            "images_per_second": round(rate, 1),
        }
        log.info("%s", _describe(row, trainer.max_epochs))
        for logger in trainer.loggers:
            logger.log_metrics({k: v for k, v in row.items() if k != "step"}, trainer.global_step)
        if self.file is not None and trainer.is_global_zero:
            rows = read_rows(self.file) if self.file.exists() else []
            write_rows(self.file, [*rows, row])
        for split, name in (("train", "training"), ("val", "validation")):
            if math.isfinite(row.get(f"{split}/loss", 0)):
                continue
            raise UserError(
                f"the {name} loss became {row[f'{split}/loss']} in epoch {row['epoch']}; expected "
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
        """Continue with the times of the earlier session."""
        self.fit_seconds = state_dict["fit_seconds"]
        self._rates = list(state_dict["rates"])
        self._epoch_seconds = state_dict["epoch_seconds"]
        self._train_seconds = state_dict["epoch_train_seconds"]
        self._images = state_dict["images"]


def _describe(row: dict[str, Any], max_epochs: int | None) -> str:
    last = f"/{max_epochs - 1}" if max_epochs and max_epochs > 0 else ""
    parts = [f"epoch {row['epoch']}{last}"]
    for split in ("train", "val"):
        if f"{split}/acc" in row:
            parts.append(f"{split} loss {row[f'{split}/loss']:.4f} acc {row[f'{split}/acc']:.4f}")
    parts.append(f"{row['epoch_seconds']:.1f} s, {row['images_per_second']:.0f} images/s")
    return "  ".join(parts)
