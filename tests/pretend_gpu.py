"""A GPU that is not there: the program sees it, the CPU computes, and every wait is noted."""

import traceback
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

CUDA = torch.device("cuda", 0)

_VALUES = ("item", "tolist", "numpy", "__bool__", "__int__", "__float__", "__index__", "__array__")
_SIZES = ("nonzero", "masked_select", "unique", "argwhere", "equal", "allclose", "is_nonzero")
_COPIES_OF_DATA = ("tensor", "as_tensor", "new_tensor", "asarray")
_ANY_DEVICE = ("_has_compatible_shallow_copy_type", "__set__")
_DEVICE = Tensor.device.__get__
_IS_CUDA = Tensor.is_cuda.__get__  # type: ignore[attr-defined]
_SET_DATA = Tensor.data.__set__  # type: ignore[attr-defined]


class PretendGpu(TorchFunctionMode):
    """Inside, tensors sent to "cuda" are marked, and say that they are there.

    `waits` gets a line for each call that would make the program wait until the GPU has done all
    earlier work: one that needs a value or a number of elements, a copy from memory that is not
    pinned, a copy back. Calls from Python are seen, and not what torch does within them. Raises
    AssertionError where tensors of both devices meet.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Do what the GPU would, and note whether the program would wait for it."""
        given, name = dict(kwargs or {}), getattr(func, "__name__", "")
        if func in (_DEVICE, _IS_CUDA):
            there = is_there(args[0])
            return (CUDA if func == _DEVICE else True) if there else func(*args)
        if func == _SET_DATA:
            func(*args)
            return _mark(args[0], gpu=is_there(args[1]))
        if name in ("to", "cuda", "cpu"):
            return self._move(func, name, args, given)
        if name == "is_pinned":
            return getattr(args[0], "_pinned", False)
        if name == "pin_memory":
            return _mark(args[0].clone(), pinned=True)
        return self._compute(func, name, args, given)

    def _compute(self, func: Any, name: str, args: tuple[Any, ...], given: dict[str, Any]) -> Any:
        pinned = bool(given.pop("pin_memory", False))
        made_there = _is_cuda(given.get("device"))
        if made_there:
            del given["device"]
        tensors = [leaf for leaf in tree_leaves((args, given)) if isinstance(leaf, Tensor)]
        there = made_there or any(map(is_there, tensors))
        if there and not (name == "copy_" and _by_itself(args, given)):
            self._note(name, args, tensors, made_there)
        out = func(*args, **given)
        if there and name == "copy_" and not is_there(args[0]):
            return out  # to the CPU
        for leaf in tree_leaves(out):
            part = isinstance(leaf, Tensor) and getattr(leaf._base, "_pinned", False)
            if there or pinned or part:
                _mark(leaf, gpu=there, pinned=pinned or part)
        return out

    def _note(self, name: str, args: tuple[Any, ...], tensors: list[Tensor], made: bool) -> None:
        if name in (*_VALUES, *_SIZES):
            self._wait(f"{name} needs values")
        elif name in _COPIES_OF_DATA and (made or name == "new_tensor"):
            self._wait(f"{name} copies values")
        elif name in ("__getitem__", "__setitem__"):
            self._note_index(name, args)
        elif name not in _ANY_DEVICE and any(not is_there(t) and t.ndim > 0 for t in tensors):
            assert name == "copy_", f"{name} of tensors on two devices"
            self._wait("copy_ between devices")

    def _note_index(self, name: str, args: tuple[Any, ...]) -> None:
        is_number = name == "__setitem__" and isinstance(args[2], int | float)
        for index in args[1] if isinstance(args[1], tuple) else (args[1],):
            if isinstance(index, Tensor) and is_there(index):
                if index.dtype in (torch.bool, torch.uint8) and not is_number:
                    self._wait("a mask needs a number of elements")
            elif isinstance(index, Tensor | list | tuple | np.ndarray):
                self._wait("an index is copied")

    def _move(self, func: Any, name: str, args: tuple[Any, ...], given: dict[str, Any]) -> Tensor:
        """Do `to(device, type, non_blocking)`, all of which may be left out, `cuda` or `cpu`."""
        tensor, *rest = args
        devices = [given.pop("device", None), *rest, None if name == "to" else name]
        target = next((d for d in devices if isinstance(d, torch.device | str)), None)
        asynchronous = given.pop("non_blocking", False) or True in rest
        types = [arg for arg in rest if isinstance(arg, torch.dtype)]
        out: Tensor = func(tensor, *types, **given) if types or given else tensor
        there = is_there(tensor) if target is None else _is_cuda(target)
        if there == is_there(tensor):
            return out if out is tensor else _mark(out, gpu=there)
        if not there:
            self._wait("a copy to the CPU")
        elif not (asynchronous and getattr(tensor, "_pinned", False)):
            self._wait("a copy from memory that is not pinned")
        return _mark(out.clone(), gpu=there)

    def _wait(self, what: str) -> None:
        frames = [frame for frame in traceback.extract_stack() if frame.filename != __file__]
        lines = [f"{frame.filename}:{frame.lineno}" for frame in reversed(frames[-6:])]
        self.waits.append(f"{what}: {' < '.join(lines)}")


def _by_itself(tensors: tuple[Any, ...], options: dict[str, Any]) -> bool:
    """Whether a GPU does a copy_ without the program."""
    pinned = (is_there(t) or getattr(t, "_pinned", False) for t in tensors[:2])
    return bool(options.get("non_blocking")) and all(pinned)


def is_there(tensor: Any) -> bool:
    """Whether a tensor is marked as being on the GPU."""
    return bool(getattr(tensor, "_there", False))


def _mark(tensor: Any, *, gpu: bool = False, pinned: bool = False) -> Any:
    if isinstance(tensor, Tensor):
        tensor._there, tensor._pinned = gpu, pinned  # type: ignore[attr-defined]
    return tensor


def _is_cuda(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cuda"
