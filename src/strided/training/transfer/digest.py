"""A hash of the frozen part of a network: its weights, its settings and the code that it runs."""

import hashlib
import inspect
import sys
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from strided.training.transfer.cut import Cut

_LIBRARIES = ("torch", "torchvision", "timm")
# Of no influence on what a network computes: torch's own attributes, where weights came from.
_NO_SETTINGS = {*vars(nn.Module()), "pretrained_cfg", "default_cfg", "pretrained_model_args"}
_NO_SETTINGS |= {"_model_args", "feature_info"}


def digest_of(cut: Cut) -> str:
    """Hash everything untrained: its kind, its settings, its weights, and the code of both.

    Parts that belong to no unit count too, such as position embeddings and how the network pools.
    """
    trained = {id(module) for unit in cut.parts.trained for module in unit.modules()}
    content = hashlib.sha256()
    for name, module in cut.net.named_modules():
        if id(module) in trained:
            continue
        known = {k: _described(v) for k, v in vars(module).items() if k not in _NO_SETTINGS}
        kind = _code(type(module).__module__, type(module).__qualname__)
        content.update(repr((name, kind, module.extra_repr(), sorted(known.items()))).encode())
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for part, tensor in own:
            content.update(part.encode())
            content.update(_bytes(tensor))
    return content.hexdigest()


def _described(value: object) -> str:
    """Text that is the same for the same setting in any process, and "" for other objects."""
    if value is None or isinstance(value, bool | str | int | float | torch.dtype):
        return repr(value)
    if isinstance(value, Mapping):
        return f"{{{','.join(sorted(map(_described, value.items())))}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_described, value))}]"
    if isinstance(value, set | frozenset):
        return f"({','.join(sorted(map(_described, value)))})"
    if isinstance(value, Tensor | np.ndarray):
        return hashlib.sha256(_bytes(torch.as_tensor(value))).hexdigest()
    if isinstance(value, partial):
        return _described(["partial", value.func, value.args, value.keywords])
    if inspect.isroutine(value) or inspect.isclass(value):
        return _code(str(value.__module__), value.__qualname__)
    return ""


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.detach().float().cpu().contiguous().numpy().data


def _code(module: str, name: str) -> str:
    return f"{module}.{name} {_version(module)}"


@cache
def _version(module: str) -> str:
    """What tells the code of a module from other code: a library's version, else its source.

    strided itself has none: features have a format, which tells.
    """
    root = module.partition(".")[0]
    if root in _LIBRARIES:
        return str(sys.modules[root].__version__)
    if root == "strided":
        return ""
    file = getattr(sys.modules.get(module), "__file__", None)
    return "" if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()
