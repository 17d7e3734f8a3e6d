"""Find what a unit sees of the image, and through how many layers, in one traced pass."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CONVOLUTIONS = ("conv1d", "conv2d", "conv3d", "convolution")
PRODUCTS = ("linear", "matmul", "mm", "addmm", "bmm", "einsum")
POOLINGS = ("max_pool2d", "avg_pool2d")
# of the whole map, whatever the shape of the result
STATISTICS = ("group_norm", "native_group_norm", "instance_norm", "scaled_dot_product_attention")


class Window(NamedTuple):
    """Along one axis, unit i sees the pixels from first + i * step to last + i * step."""

    first: int = 0
    last: int = 0
    step: int = 1

    def slid(self, kernel: int, stride: int, padding: int, dilation: int = 1) -> "Window":
        """The window after an operator slides over this one: Araujo et al. 2019, section 3."""
        return Window(
            self.first - padding * self.step,
            self.last + ((kernel - 1) * dilation - padding) * self.step,
            self.step * stride,
        )

    def joined(self, other: "Window") -> "Window":
        """The smallest window around both, for two branches that meet."""
        pairs = zip(self, other, strict=True)
        (first, last, step) = (f(pair) for f, pair in zip((min, max, max), pairs, strict=True))
        return Window(first, last, step)


@dataclass(frozen=True)
class Sight:
    """The part of the image that a tensor depends on.

    `depth` is the number of layers with weights on the longest path to it. `windows` are its units'
    windows, and `axes` (negative) say where height and width are; windows are None if a unit has
    the whole image. `sees_all`: the tensor includes a value of the whole image, such as a
    squeeze-and-excitation's factor.
    """

    depth: int = 0
    windows: tuple[Window, Window] | None = (Window(), Window())
    axes: tuple[int, int] = (-2, -1)
    sees_all: bool = False

    @property
    def size(self) -> int:
        """Longer side in pixels of the receptive field."""
        return max(w.last - w.first + 1 for w in self.windows) if self.windows else 0


class SightTracer(TorchDispatchMode):
    """Follows what depends on the image through every operator, whatever the network's code is.

    It works within torch.inference_mode, where operators arrive as called, not in parts.
    """

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.known: dict[int, tuple[Tensor, Sight]] = {id(images): (images, Sight())}
        self.largest = Sight(windows=None)  # of a convolution's map
        self.filters: set[tuple[int, ...]] = set()  # height and width
        self.depth = 0  # of the network's output

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operator, and record what its results see."""
        leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        inputs = [self.known[id(leaf)] for leaf in leaves if id(leaf) in self.known]
        shapes = [tensor.shape for tensor, _ in inputs]  # before the operator changes one in place
        result = func(*args, **(kwargs or {}))
        if inputs:
            name = func.overloadpacket.__name__.rstrip("_")
            given = {a.name: v for a, v in zip(func._schema.arguments, args, strict=False)}
            given |= kwargs or {}
            weights = len(inputs) < sum(leaf.ndim > 1 for leaf in leaves)
            sights = [sight for _, sight in inputs]
            for tensor in tree_leaves(result):
                if isinstance(tensor, Tensor):
                    sight = _result_sight(name, given, sights, shapes, tensor.shape)
                    layer = weights and name in (*CONVOLUTIONS, *PRODUCTS)
                    sight = replace(sight, depth=sight.depth + 1) if layer else sight
                    self.known[id(tensor)] = (tensor, sight)
                    if name in CONVOLUTIONS:
                        self._note_convolution(sight, given["weight"], tensor)
        return result

    def _note_convolution(self, sight: Sight, weight: Tensor, maps: Tensor) -> None:
        self.filters.add(tuple(weight.shape[2:]))
        if sight.windows is None and maps.shape[2:].numel() > 1:  # of tokens mixed by attention
            self.largest = replace(sight, sees_all=True)
        elif sight.windows and sight.size >= self.largest.size:
            self.largest = sight

    def sight(self, tensor: Tensor) -> Sight:
        """What a result of the traced pass sees."""
        return self.known[id(tensor)][1]


