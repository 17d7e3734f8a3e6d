"""Lookahead: slow weights that follow the network's, and take their place every few steps."""

import math
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from strided.errors import UserError
from strided.training.schedules import steps_of_run


class Lookahead(pl.Callback):
    """Every `steps` optimizer steps, move slow weights towards the network's, and go on from them.

    The slow weights keep a share of themselves, `keep` times the part of the run that is over, to
    the power of `rise`. A run that takes its last step ends with the slow weights. Statistics of
    batch normalisation move along. As published by Zhang et al. 2019 (arXiv:1907.08610) the share
    is constant. Jordan 2024 (arXiv:2404.00498) has keep=0.774 and rise=3: at first hardly a change,
    at the end an average.

    Args:
        steps: Optimizer steps from one move to the next, 1 or more.
        keep: The share that slow weights keep of themselves at a move, 0 to below 1.
        rise: 0 keeps the share constant; above 0, it grows from 0 to `keep` over the run.
    """

    def __init__(self, steps: int, keep: float = 0.5, rise: float = 0.0) -> None:
        if steps < 1:
            raise UserError(
                f"callbacks.lookahead.steps={steps}; expected 1 or more. Try "
                "callbacks.lookahead.steps=5, or null to switch it off"
            )
        if not 0 <= keep < 1 or not 0 <= rise < math.inf:
            raise UserError(
                f"callbacks.lookahead.keep={keep}, rise={rise}; expected 0 <= keep < 1 and rise "
                "from 0 on. Try callbacks.lookahead.keep=0.5 callbacks.lookahead.rise=0"
            )
        self.steps, self.keep, self.rise = steps, keep, rise
        self._slow: list[Tensor] = []
        self._step = 0  # the last optimizer step that was seen

    def on_train_start(self, trainer: pl.Trainer, task: Any) -> None:
        """Begin with the network's weights, or go on with a checkpoint's."""
        fast = _weights(task.model)
        if not self._slow:
            self._slow = [weight.detach().clone() for weight in fast]
        self._slow = [slow.to(weight.device) for slow, weight in zip(self._slow, fast, strict=True)]
        self._step = trainer.global_step
        self._first = int(task.stage["step"])
        self._last = steps_of_run(trainer)
        if self.rise and not math.isfinite(self._last):
            raise UserError(
                f"callbacks.lookahead.rise={self.rise} needs the length of the run, which "
                "trainer.max_epochs=-1 leaves open; expected a number of epochs or steps. Try "
                "trainer.max_epochs=10, or callbacks.lookahead.rise=0"
            )

    @torch.no_grad()
    def on_train_batch_end(self, trainer: pl.Trainer, task: Any, *_: Any) -> None:
        """Move after an optimizer step, if it is time; a GPU does it with two kernels for all."""
        step = trainer.global_step
        if step == self._step:
            return
        self._step = step
        fast, done = _weights(task.model), step - self._first
        if step >= self._last:
            torch._foreach_copy_(fast, self._slow)
        elif done % self.steps == 0:
            share = self.keep * (done / (self._last - self._first)) ** self.rise
            torch._foreach_lerp_(self._slow, fast, 1 - share)
            torch._foreach_copy_(fast, self._slow)

    def state_dict(self) -> dict[str, Any]:
        """The slow weights."""
        return {"slow": [slow.cpu() for slow in self._slow]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with them."""
        self._slow = list(state_dict["slow"])


def _weights(net: torch.nn.Module) -> list[Tensor]:
    """Parameters, and the statistics of batch normalisation, of any type that can be averaged."""
    every = [*net.parameters(), *net.buffers()]
    return [tensor.detach() for tensor in every if tensor.is_floating_point()]
