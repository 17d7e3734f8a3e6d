"""trainer.deterministic: what Lightning and torch leave to do for bit-equal runs on a GPU."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from strided.config.keys import Node
from strided.errors import UserError
from strided.system.devices import fix_cublas_workspace
from strided.training.losses import add_auxiliary
from strided.training.task import ClassificationTask


@contextmanager
def training_switches(trainer: Node) -> Iterator[None]:
    """Switch on what trainer.deterministic needs, and off what a Trainer leaves on behind it.

    Lightning sets torch's deterministic mode and cuDNN's search for the whole process: the next job
    of a sweep would have them too. Raises UserError for an operation that torch refuses in that
    mode.
    """
    fix_cublas_workspace()  # also without trainer.deterministic: a later job may have it
    search, mode = torch.backends.cudnn.benchmark, torch.get_deterministic_debug_mode()
    try:
        with DeterministicPooling() if trainer.get("deterministic") else nullcontext():
            yield
    except RuntimeError as error:
        if "does not have a deterministic implementation" not in str(error):
            raise
        raise UserError(
            f"trainer.deterministic=true, but torch has no deterministic form of "
            f"{str(error).split()[0]}, which this network or its loss needs; expected only "
            "operations that have one on this device. Try trainer.deterministic=warn, which is not "
            "bit-equal, trainer=cpu, or another model"
        ) from error
    finally:
        torch.backends.cudnn.benchmark = search
        if torch.get_deterministic_debug_mode() != mode:
            torch.use_deterministic_algorithms(mode > 0, warn_only=mode == 1)


class DeterministicPooling(TorchFunctionMode):
    """Adaptive average pooling that can be differentiated deterministically on a GPU.

    torch's cannot, unless it pools to a single value. AlexNet and VGG have it before their
    classifier, and GoogLeNet in its auxiliary heads. Where no gradient is asked for, torch's is
    kept: eval has it too, and rounds as the test does.
    """

    def __init__(self, device: str = "cuda") -> None:
        super().__init__()
        self.device = device

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Replace the one function, on the one device."""
        if func is F.adaptive_avg_pool2d:
            return self._pool(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _pool(self, input: Tensor, output_size: int | tuple[int | None, ...]) -> Tensor:
        given = output_size if isinstance(output_size, tuple | list) else (output_size,) * 2
        height, width = input.shape[-2:]
        rows, columns = given[0] or height, given[1] or width
        differentiated = torch.is_grad_enabled() and input.device.type == self.device
        if not differentiated or rows == columns == 1:
            return F.adaptive_avg_pool2d(input, output_size)  # type: ignore[arg-type]
        if height % rows == 0 and width % columns == 0:  # the same to the last bit
            return F.avg_pool2d(input, (height // rows, width // columns))
        return mean_of_parts(mean_of_parts(input, -2, rows), -1, columns)


def mean_of_parts(maps: Tensor, dim: int, count: int) -> Tensor:
    """Means over `count` parts of a dimension of n, as adaptive pooling divides it.

    Part i goes from i n / count, rounded down, to (i + 1) n / count, rounded up.
    """
    length = maps.shape[dim]
    starts = [i * length // count for i in range(count)]
    ends = [-(-(i + 1) * length // count) for i in range(count)]
    parts = [
        maps.narrow(dim, start, end - start).mean(dim, keepdim=True)
        for start, end in zip(starts, ends, strict=True)
    ]
    return torch.cat(parts, dim)


def try_deterministic(task: ClassificationTask, device: torch.device) -> None:
    """With trainer.deterministic=true, let torch refuse now what it would refuse in a late stage.

    It raises RuntimeError when a part that has no deterministic form is differentiated. So a copy
    of the network takes a step, with two black images and all layers trained.
    """
    if torch.get_deterministic_debug_mode() < 2:  # not asked for, or it only warns
        return
    net, criterion = (deepcopy(part).to(device) for part in (task.model, task.criterion))
    shape = (2, task.preprocessing.channels, *[task.preprocessing.image_size] * 2)
    images = torch.zeros(shape, device=device).to(memory_format=task.memory_format)
    labels = torch.zeros(2, dtype=torch.long, device=device)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        loss = criterion(net.train().requires_grad_()(images), labels)
        add_auxiliary(loss, net, criterion, labels).backward()
