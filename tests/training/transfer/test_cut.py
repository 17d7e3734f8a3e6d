"""Where a network is cut in two: what stays as it is, and what is trained."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn

from strided.models import build_model
from strided.training.transfer.cut import Cut, CutError
from strided.training.transfer.parts import parts

TORCHVISION = {"_target_": "strided.models.torchvision_model"}
TIMM = {"_target_": "strided.models.timm_model"}
# network, size of the images, what is trained
CUTS: list[tuple[dict[str, Any], int, str | int]] = [
    ({**TORCHVISION, "name": "alexnet"}, 64, "head"),
    ({**TORCHVISION, "name": "vgg11", "head": "flatten_mlp"}, 32, "block5"),
    ({**TORCHVISION, "name": "googlenet", "stem": "imagenet"}, 64, 2),
    ({**TORCHVISION, "name": "inception_v3"}, 80, "head"),
    ({**TORCHVISION, "name": "densenet121", "stem": "imagenet"}, 32, "head"),
    ({**TORCHVISION, "name": "densenet121", "stem": "imagenet"}, 32, "features.denseblock4"),
    ({**TORCHVISION, "name": "mobilenet_v3_small", "stem": "imagenet"}, 32, 3),
    ({**TORCHVISION, "name": "squeezenet1_1", "head": "linear"}, 32, "head"),
    ({**TORCHVISION, "name": "shufflenet_v2_x0_5"}, 32, 2),
    ({**TORCHVISION, "name": "convnext_tiny", "head": "mlp"}, 32, "head"),
    ({**TIMM, "name": "tf_efficientnet_lite0", "stem": "imagenet", "drop_rate": 0.2}, 32, "head"),
    ({**TIMM, "name": "tf_efficientnet_lite0", "stem": "imagenet"}, 32, "blocks.6"),
    ({**TIMM, "name": "convnext_atto", "head": "mlp"}, 32, 1),
    ({"_target_": "strided.models.CifarResNet", "depth": 8}, 16, 1),
    ({"_target_": "strided.models.LeNet5"}, 32, "head"),
]


def network(config: dict[str, Any], image_size: int) -> nn.Module:
    torch.manual_seed(0)
    return build_model(config, num_classes=5, in_channels=3, image_size=image_size)


@pytest.mark.parametrize(
    ("config", "image_size", "trainable"), CUTS, ids=lambda value: str(value)[:60]
)
def test_two_parts_of_a_network_are_the_network(
    config: dict[str, Any], image_size: int, trainable: str | int
) -> None:
    net = network(config, image_size).eval()
    cut = Cut(net, parts(net, trainable))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    images = torch.randn(4, 3, image_size, image_size)
    shape = cut.check(images)
    features = cut.features(images)
    assert features.shape == (4, *shape)
    with torch.no_grad():
        expected = net(images)
        with cut.passing() if cut.network is net else nullcontext():
            assert torch.allclose(cut.network(features), expected, rtol=1e-4, atol=1e-5)
        assert torch.equal(net(images), expected)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_a_network_that_cannot_be_cut_says_so() -> None:
    net = network({**TIMM, "name": "vit_tiny_patch16_224"}, 224)
    with pytest.raises(CutError, match="lost"):
        Cut(net, parts(net, 1)).check(torch.randn(2, 3, 224, 224))
    net = network({"_target_": "strided.models.LeNet5"}, 32)  # tanh between f6 and what is before
    with pytest.raises(CutError, match="lost"):
        Cut(net, parts(net, "f6")).check(torch.randn(2, 3, 32, 32))
