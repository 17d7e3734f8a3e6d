"""Suggest a learning rate: take a few steps at rising rates, then restore the weights."""

import copy
import logging
import math
from itertools import chain, count
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device

from strided.errors import UserError

log = logging.getLogger(__name__)

_SMOOTHING = 0.9  # of the loss, as the weight of the average so far
_DIVERGED = 4.0  # times the best loss


class LearningRateFinder(pl.Callback):
    """Before the first epoch, try `steps` rates from `lowest` to `highest`, a batch each.

    It suggests the rate at which the loss falls fastest (Smith 2017, arXiv:1506.01186, section
    3.3). It changes nothing: weights, random numbers and data are restored.

    Args:
        steps: How many rates to try, 20 or more.
        lowest: The first rate.
        highest: The last rate; it ends before where the loss diverges.
    """

    def __init__(self, steps: int, lowest: float = 1e-6, highest: float = 1.0) -> None:
        if steps < 20:
            raise UserError(
                f"callbacks.lr_finder.steps={steps}; expected 20 or more. Try "
                "callbacks.lr_finder.steps=100, or null to switch it off"
            )
        if not 0 < lowest < highest:
            raise UserError(
                f"callbacks.lr_finder.lowest={lowest}, highest={highest}; expected 0 < lowest < "
                "highest. Try callbacks.lr_finder.lowest=1e-6 callbacks.lr_finder.highest=1"
            )
        self.steps, self.lowest, self.highest = steps, lowest, highest
        self.found: dict[str, Any] | None = None

    def on_train_start(self, trainer: pl.Trainer, task: Any) -> None:
        """Look for a rate, if the run is new."""
        if trainer.global_step > 0:
            return
        weights = {name: tensor.clone() for name, tensor in task.state_dict().items()}
        devices = [task.device] if task.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            rates, losses = self._try_rates(trainer, task)
        task.load_state_dict(weights)
        task.zero_grad(set_to_none=True)
        suggestion = steepest(rates, losses)
        self.found = {"suggestion": suggestion, "rates": rates, "losses": losses}
        own = task.recipe["optimizer"].get("lr")
        if suggestion is None:
            log.info("learning rates %g to %g: the loss falls at none", self.lowest, self.highest)
        else:
            log.info("learning rate: %.2g is suggested; the run has %s", suggestion, own)

    def _try_rates(self, trainer: pl.Trainer, task: Any) -> tuple[list[float], list[float]]:
        """Rates, and the smoothed loss at each, until it diverges."""
        optimizer = task.build_optimizer()
        loader: Any = copy.copy(trainer.train_dataloader)  # a copy keeps its place in the data
        batches = chain.from_iterable(loader for _ in count())
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        rates: list[float] = []
        losses: list[float] = []
        average = 0.0
        for step, batch in zip(range(self.steps), batches, strict=False):
            rate = self.lowest * (self.highest / self.lowest) ** (step / (self.steps - 1))
            for group in optimizer.param_groups:
                group["lr"] = rate * group.get("lr_scale", 1.0)
            moved = move_data_to_device(batch, task.device)
            with trainer.precision_plugin.forward_context():
                loss = task.training_step(data.on_after_batch_transfer(moved, 0), step)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            average = _SMOOTHING * average + (1 - _SMOOTHING) * loss.item()
            smoothed = average / (1 - _SMOOTHING ** (step + 1))
            if not math.isfinite(smoothed) or smoothed > _DIVERGED * min(losses, default=math.inf):
                break
            rates.append(rate)
            losses.append(smoothed)
        return rates, losses


def steepest(rates: list[float], losses: list[float]) -> float | None:
    """The rate at which the loss falls fastest over the rate's logarithm; None if it never falls.

    The first tenth is left out: there the loss is averaged over few batches.
    """
    first = max(1, len(rates) // 10)
    slopes = {
        rates[at]: (losses[at + 1] - losses[at - 1]) / math.log(rates[at + 1] / rates[at - 1])
        for at in range(first, len(rates) - 1)
    }
    if not slopes or min(slopes.values()) >= 0:
        return None
    return min(slopes, key=slopes.__getitem__)
