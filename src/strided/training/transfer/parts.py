"""A network in two parts: the units that a stage trains, and the frozen ones."""

from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from strided.errors import UserError
from strided.models.anatomy import Anatomy, Block, anatomy
from strided.models.initial_filters import fixed_filters


@dataclass(frozen=True)
class Parts:
    """A network as a stage sees it: the frozen units, in order, and the others.

    `entry` is the name of the first trained unit; "" if all are trained.
    """

    frozen: list[nn.Module]
    trained: list[nn.Module]
    entry: str


def parts(net: nn.Module, trainable: str | int) -> Parts:
    """Cut a network in two at the first block that a stage trains.

    Auxiliary heads are trained only if everything is. Otherwise frozen blocks would feed them, or
    they would train blocks for another head than the wanted one. Raises UserError for an unknown
    block.
    """
    if trainable == "all":
        return Parts([], [net], "")
    found = anatomy(net)
    first = _first_trained(found, trainable)
    rows = [*found.blocks, found.head]
    units = [module for block in rows[:first] for module in block.modules]
    trained = [module for block in rows[first:] for module in block.modules]
    return Parts([*units, *found.auxiliary], trained, rows[first].units[0][0])


def _first_trained(found: Anatomy, trainable: str | int) -> int:
    names = [block.name for block in found.blocks]
    if trainable == "head":
        return len(names)
    if isinstance(trainable, int) and 0 <= trainable <= len(names):
        return len(names) - trainable
    if trainable in names:
        return names.index(str(trainable))
    raise UserError(
        f"a stage's trainable={trainable}; expected head, all, a number of blocks up to "
        f"{len(names)}, or one of the blocks {_some(found.blocks)}. Try trainable=head"
    )


def _some(blocks: list[Block]) -> str:
    names = [block.name for block in blocks]
    return ", ".join(names if len(names) < 12 else [*names[:2], "...", *names[-4:]])


def freeze(net: nn.Module, chosen: Parts) -> None:
    """Let gradients reach only the trained units; all units if nothing is frozen.

    They never reach the filters of model.whitening.
    """
    trained = {id(p) for module in chosen.trained for p in module.parameters()}
    trained -= fixed_filters(net)
    for parameter in net.parameters():
        parameter.requires_grad_(id(parameter) in trained)


def batch_norms(net: nn.Module) -> list[nn.Module]:
    """The layers that normalise by statistics of batches."""
    return [module for module in net.modules() if isinstance(module, _BatchNorm)]
