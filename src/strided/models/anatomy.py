"""The blocks of a network, in the order of the forward pass, under the architecture's names."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import nn

_SHARE = 0.9  # a module with this share of a network's weights is its trunk

Unit = tuple[str, nn.Module]


@dataclass
class Block:
    """A part of a network that is frozen or trained as a whole: `layer4`, `inception5b`, `block5`.

    `units` are its modules, by their names in the network, in order.
    """

    name: str
    units: list[Unit] = field(default_factory=list)

    @property
    def modules(self) -> list[nn.Module]:
        return [module for _, module in self.units]


@dataclass(frozen=True)
class Anatomy:
    """Blocks in order from the image on, then the head, which turns features into logits.

    `auxiliary` heads branch off the middle of the network (GoogLeNet, Inception v3).
    """

    blocks: list[Block]
    head: Block
    auxiliary: list[nn.Module]


def anatomy(net: nn.Module) -> Anatomy:
    """Cut a network into blocks: torchvision's, timm's or the user's.

    A block is a child of the network; if one child holds nearly all weights, its children are the
    blocks. In a row of plain layers (VGG, AlexNet) a block ends with a pooling. Modules without
    weights belong to the block before them; the dropout before the head belongs to the head. A
    PooledNetwork keeps the blocks of the network that it was made of.
    """
    if known := getattr(net, "block_units", None):
        named = {
            name: [(unit, net.get_submodule(unit)) for unit in units]
            for name, units in known.items()
        }
        head = Block("head", [("head", net.get_submodule("head"))])
        return Anatomy([Block(name, units) for name, units in named.items()], head, [])
    auxiliary = _auxiliary(net)
    children = [unit for unit in net.named_children() if unit[1] not in auxiliary]
    first = _start_of_head(net, children)
    units = list(_units(children[:first]))
    return Anatomy(_grouped(units), Block("head", children[first:]), auxiliary)


def _auxiliary(net: nn.Module) -> list[nn.Module]:
    if not hasattr(net, "auxiliary_weight"):
        return []
    return [child for name, child in net.named_children() if name.lower().startswith("aux")]


def _start_of_head(net: nn.Module, children: list[Unit]) -> int:
    """Index of the first child of the head: as timm says, else the last child with weights."""
    last = max((i for i, (_, child) in enumerate(children) if _has_weights(child)), default=0)
    start = min([last, *_classifiers(net, children)])
    while start > 0 and isinstance(children[start - 1][1], nn.Dropout):
        start -= 1
    return start


def _classifiers(net: nn.Module, children: list[Unit]) -> list[int]:
    """Indices of the children that hold what timm calls the classifier; there may be two."""
    if not callable(get := getattr(net, "get_classifier", None)):
        return []
    found = get()
    output = [m for m in (found if isinstance(found, tuple) else [found]) if _has_weights(m)]
    return [
        index
        for index, (_, child) in enumerate(children)
        if any(module is inner for module in output for inner in child.modules())
    ]


def _units(children: list[Unit]) -> Iterator[Unit]:
    """Yield the children, with a trunk replaced by its children."""
    weights = {name: sum(p.numel() for p in child.parameters()) for name, child in children}
    containers = [name for name, child in children if _is_container(child) and weights[name]]
    for name, child in children:
        lone = containers == [name]
        share = weights[name] >= _SHARE * sum(weights.values())
        if weights[name] and any(child.children()) and (lone or share):
            inner = [(f"{name}.{own}", module) for own, module in child.named_children()]
            yield from _units(inner)
        else:
            yield name, child


def _is_container(module: nn.Module) -> bool:
    return type(module) in (nn.Sequential, nn.ModuleList)  # subclasses are blocks


def _grouped(units: list[Unit]) -> list[Block]:
    blocks = [Block("")]
    pooled = False  # a row's block ends with its pooling
    for name, module in units:
        in_row = _is_row(units, name)
        if _has_weight_matrix(module) and (pooled or not in_row or not blocks[-1].name):
            if blocks[-1].name:
                blocks.append(Block(""))
            blocks[-1].name = f"block{len(blocks)}" if in_row else name
            pooled = False
        blocks[-1].units.append((name, module))
        pooled = pooled or (in_row and "Pool" in type(module).__name__)
    return [block for block in blocks if block.name]


def _is_row(units: list[Unit], name: str) -> bool:
    """Whether a unit is in a row of plain layers, some of which pool."""
    parent = name.rpartition(".")[0]
    row = [module for other, module in units if other.rpartition(".")[0] == parent]
    pools = any("Pool" in type(module).__name__ for module in row)
    return bool(parent) and pools and not any(any(module.children()) for module in row)


def _has_weights(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def _has_weight_matrix(module: nn.Module) -> bool:
    return any(parameter.ndim > 1 for parameter in module.parameters())
