"""Learning-rate schedules that torch lacks, or that it resumes wrongly.

`total_steps` is the number of optimizer steps of the whole run; the task fills it in.
"""

import math
from typing import Any, Literal

import lightning.pytorch as pl
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR, ReduceLROnPlateau

from strided.errors import UserError


def steps_of_run(trainer: pl.Trainer) -> float:
    """Count the optimizer steps of a run; infinity if nothing ends it.

    Lightning's estimate has the first epoch's accumulation of gradients in all epochs.
    """
    estimate = trainer.estimated_stepping_batches
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    found = [c for c in callbacks if isinstance(c, GradientAccumulationScheduler)]
    if not found or not trainer.max_epochs or trainer.max_epochs < 0:
        return estimate
    accumulated = map(found[0].get_accumulate_grad_batches, range(trainer.max_epochs))
    steps = sum(math.ceil(trainer.num_training_batches / batches) for batches in accumulated)
    return steps if trainer.max_steps < 0 else min(steps, trainer.max_steps)


def cosine(
    optimizer: Optimizer,
    total_steps: int,
    warmup_fraction: float = 0.05,
    final_fraction: float = 0.0,
) -> LambdaLR:
    """Rise linearly, then fall along half a cosine (Loshchilov & Hutter 2017, without restarts).

    Args:
        warmup_fraction: Part of the steps, 0 to below 1, that rise from nearly 0 to optimizer.lr.
        final_fraction: Part of optimizer.lr, 0 to 1, at which the last step ends.
    """
    if not 0 <= warmup_fraction < 1:
        raise UserError(
            f"scheduler.warmup_fraction={warmup_fraction}; expected 0 <= warmup_fraction < 1. "
            "Try scheduler.warmup_fraction=0.05"
        )
    if not 0 <= final_fraction <= 1:
        raise UserError(
            f"scheduler.final_fraction={final_fraction}; expected 0 <= final_fraction <= 1. "
            "Try scheduler.final_fraction=0"
        )
    warmup = round(warmup_fraction * total_steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = min(1.0, (step - warmup) / max(1, total_steps - warmup))
        return final_fraction + (1 - final_fraction) * 0.5 * (1 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, factor)


class OneCycle(OneCycleLR):
    """torch's OneCycleLR, with `max_lr` scaled like each group's rate (`lr_scale`).

    It can be resumed with more epochs: the cycle then has the new length. Muon keeps its momentum.

    Args:
        max_lr: The highest rate of the cycle.
    """

    def __init__(self, optimizer: Optimizer, max_lr: float, total_steps: int, **shape: Any) -> None:
        if not 0 < max_lr < math.inf:
            raise UserError(
                f"scheduler.max_lr={max_lr}; expected above 0. Try scheduler.max_lr=0.1"
            )
        if optimizer.defaults.keys() >= {"momentum", "betas"}:
            shape["cycle_momentum"] = False  # of Muon, torch would move only those of its NAdamW
        scaled = [max_lr * group.get("lr_scale", 1.0) for group in optimizer.param_groups]
        super().__init__(optimizer, scaled, total_steps, **shape)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the position, not the saved run's length."""
        own = ("total_steps", "_schedule_phases")
        super().load_state_dict({k: v for k, v in state_dict.items() if k not in own})


class Plateau(ReduceLROnPlateau):
    """torch's ReduceLROnPlateau, with the name of the metric it watches.

    The task steps it as soon as the metric is measured, after a validation or at the end of an
    epoch, before the checkpoint of the epoch is written. Lightning would step it afterwards, and a
    resumed run would miss that step.

    Args:
        monitor: The metric to watch: val/loss, val/acc, train/loss or train/acc.
        mode: Whether a lower or a higher value is better.
        factor: The rate is multiplied by it.
        patience: Epochs without a better value before the rate is lowered.
        threshold: Part of the best value by which another must be better to count.
        cooldown: Epochs to wait after the rate was lowered.
        min_lr: The rate is never lower.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        monitor: str = "val/loss",
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 3,
        threshold: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(
            optimizer,
            mode=mode,
            factor=factor,
            patience=patience,
            threshold=threshold,
            cooldown=cooldown,
            min_lr=min_lr,
        )
        self.monitor = monitor
