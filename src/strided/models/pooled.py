"""A network whose features are pooled from several of its blocks, and not from the last alone.

Middle blocks see texture and style, late ones objects. Few images of another kind than the weights
were made on are often told apart better by the former.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from strided.errors import UserError
from strided.models.anatomy import Block, anatomy

Pool = Literal["mean", "mean_std"]

LEAST = 1e-12  # of a variance: the slope of its root is infinite at 0


class PooledNetwork(nn.Module):
    """The blocks of a network in a row; their maps, pooled, are the features that `head` takes.

    `blocks` are all up to the last pooled one, under their names in the network, so that its
    published weights fit. Of the network's last block its own pooling is left out. Features (B, F)
    are in the order of the blocks: of each the means of its maps over their places, and, if `pool`
    is mean_std, then the standard deviations.

    It keeps few names for itself, since a module of the network may have any: `features`, `pool`.
    """

    def __init__(self, blocks: Sequence[Block], pooled: Sequence[str], pool: Pool) -> None:
        super().__init__()
        self.pool_kind = pool
        self.block_units = {block.name: [name for name, _ in block.units] for block in blocks}
        self.pooled = list(pooled)
        for name, module in (unit for block in blocks for unit in block.units):
            parent: nn.Module = self
            *path, leaf = name.split(".")
            for part in path:
                if part not in dict(parent.named_children()):
                    parent.add_module(part, nn.Sequential())
                parent = parent.get_submodule(part)
            parent.add_module(leaf, module)
        self.head: nn.Module = nn.Identity()
        self.sizes: list[tuple[str, int]] = []  # (block, its features), in their order

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, C, S, S) to logits (B, K)."""
        logits: Tensor = self.head(pooled_features(self, pooled_maps(self, images)))
        return logits


def pooled_maps(net: PooledNetwork, images: Tensor) -> list[Tensor]:
    """The maps (B, C, H, W) of each pooled block."""
    found = []
    for block, units in net.block_units.items():
        for name in units:
            images = net.get_submodule(name)(images)
        if block in net.pooled:
            found.append(images)
    return found


def pooled_features(net: PooledNetwork, maps: Sequence[Tensor]) -> Tensor:
    """The features (B, F) of the maps of each pooled block."""
    return torch.cat([_pooled(block, net.pool_kind) for block in maps], 1)


def columns_of_blocks(net: PooledNetwork, linear: nn.Linear) -> Sequence[Tensor]:
    """The weights (K, F) of a linear layer on the features, apart by pooled block."""
    return linear.weight.split([size for _, size in net.sizes], dim=1)


def counting_blocks(net: PooledNetwork, linear: nn.Linear) -> list[int]:
    """The places of the pooled blocks of which a linear layer on the features takes anything.

    `optimizer.last` may have chosen a head that takes nothing of the last ones.
    """
    return [place for place, own in enumerate(columns_of_blocks(net, linear)) if bool(own.any())]


def taken_blocks(net: PooledNetwork) -> list[str]:
    """The names of the pooled blocks of which the head takes anything, in their order."""
    linear = [layer for layer in net.head.modules() if isinstance(layer, nn.Linear)]
    return [net.pooled[place] for place in counting_blocks(net, linear[-1])] if linear else []


def pooled_network(
    net: nn.Module, wanted: Sequence[str | int] | None, pool: Pool, shape: tuple[int, int, int]
) -> PooledNetwork:
    """Cut a network that takes images of `shape` (C, H, W) after the last block to pool.

    `wanted` are names of blocks, or their places from 0 on. Raises UserError for other blocks, and
    for a network that does more than to run its blocks in a row.
    """
    if pool not in get_args(Pool):
        raise UserError(
            f"model.pool={pool}; expected {' or '.join(get_args(Pool))}. Try model.pool=mean_std"
        )
    blocks = anatomy(net).blocks
    chosen = _places(wanted, [block.name for block in blocks])
    names = [blocks[place].name for place in chosen]
    device = next(net.parameters()).device
    images = torch.linspace(-1, 1, math.prod(shape), device=device).reshape(1, *shape)
    own_blocks = blocks[: chosen[-1] + 1]
    if own_blocks == blocks:
        own_blocks = [*blocks[:-1], _up_to_maps(net, blocks[-1], images)]
    own = PooledNetwork(own_blocks, names, pool)
    maps = _run_both(net, own, images)
    each = len(pool.split("_"))  # numbers of a map
    own.sizes = [(name, each * m.shape[1]) for name, m in zip(names, maps, strict=True)]
    return own


