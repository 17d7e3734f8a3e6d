"""Whether a stranger's config asks for the network of its weights, before that takes memory.

A few numbers of a config may ask for terabytes, or for millions of layers.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from strided.data.preprocessing import Preprocessing
from strided.errors import UserError, printable
from strided.models.building import build_model

# torch's operations for each tensor of the weights: all of torchvision and timm take at most 15
_MOST_CALLS = 100
# What may lie behind the last pooled block. ResNet-152 has 932 tensors in all.
_LEFT_OUT = 1000
_NUMBERS_LEFT_OUT = 2**30  # 4 GiB: they are built with the others before they are left out
_MOST_COPIES = 4  # of the file's bytes: tensors may share memory, as tied weights do
_PREFIX = "model."


def require_same_network(
    config: Mapping[str, Any],
    num_classes: int,
    preprocessing: Preprocessing,
    state: Mapping[str, Any],
    file: Path,
) -> None:
    """Raise UserError unless the network of a model config has the tensors of a checkpoint's state.

    It is built on the meta device: no memory is taken. `state` has its tensors as `model.<name>`.
    """
    _require_stored(state, file)

    # a class of the user's own is trusted by a typed word, and may have tables of any size
    own_class = not str(config.get("_target_")).startswith("strided.")
    spare = 1 if config.get("head") == "pooled" else 0  # its last layers are built, and left out

    def outline(device: str) -> dict[str, Any]:
        with nullcontext() if own_class else _Bounded(state, file, spare), torch.device(device):
            return build_model(
                config,
                num_classes=num_classes,
                in_channels=preprocessing.channels,
                image_size=preprocessing.image_size,
            ).state_dict()

    try:
        own = outline("meta")
    except UserError as error:
        if "meta tensor" not in str(error) or "meta tensor" in str(config):  # its own words
            raise
        own = outline("cpu")  # torchvision's RegNets look at values (`.tolist()`)
    found = {k.removeprefix(_PREFIX): v for k, v in state.items() if str(k).startswith(_PREFIX)}
    for name in {**own, **found}:
        wanted, given = (_shape(tensors.get(name)) for tensors in (own, found))
        if wanted != given:
            raise UserError(
                f"{file} holds other weights than its config asks for: {printable(name)[:200]} is "
                f"{wanted} in the network of the config and {given} in the file; expected the "
                "same. Try another copy of the checkpoint, best.ckpt or last.ckpt of a run folder"
            )


class _Bounded(TorchDispatchMode):
    """Raises UserError for a network of far more layers, or of larger ones, than a state has."""

    def __init__(self, state: Mapping[str, Any], file: Path, spare: int = 0) -> None:
        super().__init__()
        sizes = [value.numel() for value in state.values() if isinstance(value, Tensor)]
        self._calls = _MOST_CALLS * (len(sizes) + 50 + spare * _LEFT_OUT)
        self._numbers = _MOST_COPIES * max(sizes, default=0) + 2 ** (27 if spare else 24)
        self._in_all = _MOST_COPIES * sum(sizes) + _NUMBERS_LEFT_OUT if spare else math.inf
        self._file = file

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        made = func(*args, **(kwargs or {}))  # memory without values yet, which costs nothing
        self._calls -= 1
        tensors = [leaf for leaf in tree_leaves(made) if isinstance(leaf, Tensor)]
        given = {id(leaf) for leaf in tree_leaves(args)}  # what is filled in place is not new
        self._in_all -= sum(tensor.numel() for tensor in tensors if id(tensor) not in given)
        too_large = any(tensor.numel() > self._numbers for tensor in tensors)
        if self._calls < 0 or self._in_all < 0 or too_large:
            raise UserError(
                f"the config of {self._file} asks for a far larger network than it has weights "
                "for; expected the network that was trained. Try another copy of the checkpoint, "
                "best.ckpt or last.ckpt of a run folder"
            )
        return made


def _require_stored(state: Mapping[str, Any], file: Path) -> None:
    """Raise UserError for tensors that are larger than the file: one number may stand for many."""
    size = sum(value.nbytes for value in state.values() if isinstance(value, Tensor))
    if size > _MOST_COPIES * file.stat().st_size:
        raise UserError(
            f"{file} has {file.stat().st_size:,} bytes and names {size:,} bytes of weights; "
            "expected a checkpoint as strided wrote it. Try best.ckpt or last.ckpt of a run folder"
        )


def _shape(tensor: object) -> str:
    if isinstance(tensor, Tensor):
        return "x".join(map(str, tensor.shape)) or "a number"
    return "missing" if tensor is None else "no tensor"
