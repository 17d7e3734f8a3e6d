"""Parameter groups of the optimizer: undecayed parameters, and lower rates far from the head."""

from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.optim import Optimizer

from strided.errors import UserError
from strided.runs.results import Parameters


def parameter_groups(model: nn.Module, layer_decay: float | None) -> list[dict[str, Any]]:
    """Return the trainable parameters in groups: the head's first, norms and biases apart.

    Norms and biases are not decayed: shrinking them is of no use. With `layer_decay` (above 0, to
    1) each layer has separate groups. Their `lr_scale` is layer_decay to the power of the number of
    layers between the layer and the end (Clark et al. 2020, arXiv:2003.10555, section 3.1). Raises
    UserError.
    """
    if layer_decay is None:
        return list(_apart(list(model.parameters())))
    if not 0 < layer_decay <= 1:
        raise UserError(
            f"optimizer.layer_decay={layer_decay}; expected 0 < layer_decay <= 1. "
            "Try optimizer.layer_decay=0.75, or null to switch it off"
        )
    return [
        {**group, "lr_scale": layer_decay**distance}
        for distance, layer in enumerate(reversed(layers(model)))
        for group in _apart(layer)
    ]


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


def _apart(parameters: list[nn.Parameter]) -> Iterator[dict[str, Any]]:
    trainable = [p for p in parameters if p.requires_grad]
    if weights := [p for p in trainable if p.ndim > 1]:
        yield {"params": weights}
    if norms_and_biases := [p for p in trainable if p.ndim <= 1]:
        yield {"params": norms_and_biases, "weight_decay": 0.0}


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
