"""ImageSize: smaller images in the first epochs, for less arithmetic."""

import math
from typing import Any

import lightning.pytorch as pl
import torch

from strided.errors import UserError, first_line


class ImageSize(pl.Callback):
    """Train on shrunk images first (Howard 2018; Tan & Le 2021, arXiv:2104.00298, section 4).

    Images are shrunk behind all augmentation, on the device, by bilinear interpolation with an
    antialiasing filter. Validation, and what the checkpoint says of the input, keep the data's
    size. The network must take both.

    Args:
        start: Side of the images at first, as a share of the data's: 0 < start < 1.
        share: Share of the run's epochs with such images, rounded down: 0 < share < 1.
    """

    def __init__(self, start: float, share: float = 0.5) -> None:
        if not 0 < start < 1 or not 0 < share < 1:
            raise UserError(
                f"callbacks.image_size.start={start}, share={share}; expected both between 0 and "
                "1. Try callbacks.image_size.start=0.75 callbacks.image_size.share=0.5, or "
                "callbacks.image_size.start=null to switch it off"
            )
        self.start, self.share = start, share

    def on_train_start(self, trainer: pl.Trainer, task: Any) -> None:
        """See that the network takes such images; set the size, which a resume goes on with."""
        if trainer.max_epochs in (None, -1):
            raise UserError(
                f"callbacks.image_size.share={self.share} needs the length of the run, which "
                "trainer.max_epochs=-1 leaves open; expected a number of epochs. Try "
                "trainer.max_epochs=10"
            )
        self.on_train_epoch_start(trainer, task)
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if data.training_size is not None:
            _require_fit(task, data.preprocessing.channels, data.training_size)

    def on_train_epoch_start(self, trainer: pl.Trainer, task: Any) -> None:
        """Set the size of this epoch; Lightning skips this where a resume goes on inside one."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        assert trainer.max_epochs is not None
        is_small = trainer.current_epoch < math.floor(self.share * trainer.max_epochs)
        side = max(1, round(self.start * data.preprocessing.image_size))
        data.training_size = side if is_small else None

    def on_train_end(self, trainer: pl.Trainer, task: Any) -> None:
        """Give all that comes the data's size."""
        trainer.datamodule.training_size = None  # type: ignore[attr-defined]


def _require_fit(task: Any, channels: int, side: int) -> None:
    """Raise UserError if the network cannot compute images of this side."""
    modes = {module: module.training for module in task.modules()}
    task.eval()  # keeps the statistics of batch normalisation
    try:
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            task.model(torch.zeros(1, channels, side, side, device=task.device))
    except Exception as error:  # any layer may refuse the shape
        raise UserError(
            f"callbacks.image_size.start makes images of {side} pixels, which this network does "
            f"not take ({first_line(error)}); expected one that takes images of several sizes, "
            "such as a ResNet. Try a larger callbacks.image_size.start, or null to switch it off"
        ) from error
    finally:
        for module, training in modes.items():
            module.training = training