def _places(wanted: Sequence[str | int] | None, names: list[str]) -> list[int]:
    """Places of the wanted blocks, in the network's order. Raises UserError."""
    shown = ", ".join(f"{place} {name}" for place, name in enumerate(names))
    if not wanted:
        raise UserError(
            f"model.head=pooled pools no block; expected model.pooled with some of {shown}. "
            f"Try model.pooled=[{','.join(names[len(names) // 3 : -1][:3])}]"
        )
    found = set()
    for block in wanted:
        place = names.index(block) if block in names else block
        if not isinstance(place, int) or not 0 <= place < len(names):
            raise UserError(
                f"model.pooled has {block}, which is no block; expected some of {shown}. "
                f"Try model.pooled=[{names[-1]}]"
            )
        found.add(place)
    return sorted(found)


@torch.no_grad()
def _up_to_maps(net: nn.Module, block: Block, images: Tensor) -> Block:
    """The block without the network's own pooling, which would leave one place of each map."""
    with _evaluating(net), _outputs(net, [name for name, _ in block.units]) as kept:
        net(images)
    places = [kept[name].shape[2:].numel() if name in kept else 0 for name, _ in block.units]
    count = len(places)
    while count > 1 and places[count - 1] == 1 < max(places[: count - 1]):
        count -= 1
    return Block(block.name, block.units[:count])


@torch.no_grad()
def _run_both(net: nn.Module, own: PooledNetwork, images: Tensor) -> list[Tensor]:
    """The maps of the pooled blocks. Raises UserError unless the whole network has the same."""
    ends = [own.block_units[block][-1] for block in own.pooled]
    maps: list[Tensor] = []
    with _evaluating(net), _evaluating(own):
        with _outputs(net, ends) as kept:
            net(images)
        with suppress(Exception):  # a layer may refuse what another one gives it
            maps = pooled_maps(own, images)
    for end in ends:
        whole = kept.get(end)
        if whole is not None and (whole.ndim != 4 or whole.shape[2] != whole.shape[3]):
            raise UserError(
                f"model.pooled: {end} gives {'x'.join(map(str, whole.shape[1:]))} and no maps; "
                "expected blocks of convolutions. Try model.head=linear"
            )
    pairs = list(zip(ends, maps, strict=False))
    if len(pairs) < len(ends) or not all(_same(kept.get(end), own) for end, own in pairs):
        raise UserError(
            "model.head=pooled: this network does more than to run its blocks in a row; expected "
            "one that does, such as ResNet, DenseNet or EfficientNet. Try model.head=linear"
        )
    return maps


def _same(whole: Tensor | None, own: Tensor) -> bool:
    """Whether maps are the same; on the meta device, whether their shapes are."""
    if whole is None or whole.shape != own.shape:
        return False
    return own.is_meta or torch.allclose(whole, own, rtol=1e-3, atol=1e-5, equal_nan=True)


@contextmanager
def _evaluating(net: nn.Module) -> Iterator[None]:
    was_training = net.training
    net.eval()
    try:
        yield
    finally:
        net.train(was_training)


@contextmanager
def _outputs(net: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Copies of the outputs of these layers: a layer after them may work in place."""
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                kept[name] = output.clone()

        return hook

    handles = [net.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def _pooled(maps: Tensor, pool: Pool) -> Tensor:
    """Features (B, F) of maps (B, C, H, W), in float32: bfloat16 would round the deviations."""
    exact = maps.float()
    mean = exact.mean((2, 3), keepdim=True)
    parts = [mean.flatten(1)]
    if pool == "mean_std":
        variance = (exact - mean).square().mean((2, 3))
        parts.append(variance.clamp_min(LEAST).sqrt())
    return torch.cat(parts, 1).to(maps.dtype)
