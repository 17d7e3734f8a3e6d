"""Batch normalisation with the statistics of all processes: trainer.sync_batchnorm."""

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies import ParallelStrategy
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from strided.config.keys import Config
from strided.errors import UserError
from strided.training.transfer.transfer import Transfer

_REPLACED = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def refuse_shared_norms(config: Config, trainer: pl.Trainer, net: nn.Module) -> None:
    """Raise UserError if torch would put other layers in the place of a network's norms."""
    strategy = trainer.strategy
    if not config["trainer"].get("sync_batchnorm") or not isinstance(strategy, ParallelStrategy):
        return
    if why := _why_not(config, strategy.root_device, net):
        raise UserError(
            f"trainer.sync_batchnorm=true, but {why}. Try trainer.sync_batchnorm=false, or a "
            "larger data.batch_size"
        )


def _why_not(config: Config, device: torch.device, net: nn.Module) -> str | None:
    if device.type == "cpu":
        return "training is on the CPU; expected GPUs: torch shares statistics between these only"
    own = {type(m) for m in net.modules() if isinstance(m, _BatchNorm)} - {*_REPLACED}
    if own:  # timm's BatchNormAct2d would lose its activation without a word
        names = ", ".join(sorted(kind.__name__ for kind in own))
        return f"this network has {names}; expected norms of torch: only these can be shared"
    for name, stage in Transfer.of(config).named():
        if stage.trainable != "all" or stage.keep_statistics:  # of norms that are replaced later
            return f"stage {name} keeps statistics as they are; expected stages that train all"
    return None
