"""The layers of a network by name, their outputs for an image, and the layer for CAMs."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from strided.errors import UserError, did_you_mean
from strided.models.anatomy import Block, anatomy
from strided.models.pooled import PooledNetwork, taken_blocks


@dataclass(frozen=True)
class Layer:
    """A module that took part in a forward pass; `shape` is its output's, without the batch.

    `shape` is None if the module's output is not a single tensor.
    """

    kind: str
    shape: tuple[int, ...] | None

    @property
    def is_maps(self) -> bool:
        """Whether the output is maps (C, H, W): square, as images are.

        Some transformers give (H, W, C), which has the same number of axes.
        """
        return self.shape is not None and len(self.shape) == 3 and self.shape[1] == self.shape[2]

    def __str__(self) -> str:
        return "several outputs" if self.shape is None else "x".join(map(str, self.shape))


@contextmanager
def outputs_of(net: nn.Module, names: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Inside the block, a forward pass puts the outputs of these layers into the dict, by name.

    A layer's successor gets a copy: an in-place ReLU would overwrite the kept output.
    """
    kept: dict[str, Any] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, images: Any, output: Any) -> Any:
            kept[name] = output
            return output.clone() if isinstance(output, Tensor) else None

        return hook

    handles = [net.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def traced(net: nn.Module, images: Tensor) -> dict[str, Layer]:
    """Every module that a forward pass of images (B, C, S, S) runs through, by name."""
    found: dict[nn.Module, tuple[int, ...] | None] = {}

    def note(module: nn.Module, _: Any, output: Any) -> None:
        found[module] = tuple(output.shape[1:]) if isinstance(output, Tensor) else None

    handles = [module.register_forward_hook(note) for module in net.modules()]
    try:
        net(images)
    finally:
        for handle in handles:
            handle.remove()
    return {
        name: Layer(type(module).__name__, found[module])
        for name, module in net.named_modules()
        if name and module in found
    }


def require_maps(layers: Mapping[str, Layer], name: str, key: str = "layer") -> None:
    """Raise UserError, naming `key`, unless the layer `name` gives maps (C, H, W)."""
    if name not in layers:
        raise UserError(
            f"{key}={name}: the network runs through no layer of that name. "
            f"Try layer=? for a list with the shape of each output. {did_you_mean(name, layers)}"
        )
    if not layers[name].is_maps:
        raise UserError(
            f"{key}={name} gives {layers[name]}, not maps: expected an output of CxHxW. "
            "Try layer=? for a list with the shape of each output"
        )


def cam_layer(net: nn.Module, layers: Mapping[str, Layer]) -> str:
    """The last layer with spatial extent that the head depends on, except poolings.

    Layers on vectors may follow it (LeNet-5), but none on tokens: attention mixes tokens, and a
    place of the map would not be a place of the image. Raises UserError if there is no such layer.
    """
    units = [unit for block in _blocks_before_head(net) for unit in block.units]
    for name, module in reversed(units):
        layer = layers.get(name)
        if layer is None or layer.shape is None or "Pool" in type(module).__name__:
            continue
        if layer.is_maps and layer.shape[1] > 1:
            return name
        if len(layer.shape) > 1 and not layer.is_maps:
            raise UserError(
                f"{name} ({layer.kind}) gives {layer}: tokens, which attention mixes, and no maps "
                "(C, H, W) that a CAM could weigh. Expected a network of convolutions. Try "
                "methods=[integrated_gradients,occlusion]"
            )
    raise UserError(
        "this network has no layer with spatial maps before its head, so that there is nothing for "
        "a CAM to weigh. Expected a network of convolutions. Try "
        "methods=[integrated_gradients,occlusion]"
    )


def _blocks_before_head(net: nn.Module) -> list[Block]:
    """The blocks on which the logits depend: a pooled head may take nothing of the last ones."""
    blocks = anatomy(net).blocks
    if isinstance(net, PooledNetwork) and (taken := taken_blocks(net)):
        names = [block.name for block in blocks]
        return blocks[: names.index(taken[-1]) + 1]
    return blocks
