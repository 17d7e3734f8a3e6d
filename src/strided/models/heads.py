"""Heads for transfer learning, which turn a network's features into logits of new classes."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from strided.errors import UserError, first_line
from strided.models.anatomy import anatomy
from strided.models.pooled import Pool, pooled_network

Kind = Literal["original", "linear", "mlp", "flatten_mlp", "pooled"]

_POOLS = ("avgpool", "global_pool", "head.global_pool")  # of torchvision, of timm's two kinds


class Head(nn.Sequential):
    """strided's head in place of a network's: never part of published weights."""


def set_head(
    net: nn.Module,
    kind: Kind,
    num_classes: int,
    shape: tuple[int, int, int],
    hidden: int = 256,
    dropout: float | None = None,
    pooled: Sequence[str | int] | None = None,
    pool: Pool = "mean_std",
) -> nn.Module:
    """Replace the classifier of a network that takes images of `shape` (C, H, W); returns it.

    linear: pool - K. mlp: pool - hidden - ReLU - dropout - K. flatten_mlp: the same without
    pooling, on the whole last map. `dropout` null: 0.5 before the output of the two mlp heads, none
    in linear and pooled. original: keep the network's head. Norms at the start of its classifier
    stay. pooled: a K on the means (`pool` mean), or means and standard deviations (mean_std), of
    the maps of the blocks `pooled`, named or numbered from 0 on; later blocks are left out. Raises
    UserError.
    """
    _check(kind, hidden, dropout)
    if kind == "original":
        return net
    if kind == "pooled":
        own = pooled_network(net, pooled, pool, shape)
        size = sum(size for _, size in own.sizes)
        own.head = Head(nn.Dropout(dropout or 0.0), nn.Linear(size, num_classes))
        return own
    name = _classifier(net)
    start = _leading_norms(net.get_submodule(name))
    _set_pooling(net, kind)
    net.set_submodule(name, (probe := _Probe(start, num_classes)))
    try:
        _run_once(net, shape)
    except Exception as error:  # any layer may refuse maps that are not pooled
        raise UserError(
            f"model.head={kind} does not fit this network: {first_line(error)}. "
            "Try model.head=linear, or model.head=original"
        ) from error
    net.set_submodule(name, Head(*start, *_layers(kind, probe.shape, num_classes, hidden, dropout)))
    return net


def _check(kind: str, hidden: int, dropout: float | None) -> None:
    if kind not in get_args(Kind):
        raise UserError(
            f"model.head={kind}; expected {', '.join(get_args(Kind))}. Try model.head=linear"
        )
    if kind == "original" and dropout is not None:
        raise UserError(
            f"model.head_dropout={dropout} has no effect with model.head=original; expected a head "
            "of strided's own, or null. Try model.head=linear"
        )
    if hidden < 1:
        raise UserError(
            f"model.head_hidden={hidden}; expected 1 or more. Try model.head_hidden=256"
        )
    if dropout is not None and not 0 <= dropout < 1:
        raise UserError(
            f"model.head_dropout={dropout}; expected 0 <= head_dropout < 1. "
            "Try model.head_dropout=0.5"
        )


class _Probe(nn.Module):
    """Takes the classifier's place and records the shape of an image's features there."""

    def __init__(self, start: list[nn.Module], num_classes: int) -> None:
        super().__init__()
        self.start = nn.Sequential(*start)
        self.num_classes = num_classes
        self.shape: tuple[int, ...] = ()

    def forward(self, features: Tensor) -> Tensor:
        features = self.start(features)
        self.shape = tuple(features.shape[1:])
        return features.new_zeros(len(features), self.num_classes)


def _classifier(net: nn.Module) -> str:
    """Name of the module to replace: timm's classifier, else the head's module with weights."""
    get = getattr(net, "get_classifier", None)
    if callable(get) and isinstance(output := get(), nn.Module):
        return next(name for name, module in net.named_modules() if module is output)
    units = [name for name, module in anatomy(net).head.units if list(module.parameters())]
    if len(units) != 1:
        raise UserError(
            f"this network has {len(units)} output layers; expected one to replace. "
            "Try model.head=original"
        )
    return units[0]


def _leading_norms(classifier: nn.Module) -> list[nn.Module]:
    """Layers before a classifier's first Linear, if they have weights: norms of the features."""
    found: list[nn.Module] = []
    if isinstance(classifier, nn.Sequential):
        for layer in classifier:
            if isinstance(layer, nn.Linear | nn.Conv2d):
                break
            found.append(layer)
    has_weights = any(True for layer in found for _ in layer.parameters())
    return found if has_weights else []


def _set_pooling(net: nn.Module, kind: Kind) -> None:
    """Pool the last maps to one value each, or not at all."""
    modules = dict(net.named_modules())
    name = next((pool for pool in _POOLS if pool in modules), None)
    if kind == "flatten_mlp":
        if name is None:
            raise UserError(
                "model.head=flatten_mlp: this network pools its last maps by itself, with no layer "
                "that could be left out; expected one like VGG or ResNet. Try model.head=mlp"
            )
        net.set_submodule(name, nn.Identity())
    elif name is not None and getattr(modules[name], "output_size", 1) not in (1, (1, 1)):
        net.set_submodule(name, nn.AdaptiveAvgPool2d(1))


@torch.no_grad()
def _run_once(net: nn.Module, shape: tuple[int, int, int]) -> None:
    """Run the network on one image of zeros, without changing it."""
    device = next(net.parameters()).device
    was_training = net.training
    net.eval()
    net(torch.zeros(1, *shape, device=device))
    net.train(was_training)


def _layers(
    kind: Kind, shape: tuple[int, ...], num_classes: int, hidden: int, dropout: float | None
) -> list[nn.Module]:
    layers: list[nn.Module] = []
    size = 1
    for length in shape:
        size *= length
    if len(shape) == 3:
        if kind != "flatten_mlp":
            layers.append(nn.AdaptiveAvgPool2d(1))
            size = shape[0]
        layers.append(nn.Flatten())
    if kind == "linear":
        return [*layers, nn.Dropout(dropout or 0.0), nn.Linear(size, num_classes)]
    rate = 0.5 if dropout is None else dropout
    hidden_layers = [nn.Linear(size, hidden), nn.ReLU(), nn.Dropout(rate)]
    return [*layers, *hidden_layers, nn.Linear(hidden, num_classes)]
