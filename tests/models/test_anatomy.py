"""The blocks of a network."""

from typing import Any

import torch
from torch import nn

from strided.models import build_model
from strided.models.anatomy import anatomy

TORCHVISION = {"_target_": "strided.models.torchvision_model"}


def network(config: dict[str, Any], image_size: int) -> nn.Module:
    torch.manual_seed(0)
    return build_model(config, num_classes=5, in_channels=3, image_size=image_size)


def test_blocks_have_the_names_of_the_architecture() -> None:
    def blocks(name: str, image_size: int = 224) -> list[str]:
        with torch.device("meta"):
            net = network({**TORCHVISION, "name": name}, image_size)
        return [block.name for block in anatomy(net).blocks]

    assert blocks("vgg16") == ["block1", "block2", "block3", "block4", "block5"]
    assert blocks("resnet50") == ["conv1", "layer1", "layer2", "layer3", "layer4"]
    assert blocks("googlenet")[-2:] == ["inception5a", "inception5b"]
    assert blocks("densenet121")[-1] == "features.denseblock4"
    assert blocks("inception_v3", 299)[-1] == "Mixed_7c"