def trace(net: nn.Module, images: Tensor) -> SightTracer:
    """Run a network in evaluation mode over images (1, C, H, W); meta images stay on meta."""
    net.eval()
    with torch.inference_mode(), SightTracer(images) as tracer:
        tracer.depth = tracer.sight(net(images)).depth
    return tracer


def _result_sight(
    name: str,
    given: dict[str, Any],
    sights: Sequence[Sight],
    shapes: Sequence[Sequence[int]],
    shape: Sequence[int],
) -> Sight:
    """What a result of `shape` sees, from the operator's arguments."""
    joined = _joined(sights)
    mapped = next((i for i, sight in enumerate(sights) if sight.windows), None)
    if mapped is None:
        return replace(joined, windows=None)
    joined = replace(joined, sees_all=joined.sees_all or name in STATISTICS)
    before = shapes[mapped]
    if name in (*CONVOLUTIONS, *POOLINGS):
        return _windows_slid(name, given, joined)
    if name in ("permute", "transpose", "slice", "pad", "constant_pad_nd"):
        return _rearranged(name, given, joined, len(before))
    kept = len(shape) >= -min(joined.axes) and all(shape[a] == before[a] for a in joined.axes)
    return joined if kept else replace(joined, windows=None)


def _joined(sights: Sequence[Sight]) -> Sight:
    maps = [sight for sight in sights if sight.windows]
    depth = max(sight.depth for sight in sights)
    sees_all = any(sight.sees_all for sight in sights) or 0 < len(maps) < len(sights)
    if not maps:
        return Sight(depth, None, sees_all=sees_all)
    first, *others = (sight.windows for sight in maps if sight.windows)
    for other in others:
        first = (first[0].joined(other[0]), first[1].joined(other[1]))
    return Sight(depth, first, maps[0].axes, sees_all)


def _windows_slid(name: str, given: dict[str, Any], sight: Sight) -> Sight:
    """Windows after a convolution or pooling. Raises NotImplementedError for unsupported ones."""
    assert sight.windows
    kernel = _pair(given["weight"].shape[2:] if name in CONVOLUTIONS else given["kernel_size"])
    default = 1 if name in CONVOLUTIONS else kernel
    stride = _pair(given.get("stride") or default)
    dilation = _pair(given.get("dilation", 1))
    padding = given.get("padding", 0)
    if padding == "same":
        padding = [d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True)]
    padding = _pair(0 if padding == "valid" else padding)
    height, width = (
        window.slid(*numbers)
        for window, *numbers in zip(sight.windows, kernel, stride, padding, dilation, strict=True)
    )
    return replace(sight, windows=(height, width))


def _rearranged(name: str, given: dict[str, Any], sight: Sight, rank: int) -> Sight:
    """Windows after axes were exchanged, pixels skipped or a frame added."""
    assert sight.windows
    if name in ("permute", "transpose"):
        order = list(range(rank))
        if name == "permute":
            order = [d % rank for d in given["dims"]]
        else:
            one, other = given["dim0"] % rank, given["dim1"] % rank
            order[one], order[other] = other, one
        height, width = (order.index(axis % rank) - rank for axis in sight.axes)
        return replace(sight, axes=(height, width))
    windows = list(sight.windows)
    for index, axis in enumerate(sight.axes):
        first, stride = 0, 1
        if name == "slice":
            if given.get("dim", 0) % rank == axis % rank:
                first, stride = given.get("start") or 0, given.get("step", 1)
        else:  # (left, right, top, bottom, ...), the last axis first
            frame = given["pad"]
            first = -frame[2 * (-axis - 1)] if len(frame) >= -2 * axis else 0
        windows[index] = windows[index].slid(1, stride, -first)
    return replace(sight, windows=(windows[0], windows[1]))


def _pair(value: int | Iterable[int]) -> tuple[int, int]:
    numbers = (value,) if isinstance(value, int) else tuple(value)
    return (numbers[0], numbers[-1])
