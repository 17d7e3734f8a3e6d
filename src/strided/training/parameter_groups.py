"""Parameter groups of the optimizer: undecayed parameters, and rates of their own."""

import math
from collections.abc import Collection, Iterator
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from strided.errors import UserError
from strided.runs.results import Parameters


def parameter_groups(
    model: nn.Module, layer_decay: float | None, norm_bias_factor: float = 1.0
) -> list[dict[str, Any]]:
    """Return the trainable parameters in groups: the head's first, norms and biases apart.

    Norms and biases are not decayed: shrinking them is of no use. With `layer_decay` (above 0, to
    1) each layer has separate groups. Their `lr_scale` is layer_decay to the power of the number of
    layers between the layer and the end (Clark et al. 2020, arXiv:2003.10555, section 3.1). The
    biases of batch normalisation are apart again if `norm_bias_factor` is not 1, which multiplies
    their `lr_scale` (Page 2019, "How to train your ResNet", part 8: 64). Raises UserError.
    """
    _check(layer_decay, norm_bias_factor)
    fast = {id(p) for p in _norm_biases(model)} if norm_bias_factor != 1 else set()
    if layer_decay is None:
        return list(_apart(list(model.parameters()), fast, norm_bias_factor))
    return [
        {**group, "lr_scale": layer_decay**distance * group.get("lr_scale", 1.0)}
        for distance, layer in enumerate(reversed(layers(model)))
        for group in _apart(layer, fast, norm_bias_factor)
    ]


def _check(layer_decay: float | None, norm_bias_factor: float) -> None:
    if layer_decay is not None and not 0 < layer_decay <= 1:
        raise UserError(
            f"optimizer.layer_decay={layer_decay}; expected 0 < layer_decay <= 1. "
            "Try optimizer.layer_decay=0.75, or null to switch it off"
        )
    if not 0 < norm_bias_factor < math.inf:
        raise UserError(
            f"optimizer.norm_bias_factor={norm_bias_factor}; expected above 0. "
            "Try optimizer.norm_bias_factor=64, or 1 to switch it off"
        )


def parameter_counts(model: nn.Module) -> Parameters:
    """Count the parameters of a network: all of them, and those that are not frozen."""
    return {
        "total": sum(p.numel() for p in model.parameters()),
        "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }


def scale_rates(optimizer: Optimizer) -> None:
    """Multiply each group's rate by its `lr_scale`; schedules start from the result."""
    for group in optimizer.param_groups:
        group["lr"] *= group.get("lr_scale", 1.0)


def _apart(
    parameters: list[nn.Parameter], fast: Collection[int], factor: float
) -> Iterator[dict[str, Any]]:
    """Split parameters into groups; those with an `id` in `fast` have `factor` for `lr_scale`."""
    trainable = [p for p in parameters if p.requires_grad]
    if weights := [p for p in trainable if p.ndim > 1]:
        yield {"params": weights}
    others = [p for p in trainable if p.ndim <= 1]
    if norms_and_biases := [p for p in others if id(p) not in fast]:
        yield {"params": norms_and_biases, "weight_decay": 0.0}
    if norm_biases := [p for p in others if id(p) in fast]:
        yield {"params": norm_biases, "weight_decay": 0.0, "lr_scale": factor}


def _norm_biases(model: nn.Module) -> Iterator[nn.Parameter]:
    for module in model.modules():
        if isinstance(module, _BatchNorm) and isinstance(module.bias, nn.Parameter):
            yield module.bias


def layers(model: nn.Module) -> list[list[nn.Parameter]]:
    """Return the parameters of each layer, in the order in which the network registers them.

    A layer is a child of the network, or of its Sequentials and ModuleLists. Modules without a
    weight matrix (norms, position embeddings) belong to the layer before them, or to the first.
    """
    found: list[list[nn.Parameter]] = [[]]
    begun = False  # whether the last layer has a weight matrix
    for parameters, has_weight in _blocks(model, sum(p.numel() for p in model.parameters()) / 2):
        if has_weight and begun:
            found.append([])
        begun = begun or has_weight
        found[-1] += parameters
    return found


def _blocks(module: nn.Module, most: float) -> Iterator[tuple[list[nn.Parameter], bool]]:
    """Parameters of each block, and whether it has a weight matrix.

    A module with `most` of all parameters, as a transformer's encoder, is not a block: its children
    are blocks.
    """
    if loose := list(module.parameters(recurse=False)):
        yield loose, False
    in_container = type(module) in (nn.Sequential, nn.ModuleList)  # subclasses are blocks
    for child in module.children():
        parameters = list(child.parameters())
        is_container = type(child) in (nn.Sequential, nn.ModuleList)
        is_part = not in_container and sum(p.numel() for p in parameters) > most
        if any(child.children()) and (is_container or is_part):
            yield from _blocks(child, most)
        elif parameters:
            yield parameters, any(p.ndim > 1 for p in parameters)
