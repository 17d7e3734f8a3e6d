"""EMA: an average of the weights over the last steps, validated and saved in their place."""

from collections.abc import Sequence

import lightning.pytorch as pl
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from strided.errors import UserError


class EMA(WeightAveraging):
    """Validate, and keep in checkpoints, an exponential moving average of the weights.

    After the first optimizer step the average equals the weights. After each later one it moves
    towards them by 1 - min(`decay`, (1 + n) / (10 + n)), where n steps are averaged already. The
    rising decay, as in TensorFlow's ExponentialMovingAverage, soon forgets the poor first weights.
    Statistics of batch normalisation are averaged too. Training continues with the raw weights.
    """

    def __init__(self, decay: float) -> None:
        if not 0 <= decay < 1:
            raise UserError(
                f"callbacks.ema.decay={decay}; expected 0 <= decay < 1. "
                "Try callbacks.ema.decay=0.999, or null to switch it off"
            )
        super().__init__(multi_avg_fn=self._move)
        self.decay = decay

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
        super().setup(trainer, task, stage)

    def _move(
        self, averages: Sequence[Tensor], weights: Sequence[Tensor], count: Tensor | int
    ) -> None:
        decay = min(self.decay, (1 + int(count)) / (10 + int(count)))
        for average, weight in zip(averages, weights, strict=True):
            if average.is_floating_point():
                average.lerp_(weight, 1 - decay)
            else:  # counts and indices, which rounding would falsify
                average.copy_(weight)
