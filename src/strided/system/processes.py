"""One process per device: its place among the others, and what they agree on.

torchrun's environment variables tell the place. SLURM's variables are translated into them, so
that laptop, torchrun, cluster and sweep take the same path. In a process alone, every function
here does nothing.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from strided.errors import UserError, first_line

if TYPE_CHECKING:
    from torch import Tensor

MEETING = timedelta(minutes=10)  # for all processes to have started
PATIENCE = timedelta(hours=12)  # for one of them to decode a data set
# What gloo, NCCL and the store of addresses report when a process at the other end is gone.
_LOST = ("gloo", "nccl", "connection", "socket", "broken pipe", "tcpstore", "timed out")


class LostProcessError(UserError):
    """Another process of the run has ended; that process reports the reason."""


class Place(NamedTuple):
    """Rank and number of processes: of the whole run, and of this machine."""

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int


def place() -> Place:
    """Return the place that a launcher gave this process; without a launcher it is alone."""
    _translate_slurm()
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    if not os.environ.keys() >= set(names):
        return Place(0, 1, 0, 1)
    return Place(*(int(os.environ[name]) for name in names))


def is_launched() -> bool:
    """Tell whether torchrun, srun or strided itself started this as one of several processes."""
    return place().world_size > 1


def ignore_batch_script() -> None:
    """Count as alone in a SLURM batch script: its variables describe tasks it could start."""
    in_script = "SLURM_PROCID" in os.environ and "SLURM_STEP_NUM_TASKS" not in os.environ
    if in_script and "RANK" not in os.environ:
        alone = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
        os.environ.update(alone)


def is_first() -> bool:
    """Tell whether this process is the one that writes."""
    return place().rank == 0


def _translate_slurm() -> None:
    """Give srun's tasks torchrun's variables."""
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS") or os.environ.get("SLURM_NTASKS", "1")
    interactive = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
    if "RANK" in os.environ or int(tasks) < 2 or interactive or "SLURM_PROCID" not in os.environ:
        return
    from lightning.pytorch.plugins.environments import SLURMEnvironment

    # set on the class: an instance refuses jobs that were requested with --ntasks
    machines = os.environ.get("SLURM_STEP_NODELIST") or os.environ.get(
        "SLURM_NODELIST", "localhost"
    )
    nodes = int(os.environ.get("SLURM_STEP_NUM_NODES") or os.environ.get("SLURM_NNODES", "1"))
    found = {
        "RANK": os.environ["SLURM_PROCID"],
        "WORLD_SIZE": tasks,
        "LOCAL_RANK": os.environ["SLURM_LOCALID"],
        "LOCAL_WORLD_SIZE": str(int(tasks) // nodes),
        "GROUP_RANK": os.environ.get("SLURM_NODEID", "0"),
        "MASTER_ADDR": SLURMEnvironment.resolve_root_node_address(machines),
        "MASTER_PORT": str(15000 + int(os.environ.get("SLURM_JOB_ID", "0")) % 10000),
    }
    os.environ.update({name: os.environ.get(name, value) for name, value in found.items()})


@contextmanager
def joined() -> Iterator[None]:
    """Connect the processes inside the block; alone, nothing happens."""
    if not is_launched() or is_joined():
        yield
        return
    import torch
    from torch import distributed

    here = place()
    if "TORCHELASTIC_RUN_ID" not in os.environ and here.rank == 0:
        print(f"waiting for the other {here.world_size - 1} processes", flush=True)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    if here.local_rank < torch.cuda.device_count():  # not so for a training on the CPU
        torch.cuda.set_device(here.local_rank)
    try:
        store, rank, size = next(distributed.rendezvous("env://", timeout=MEETING))
        distributed.init_process_group(
            backend, store=store, rank=rank, world_size=size, timeout=PATIENCE
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"process {here.rank} of {here.world_size} did not find the others: {error}. Expected "
            "all to be started at the same time. Try torchrun, or srun with one task per device"
        ) from error
    try:
        yield
    finally:
        if is_joined():
            distributed.destroy_process_group()


def is_joined() -> bool:
    """Tell whether this process has met the others; any thread may ask."""
    distributed = sys.modules.get("torch.distributed")
    # missing while the module is being imported
    return bool(distributed) and getattr(distributed, "is_initialized", bool)()


def total(values: "Tensor") -> "Tensor":
    """Return the sum over the processes of a float64 tensor on the CPU."""
    if is_launched() and is_joined():
        from torch import distributed

        values = values.clone()
        distributed.all_reduce(values)
    return values


def largest(value: int) -> int:
    """Return the largest of the processes' numbers."""
    if not (is_joined() and is_launched()):  # in this order: every batch asks
        return value
    import torch
    from torch import distributed

    agreed = torch.tensor(value)
    distributed.all_reduce(agreed, op=distributed.ReduceOp.MAX)
    return int(agreed)


def gathered(value: Any) -> list[Any]:
    """Return every process's value, in the order of their ranks."""
    if not (is_launched() and is_joined()):
        return [value]
    from torch import distributed

    values: list[Any] = [None] * place().world_size
    distributed.all_gather_object(values, value)
    return values


def from_first(value: Any) -> Any:
    """Return the first process's value."""
    if not (is_launched() and is_joined()):
        return value
    from torch import distributed

    values = [value]
    distributed.broadcast_object_list(values, src=0)
    return values[0]


@contextmanager
def first_on_each_machine() -> Iterator[None]:
    """Let one process of each machine go first: it downloads and decodes, the others reuse it.

    If it fails, the launcher stops the others while they wait.
    """
    if not (is_launched() and is_joined()):
        yield
        return
    from torch import distributed

    if place().local_rank > 0:
        distributed.barrier()
    yield
    if place().local_rank == 0:
        distributed.barrier()


@contextmanager
def noticing_loss(folder: Path) -> Iterator[None]:
    """Translate errors of the connection to another process inside the block."""
    try:
        yield
    except RuntimeError as error:
        if not is_launched() or not any(word in str(error).lower() for word in _LOST):
            raise
        raise LostProcessError(
            f"another process of this run is gone ({first_line(error)}); "
            "expected all to stay; that process says why it ended. What was saved by then is "
            f"kept. Try resume={folder}, started as this run was"
        ) from error
