"""EMA: an average of the weights over the last steps, validated and saved in their place."""

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn

from strided.errors import UserError


class EMA(WeightAveraging):
    """Validate, and keep in checkpoints, an exponential moving average of the weights.

    After the first optimizer step the average equals the weights. After each later one it moves
    towards them by 1 - min(`decay`, (1 + n) / (10 + n)), where n steps are averaged already. The
    rising decay, as in TensorFlow's ExponentialMovingAverage, soon forgets the poor first weights.
    Statistics of batch normalisation are averaged too. Training continues with the raw weights.

    Args:
        decay: The part of the average that stays at each step, 0 to below 1.
    """

    def __init__(self, decay: float) -> None:
        if not 0 <= decay < 1:
            raise UserError(
                f"callbacks.ema.decay={decay}; expected 0 <= decay < 1. "
                "Try callbacks.ema.decay=0.999, or null to switch it off"
            )
        super().__init__()
        self.decay = decay
        self._count = 0  # steps averaged; the average's own count is on the device

    def setup(self, trainer: pl.Trainer, task: pl.LightningModule, stage: str) -> None:
        """Average on the network's future device: the network is not there yet."""
        precision = str(trainer.precision)
        if precision in ("16-true", "bf16-true"):  # steps of 1 - decay would round to nothing
            raise UserError(
                f"callbacks.ema with trainer.precision={precision}, whose weights are too coarse "
                "to average; expected weights of 32 bits. Try trainer.precision="
                f"{precision.replace('true', 'mixed')}, or callbacks.ema.decay=null"
            )
        self._device = trainer.strategy.root_device
        self._count = 0
        super().setup(trainer, task, stage)

    def on_train_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """Count from here: the steps of an earlier stage are not averaged."""
        self._latest_update_step = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, task: pl.LightningModule, *_: Any) -> None:
        """Move the average after an optimizer step; Lightning's way would wait for a GPU."""
        if trainer.global_step <= self._latest_update_step:
            return
        assert self._average_model is not None
        self._move(_tensors(self._average_model.module), _tensors(task), self._count)
        self._average_model.n_averaged += 1  # for the checkpoint
        self._count += 1
        self._latest_update_step = trainer.global_step

    @torch.no_grad()
    def _move(self, averages: list[Tensor], weights: list[Tensor], count: int) -> None:
        """Move by one step, after `count` others; a GPU does it with a few kernels for all."""
        moving: list[tuple[Tensor, Tensor]] = []
        copied: list[tuple[Tensor, Tensor]] = []
        for pair in zip(averages, weights, strict=True):
            # counts and indices are copied: rounding would falsify them
            (moving if count > 0 and pair[0].is_floating_point() else copied).append(pair)
        decay = min(self.decay, (1 + count) / (10 + count))
        if moving:
            torch._foreach_lerp_(*_two_lists(moving), 1 - decay)
        if copied:
            torch._foreach_copy_(*_two_lists(copied))

    def on_load_checkpoint(
        self, trainer: pl.Trainer, task: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore the average and the count of its steps."""
        super().on_load_checkpoint(trainer, task, checkpoint)
        if self._average_model is not None:
            self._count = int(self._average_model.n_averaged)


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]


def _two_lists(pairs: list[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    return [one for one, _ in pairs], [other for _, other in pairs]
