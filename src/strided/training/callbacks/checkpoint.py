"""Checkpoints: best and last, each written whole, and where a run can stop. Averaged weights."""

import logging
import math
import time
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint as LightningCheckpoint
from lightning.pytorch.callbacks import WeightAveraging

from strided.errors import UserError
from strided.system.processes import is_first, largest
from strided.system.signals import Interrupted, Interruption
from strided.training.checkpoint_files import PlainFile, make_last
from strided.training.seen_images import SeenImages

log = logging.getLogger(__name__)


class Checkpoint(LightningCheckpoint):
    """Keep last.ckpt and, by `monitor`, best.ckpt; save and stop when a signal asks for it.

    Lightning's ModelCheckpoint forgets its best score when it resumes elsewhere, refuses epochs
    and steps together, and falls silent when a metric is NaN.

    Args:
        monitor: The metric of best.ckpt: val/acc, val/loss, train/acc or train/loss.
        mode: Whether a higher or a lower value is better.
        every_n_train_steps: Write last.ckpt after so many steps too, inside of epochs.
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
        self.epochs = 0  # number of saved epochs
        self.save_seconds = 0.0  # of this session
        self.folder: Path | None = None
        self.interruption = Interruption()
        self.seen = SeenImages()

    def attach(self, folder: Path, interruption: Interruption) -> None:
        """Give the run's folder and the signal listener, which are not configuration."""
        self.folder, self.interruption = folder, interruption

    def setup(self, trainer: pl.Trainer, task: pl.LightningModule, stage: str) -> None:
        """Leave no half-written checkpoint outside of the run's folder."""
        trainer.strategy.checkpoint_io = PlainFile()

    def on_train_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Take the signals over from Lightning, which would stop before the epoch is saved."""
        self.interruption.take_over()
        trainer.should_stop = self.stopped_early  # Lightning forgets it

    def on_train_batch_end(
        self, trainer: pl.Trainer, task: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        """Save inside an epoch, at a batch from which a resumed run continues exactly."""
        if not _is_settled(trainer, index + 1):
            return
        signum = self._signal()
        every = self.every_n_train_steps
        if signum or (every is not None and trainer.global_step % every == 0):
            self._save(trainer)
        self._stop(signum)

    def on_validation_batch_end(
        self, trainer: pl.Trainer, task: pl.LightningModule, *_: Any
    ) -> None:
        """Stop inside validation; the resumed run repeats validation from its beginning."""
        if trainer.sanity_checking or _is_accumulating(trainer, trainer.fit_loop.batch_idx + 1):
            return
        if signum := self._signal():
            _leave_validation(trainer, task)
            self._save(trainer)
            self._stop(signum)

    def on_train_epoch_end(self, trainer: pl.Trainer, task: Any) -> None:
        """Save the epoch, also as best.ckpt if it is the best."""
        improved = self._improved(task.measured.get(self.monitor, math.nan), trainer.current_epoch)
        self.epochs = trainer.current_epoch + 1
        signum = self._signal()
        self._save(trainer, also_best=improved)
        self._stop(signum)

    def _signal(self) -> int:
        """The signal that any process has received, 0 for none: all stop after the same batch."""
        return largest(self.interruption.requested or 0)

    def _stop(self, signum: int) -> None:
        """Stop for a signal that came before the state was saved; a later one waits for a batch."""
        if not signum:
            return
        if self.folder is not None:
            log.info("saved; to go on: resume=%s", self.folder.parent)
        raise Interrupted(signum)

    def _improved(self, score: float, epoch: int) -> bool:
        """Whether the epoch is the best: a NaN or missing score never is."""
        if not math.isfinite(score):
            return False
        if self.best_score is not None:
            better = score > self.best_score if self.mode == "max" else score < self.best_score
            if not better:
                return False
        self.best_score, self.best_epoch = score, epoch
        return True

    def _save(self, trainer: pl.Trainer, *, also_best: bool = False) -> None:
        if self.folder is None:
            return
        started = time.perf_counter()
        self.stopped_early = trainer.should_stop
        task: Any = trainer.lightning_module
        task.trained_on["seen"] = self.seen.keep(self.folder, trainer.datamodule)  # type: ignore[attr-defined]
        unfinished = self.folder / "last.tmp"
        trainer.save_checkpoint(unfinished)  # by all processes; the first writes
        if is_first():
            make_last(unfinished, also_best=also_best)
        self.save_seconds += time.perf_counter() - started

    def state_dict(self) -> dict[str, Any]:
        """The best so far, for a resumed run to compare with, and whether training was over."""
        return {
            "best_score": self.best_score,
            "best_epoch": self.best_epoch,
            "stopped_early": self.stopped_early,
            "epochs": self.epochs,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best so far."""
        self.stopped_early, self.epochs = state_dict["stopped_early"], state_dict["epochs"]
        self.best_score, self.best_epoch = state_dict["best_score"], state_dict["best_epoch"]


def _is_settled(trainer: pl.Trainer, batches: int) -> bool:
    """Tell whether everything that follows from these batches of the epoch has happened.

    It has not while gradients accumulate, nor if validation or the end of the epoch comes next:
    Lightning would leave them out of the resumed run.
    """
    if batches >= trainer.num_training_batches or _is_accumulating(trainer, batches):
        return False
    every = trainer.val_check_batch
    total = trainer.fit_loop.total_batch_idx + 1
    return not every or (batches % every != 0 and total % every != 0)


def _is_accumulating(trainer: pl.Trainer, batches: int) -> bool:
    """Tell whether there are gradients after these batches; no checkpoint keeps gradients."""
    last = batches >= trainer.num_training_batches  # the last batch always steps
    return not last and batches % trainer.accumulate_grad_batches != 0


def _leave_validation(trainer: pl.Trainer, task: pl.LightningModule) -> None:
    """Go back to before validation measured anything, for a checkpoint that starts there."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, WeightAveraging):  # validation uses the averaged weights
            callback.on_validation_epoch_end(trainer, task)
    progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
    progress.reset()
    # Lightning resumes a validation only in its first batch, and skips others
    progress.increment_ready()
    progress.increment_started()
