"""Heads: their parameters, and the pooling before them."""

from typing import Any

import pytest
import torch
from torch import nn

from strided.models import build_model
from strided.training.transfer.parts import freeze, parts

TORCHVISION = {"_target_": "strided.models.torchvision_model"}
TIMM = {"_target_": "strided.models.timm_model"}


def network(config: dict[str, Any], image_size: int) -> nn.Module:
    torch.manual_seed(0)
    return build_model(config, num_classes=5, in_channels=3, image_size=image_size)


# The two that the questions give: counts of trained and of all parameters.
@pytest.mark.parametrize(
    ("name", "head", "num_classes", "trained", "total"),
    [
        ("densenet121", "mlp", 3, 263_171, 7_217_027),
        ("vgg16", "flatten_mlp", 2, 6_423_298, 21_137_986),
    ],
)
def test_heads_have_the_parameters_of_the_questions(
    name: str, head: str, num_classes: int, trained: int, total: int
) -> None:
    config = {**TORCHVISION, "name": name, "head": head, "head_hidden": 256}
    with torch.device("meta"):
        net = build_model(config, num_classes=num_classes, in_channels=3, image_size=224)
    freeze(net, parts(net, "head"))
    assert sum(p.numel() for p in net.parameters()) == total
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == trained
    assert any(isinstance(module, nn.Dropout) and module.p == 0.5 for module in net.modules())


@pytest.mark.parametrize("head", ["linear", "mlp", "flatten_mlp"])
def test_heads_begin_with_the_networks_pooling_or_none(head: str) -> None:
    for name in ("vgg11", "resnet18", "efficientnet_b0", "mobilenet_v3_small", "convnext_tiny"):
        net = network({**TORCHVISION, "name": name, "stem": "imagenet", "head": head}, 64)
        assert net.eval()(torch.zeros(2, 3, 64, 64)).shape == (2, 5)
    assert network({**TIMM, "name": "resnet18", "head": head}, 64).eval()(
        torch.zeros(2, 3, 64, 64)
    ).shape == (2, 5)
