"""Facts of an untrained network: sizes, depth, arithmetic, memory, receptive field."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from strided.compare.receptive_field import trace
from strided.config.targets import locate
from strided.errors import UserError
from strided.models.anatomy import anatomy
from strided.models.building import library
from strided.models.dry_run import Trial
from strided.models.macs import count_macs
from strided.models.torchvision_models import published
from strided.models.weights import pretrained_preprocessing

FLOAT32 = 4  # bytes
SMALL = 32  # pixels; for networks without a fixed size and without ImageNet weights


def facts_of(
    config: Mapping[str, Any], num_classes: int, channels: int, image_size: int | None
) -> dict[str, Any]:
    """Return the facts of the network of a model config: the columns of compare.csv by name.

    Only shapes are computed: on the meta device no memory is taken. Raises UserError for a size
    that the network does not take.
    """
    size = image_size or design_size(config)
    trial = Trial(config, num_classes, channels)
    net = trial.run(size).eval()
    images = torch.zeros(1, channels, size, size, device=next(net.parameters()).device)
    total = sum(parameter.numel() for parameter in net.parameters())
    auxiliary = sum(p.numel() for head in anatomy(net).auxiliary for p in head.parameters())
    tracer = trace(net, images)
    facts = {
        "parameters": total - auxiliary,
        "aux_parameters": auxiliary,
        "macs": count_macs(net, images),
        "depth": tracer.depth,
        "image_size": size,
        "stem": trial.resolved(size).get("stem"),
        "activation_bytes": activation_bytes(net, images),
        "checkpoint_bytes": checkpoint_bytes(net),
        "receptive_field": tracer.largest.size or None,
        "sees_all": tracer.largest.sees_all,
        "filter_sizes": " ".join(f"{h}x{w}" for h, w in _largest_first(tracer.filters)),
    }
    return facts | _accuracy(config, facts)


def design_size(config: Mapping[str, Any]) -> int:
    """Side in pixels that a network was made for; 32 if it is not known, as for an MLP."""
    if library(config):
        try:
            return int(pretrained_preprocessing(config)["image_size"])
        except UserError:  # it has no published weights
            return 224
    return int(getattr(locate(config["_target_"], "model"), "image_size", SMALL))


def checkpoint_bytes(net: nn.Module) -> int:
    """Bytes of the state dict with float32 weights, auxiliary heads and statistics included."""
    return sum(
        tensor.numel() * (FLOAT32 if tensor.is_floating_point() else tensor.element_size())
        for tensor in net.state_dict().values()
    )


@torch.no_grad()
def activation_bytes(net: nn.Module, images: Tensor) -> int:
    """Bytes of the float32 outputs of all leaf modules (layers) in a forward pass of `images`.

    Layers that work in place count too. A layer that returns its input unchanged, as dropout in
    evaluation mode, has none. What a network computes between its layers is not counted.
    """
    versions: dict[nn.Module, int] = {}
    total = 0

    def note(layer: nn.Module, given: tuple[Any, ...]) -> None:
        versions[layer] = given[0]._version if given and isinstance(given[0], Tensor) else -1

    def count(layer: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        nonlocal total
        handed_on = given and output is given[0] and output._version == versions[layer]
        if not handed_on:
            tensors = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
            total += FLOAT32 * sum(tensor.numel() for tensor in tensors)

    leaves = [module for module in net.modules() if not any(module.children())]
    hooks = [leaf.register_forward_pre_hook(note) for leaf in leaves]
    hooks += [leaf.register_forward_hook(count) for leaf in leaves]
    net(images)
    for hook in hooks:
        hook.remove()
    return total


def _largest_first(filters: set[tuple[int, ...]]) -> list[tuple[int, ...]]:
    return sorted(filters, key=lambda sides: (-sides[0] * sides[-1], sides))


def _accuracy(config: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """ImageNet accuracy of torchvision's weights, if they were made for exactly this network."""
    nothing = {"top1": None, "top5": None, "source": None}
    if library(config) != "torchvision":
        return nothing
    try:
        known = published(config["name"])
    except UserError:
        return nothing
    own = facts["parameters"]
    as_published = (
        known["parameters"] in (own, own + facts["aux_parameters"])
        and facts["image_size"] == known["image_size"]
        and facts["stem"] == "imagenet"
    )
    return {key: known[key] for key in nothing} if as_published else nothing
