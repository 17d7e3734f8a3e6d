"""The trainer's node of a config: how many processes it asks for, and each one's node."""

import logging

from strided.config.keys import Node
from strided.config.targets import build
from strided.errors import UserError
from strided.system.machine import cores
from strided.system.processes import is_launched, place

DDP_STRATEGIES = ("ddp", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false")
_CLASSES = ("DDPStrategy", "SingleDeviceStrategy")  # of Lightning's, by `_target_`
_FEW = 8  # processes that any machine may try


def processes_to_start(trainer: Node) -> int:
    """Return the number of processes to start on this machine; 1 if a launcher started them.

    Raises UserError for several machines, which a launcher on each must start, for more processes
    than this one has cores or GPUs, and for strategies that strided does not support.
    """
    _require_strategy(trainer)
    if is_launched() or (trainer.get("devices") == 1 and trainer.get("num_nodes", 1) == 1):
        return 1
    import torch

    if trainer.get("accelerator") == "gpu" and not torch.cuda.is_available():
        return 1  # the Trainer then raises its message, or has Apple's one GPU
    if trainer.get("num_nodes", 1) != 1:
        raise UserError(
            f"trainer.num_nodes={trainer['num_nodes']}, but this is the only process; expected one "
            "per device, started by torchrun or srun on every machine. Try torchrun --nnodes="
            f"{trainer['num_nodes']} --nproc-per-node=<devices> ... src/train.py ..."
        )
    _require_devices(trainer.get("devices", "auto"), torch.cuda.device_count())
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)  # each process would say it
    own = ("callbacks", "logger", "plugins", "strategy")  # heavy, or tied to a process
    node = {key: value for key, value in trainer.items() if key not in own}
    return int(build(node, "trainer", logger=False, enable_checkpointing=False).num_devices)


def among_others(node: Node) -> Node:
    """Return a trainer node for the processes that a launcher has started.

    Raises UserError for another number of devices.
    """
    from lightning.pytorch.plugins.environments import TorchElasticEnvironment

    here = place()
    devices, nodes = here.local_world_size, here.world_size // here.local_world_size
    typed = (node.get("devices", "auto"), node.get("num_nodes", 1))
    if typed[0] not in (1, devices, "auto", -1) or typed[1] not in (1, nodes):
        raise UserError(
            f"trainer.devices={typed[0]} trainer.num_nodes={typed[1]}, but {here.world_size} "
            f"processes were started, {devices} on this machine; expected as many. Try "
            f"trainer.devices={devices} trainer.num_nodes={nodes}"
        )
    _refuse_too_few_gpus(node, devices)
    _require_strategy(node)
    strategy = node.get("strategy", "auto")
    return {
        **node,
        "devices": devices,
        "num_nodes": nodes,
        "strategy": "ddp" if strategy == "auto" else strategy,
        "plugins": [TorchElasticEnvironment()],
    }


def _refuse_too_few_gpus(node: Node, processes: int) -> None:
    import torch

    wants_gpus = node.get("accelerator", "auto") in ("auto", "gpu", "cuda")
    gpus = torch.cuda.device_count()
    if wants_gpus and 0 < gpus < processes:
        raise UserError(
            f"{processes} processes were started on this machine, which has {gpus} "
            f"GPU{'s' * (gpus > 1)} for them; expected a GPU for each. Try {gpus} of them "
            f"(torchrun --nproc-per-node={gpus}), or trainer=cpu"
        )


def _require_strategy(trainer: Node) -> None:
    """Raise UserError for a strategy that starts processes by itself, or shards the checkpoint."""
    strategy = trainer.get("strategy", "auto")
    name = strategy.get("_target_") if isinstance(strategy, dict) else strategy
    home, _, own = str(name).rpartition(".")
    if isinstance(strategy, dict):
        known = own in _CLASSES if home.startswith("lightning.") else True  # else it is trusted
        known = known and strategy.get("start_method", "popen") == "popen"
    else:
        known = strategy in ("auto", *DDP_STRATEGIES)
    if not known:
        raise UserError(
            f"trainer.strategy={name} is not supported; expected one of auto, "
            f"{', '.join(DDP_STRATEGIES)}: strided starts the processes itself, and a checkpoint "
            "is one file. Try trainer.strategy=ddp"
        )


def _require_devices(devices: object, gpus: int) -> None:
    """Raise UserError for more processes than the machine could run."""
    most = max(_FEW, cores(), gpus)
    if str(devices).isdigit() and int(str(devices)) > most:
        raise UserError(
            f"trainer.devices={devices}, but this machine has {cores()} cores and {gpus} GPUs; "
            f"expected 1 to {most}. Try trainer.devices={max(1, gpus)}"
        )
