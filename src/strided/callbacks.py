"""Checkpoints: best and last, written whole; where a run that must stop does."""

import logging
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint as LightningCheckpoint

from strided.errors import UserError
from strided.interruption import Interruption

log = logging.getLogger(__name__)


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
        self.stopped_early = False
        self.folder: Path | None = None
        self.interruption = Interruption()
        self._validated = False  # since the last epoch ended

    def attach(self, folder: Path, interruption: Interruption) -> None:
        """Give the run's folder and what listens for signals; both are not configuration."""
        self.folder, self.interruption = folder, interruption

    def on_train_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Take the signals over from Lightning, which would stop before the epoch is saved."""
        self.interruption.take_over()
        trainer.should_stop = self.stopped_early  # Lightning forgets it

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

    def on_validation_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Note that the metrics are of this epoch: Lightning keeps old ones where none ran."""
        self._validated = True

    def on_train_epoch_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Save the epoch, as best.ckpt too if it is."""
        improved = (self._validated or not self.monitor.startswith("val/")) and self._improved(
            trainer
        )
        self._validated = False
        self.stopped_early = trainer.should_stop
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
        """The best so far, so that a resumed run compares with it, and whether it was the end."""
        return {
            "best_score": self.best_score,
            "best_epoch": self.best_epoch,
            "stopped_early": self.stopped_early,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best so far."""
        self.stopped_early = state_dict["stopped_early"]
        self.best_score, self.best_epoch = state_dict["best_score"], state_dict["best_epoch"]


def _copy(source: Path, target: Path) -> None:
    unfinished = target.with_suffix(".tmp")
    shutil.copyfile(source, unfinished)
    os.replace(unfinished, target)
