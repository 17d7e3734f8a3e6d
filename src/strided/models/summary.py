"""A table of a network's layers: what they give for an image, and their parameters."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from strided.system.text_table import text_table

MOST_ROWS = 30  # more, and the table shows the network's parts without theirs


def summary(net: nn.Module, images: Tensor, *, whole: bool = False) -> list[str]:
    """Return the table of two levels of modules, or of one if two take more than MOST_ROWS lines.

    Modules without parameters are left out unless they change the shape. The `whole` table has all
    levels and modules. `images` is (B, C, H, W).
    """
    outputs = output_shapes(net, images)
    if whole:
        return _table(net, list(outputs), outputs)
    shown = [name for name in outputs if name.count(".") < 2 and _matters(name, outputs, net)]
    if len(shown) > MOST_ROWS:
        shown = [name for name in shown if "." not in name]
    return _table(net, shown, outputs)


@torch.no_grad()
def output_shapes(net: nn.Module, images: Tensor) -> dict[str, tuple[str, str]]:
    """Return the shapes that each module took and gave, without the batch: "6x28x28".

    A module that `forward` does not call has none: "".
    """
    shapes = {name: ("", "") for name, _ in net.named_modules() if name}

    def keep(name: str) -> Any:
        def hook(_: nn.Module, given: Any, output: Any) -> None:
            shapes[name] = (_shape(given), _shape(output))

        return hook

    handles = [net.get_submodule(name).register_forward_hook(keep(name)) for name in shapes]
    try:
        net.forward(images)  # a call would compile it if that was asked for
    finally:
        for handle in handles:
            handle.remove()
    return shapes


def _shape(values: Any) -> str:
    found = [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
    return "x".join(map(str, found[0].shape[1:])) if found else ""


def _matters(name: str, outputs: dict[str, tuple[str, str]], net: nn.Module) -> bool:
    given, output = outputs[name]
    return given != output or any(True for _ in net.get_submodule(name).parameters())


def _table(net: nn.Module, names: list[str], outputs: dict[str, tuple[str, str]]) -> list[str]:
    rows = [["layer", "", "output", "parameters"]]
    for name in names:
        module = net.get_submodule(name)
        indented = "  " * name.count(".") + name
        count = sum(parameter.numel() for parameter in module.parameters())
        rows.append([indented, type(module).__name__, outputs[name][1], f"{count:,}"])
    return text_table(rows, left=2)
