"""The progress of an epoch: a line on a terminal, or a line now and then in a log."""

import logging
import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar as LightningProgressBar
from tqdm import tqdm

from strided.system.verbosity import shows_bars

log = logging.getLogger(__name__)

TERMINAL_SECONDS = 0.2  # between readings of the loss, each of which waits for the device
LOG_SECONDS = 60.0


class ProgressBar(LightningProgressBar):
    """Show loss, accuracy, images per second and the time left of the epoch.

    A terminal has one line that moves; elsewhere a line is printed each minute, since an epoch may
    take hours. The recorder prints the line of a finished epoch.
    """

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._bar: tqdm[Any] | None = None
        self._start = self._shown = 0.0
        self._images = 0  # since _start

    def disable(self) -> None:
        """Lightning silences ranks other than the first."""
        self._enabled = False

    def enable(self) -> None:
        """Lightning's counterpart of `disable`."""
        self._enabled = True

    def on_train_batch_start(
        self, trainer: pl.Trainer, task: pl.LightningModule, batch: Any, index: int
    ) -> None:
        """Open the line at the first batch of the epoch, or of its rest."""
        if self._bar is None and self._enabled:
            self._start = self._shown = time.perf_counter()
            self._images = 0
            self._bar = tqdm(
                total=int(trainer.num_training_batches),
                initial=index,
                desc=f"epoch {trainer.current_epoch}",
                leave=False,
                dynamic_ncols=True,
                disable=not shows_bars(),
                bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
            )

    def on_train_batch_end(
        self, trainer: pl.Trainer, task: Any, outputs: Any, batch: Any, index: int
    ) -> None:
        """Move the line on, at most a few times a second."""
        now = time.perf_counter()
        self._images += len(batch[1])
        pause = TERMINAL_SECONDS if self._bar is not None and not self._bar.disable else LOG_SECONDS
        if self._bar is None or now - self._shown < pause:
            return
        self._shown = now
        so_far = task.meters["train"].compute()
        rate = self._images / (now - self._start)
        text = f"loss {so_far['loss']:.4f}, acc {so_far['acc']:.4f}, {rate:.0f} images/s"
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(index + 1 - self._bar.n)
        if self._bar.disable:
            total = trainer.num_training_batches
            log.info("epoch %d batch %d/%d  %s", trainer.current_epoch, index + 1, total, text)

    def on_validation_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Say that validation takes the time now."""
        if self._bar is not None:
            self._bar.set_description_str(f"epoch {trainer.current_epoch} (validating)")

    def on_train_epoch_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Clear the line: the recorder logs the finished epoch."""
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
