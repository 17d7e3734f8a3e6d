"""An optimizer and its schedule, built of their configs, and tried before any image is read."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from strided.config.targets import build, locate
from strided.errors import UserError
from strided.training.parameter_groups import parameter_groups, scale_rates

_STEPS = 1000  # of a trial; no schedule refuses so many


def build_optimizer(node: Mapping[str, Any], model: nn.Module) -> Optimizer:
    """Build the optimizer of a network's trainable parameters. Raises UserError."""
    node = dict(node)
    layer_decay, factor = node.pop("layer_decay", None), node.pop("norm_bias_factor", 1.0)
    groups = parameter_groups(model, layer_decay, factor)
    optimizer: Optimizer = build(node, "optimizer", params=groups)
    scale_rates(optimizer)
    return optimizer


def build_schedule(
    node: Mapping[str, Any], optimizer: Optimizer, total_steps: Callable[[], int]
) -> tuple[LRScheduler, bool]:
    """Build the schedule of an optimizer, and say whether it counts in steps, not in epochs.

    Schedules that know the length of the run count in steps. Raises UserError.
    """
    if node.get("step_size", 1) < 1:  # torch divides by it, at the end of an epoch
        raise UserError(
            f"scheduler.step_size={node['step_size']}; expected 1 or more epochs. "
            "Try scheduler.step_size=10"
        )
    accepted = inspect.signature(locate(node["_target_"], "scheduler")).parameters
    steps = {"total_steps": total_steps()} if "total_steps" in accepted else {}
    return build(dict(node), "scheduler", optimizer=optimizer, **steps), bool(steps)


def try_recipe(recipe: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise UserError if the optimizer or the schedule of a stage refuses its values."""
    optimizer = build_optimizer(recipe["optimizer"], nn.Linear(1, 1))
    build_schedule(recipe["scheduler"], optimizer, lambda: _STEPS)
