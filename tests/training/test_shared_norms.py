from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import nn

from strided.errors import UserError
from strided.models import Airbench, timm_model
from strided.training.shared_norms import refuse_shared_norms

PLAIN = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm1d(3))
ON_GPU = torch.device("cuda", 0)
FROZEN = {
    "_target_": "strided.training.Transfer",
    "stages": {"head": {"_target_": "strided.training.Stage", "trainable": "head"}},
}


def refuse(net: nn.Module, device: torch.device = ON_GPU, **others: Any) -> None:
    strategy = DDPStrategy(parallel_devices=[device], cluster_environment=LightningEnvironment())
    trainer: Any = SimpleNamespace(strategy=strategy)
    config: Any = {"trainer": {"sync_batchnorm": True}, "model": {"weights": "a.ckpt"}, **others}
    refuse_shared_norms(config, trainer, net)


@pytest.mark.parametrize(
    ("net", "name"),
    [
        (Airbench(10, 3), "BiasedNorm"),  # torch ends with a TypeError
        # without a word, torch would leave its activations out
        (timm_model(name="efficientnet_lite0", num_classes=10), "BatchNormAct2d"),
    ],
)
def test_norms_that_torch_would_change_are_not_shared(net: nn.Module, name: str) -> None:
    with pytest.raises(UserError, match=rf"sync_batchnorm=true, but .*{name}.*expected.*Try"):
        refuse(net)


def test_torchs_own_norms_are_shared_by_gpus_where_all_is_trained() -> None:
    refuse(PLAIN)
    with pytest.raises(UserError, match="on the CPU; expected GPUs"):
        refuse(PLAIN, torch.device("cpu"))
    with pytest.raises(UserError, match="stage head keeps statistics"):
        refuse(PLAIN, transfer=FROZEN)


def test_one_process_shares_nothing() -> None:
    trainer: Any = SimpleNamespace(strategy=SingleDeviceStrategy(torch.device("cpu")))
    config: Any = {"trainer": {"sync_batchnorm": True}}
    refuse_shared_norms(config, trainer, Airbench(10, 3))
