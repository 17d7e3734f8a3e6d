"""Shares of logits by place: exact where the head allows, refused with a reason elsewhere."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from strided.data import Preprocessing
from strided.export.decomposition import (
    _resized,
    shares_of_deviations,
    shares_of_means,
)
from strided.export.graph import NO_LINEAR, NO_MEANS, ONE_PLACE, ServedNetwork
from strided.models import build_model

TORCHVISION, TIMM = "strided.models.torchvision_model", "strided.models.timm_model"
LITE0 = {"_target_": TIMM, "name": "efficientnet_lite0", "stem": "imagenet"}
RESNET = {"_target_": TORCHVISION, "name": "resnet18", "stem": "imagenet"}
POOLED = {"head": "pooled", "pooled": ["blocks.0", "blocks.2", "blocks.4"]}

EXACT: list[tuple[dict[str, Any], int]] = [
    ({"_target_": "strided.models.CifarResNet", "depth": 8}, 32),
    (RESNET, 64),
    ({"_target_": TORCHVISION, "name": "densenet121", "stem": "imagenet"}, 64),
    ({"_target_": TORCHVISION, "name": "googlenet", "stem": "imagenet"}, 64),
    (LITE0, 64),
    ({**LITE0, **POOLED}, 64),
    ({**LITE0, **POOLED, "pool": "mean"}, 72),
]
WITHOUT: list[tuple[dict[str, Any], int, str]] = [
    ({"_target_": "strided.models.LeNet5"}, 32, NO_MEANS),
    ({"_target_": "strided.models.LeNet5Original"}, 32, NO_LINEAR),
    ({"_target_": "strided.models.MLP"}, 8, NO_MEANS),
    ({"_target_": TORCHVISION, "name": "alexnet"}, 32, NO_MEANS),
    ({"_target_": TORCHVISION, "name": "mobilenet_v3_small"}, 32, NO_MEANS),
    ({"_target_": TORCHVISION, "name": "squeezenet1_1"}, 64, NO_LINEAR),
    ({"_target_": TIMM, "name": "vit_tiny_patch16_224"}, 32, NO_MEANS),
    (RESNET, 32, ONE_PLACE),
]


def served(config: dict[str, Any], size: int) -> ServedNetwork:
    torch.manual_seed(0)
    net = build_model(config, num_classes=5, in_channels=3, image_size=size).eval()
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
    return ServedNetwork(net, Preprocessing(3, size, mean=mean, std=std))


def pictures(size: int) -> Tensor:
    return torch.randint(256, (3, 3, size, size), dtype=torch.uint8)


@torch.no_grad()
@pytest.mark.parametrize(("config", "size"), EXACT, ids=str)
def test_shares_sum_to_the_logits_less_the_bias(config: dict[str, Any], size: int) -> None:
    network, pixels = served(config, size), pictures(size)
    logits, features, heat = network(pixels)
    assert network.bias is not None and heat.shape[2] > 1
    assert features.shape == (3, network.net.get_submodule(network.last).in_features)
    torch.testing.assert_close(heat.sum((2, 3)) + network.bias, logits, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(("config", "size", "reason"), WITHOUT, ids=str)
def test_a_network_without_exact_shares_says_why(
    config: dict[str, Any], size: int, reason: str
) -> None:
    network = served(config, size)
    logits, features = network(pictures(size))
    assert network.reason == reason and logits.shape == (3, 5)
    assert features.ndim == 2


@torch.no_grad()
def test_a_served_network_normalises_as_the_preprocessing_does() -> None:
    network, pixels = served(LITE0, 64), pictures(64)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
    images = Preprocessing(3, 64, mean=mean, std=std).normalise(pixels)
    assert torch.equal(network(pixels)[0], network.net(images))


def test_a_share_is_where_the_maps_are() -> None:
    maps = torch.zeros(1, 2, 4, 4)
    maps[0, 0, 1, 2] = 8.0
    weight = torch.tensor([[1.0, 1.0], [-3.0, 5.0]])
    expected = torch.zeros(1, 2, 4, 4)
    expected[0, :, 1, 2] = torch.tensor([8.0, -24.0]) / 16
    assert torch.equal(shares_of_means(maps, weight), expected)
    of_deviations = shares_of_deviations(maps, weight)
    std = maps[0, 0].std(correction=0)
    assert of_deviations[0, 0, 1, 2] == (8 - 0.5) ** 2 / (16 * std)
    torch.testing.assert_close(of_deviations.sum((2, 3)), (weight[:, 0] * std)[None])


@pytest.mark.parametrize(("size", "other"), [(7, 14), (4, 56), (7, 10), (10, 4), (112, 56)])
def test_shares_of_another_size_have_the_same_sum_and_place(size: int, other: int) -> None:
    shares = torch.zeros(1, 1, size, size)
    shares[..., size // 2, :] = torch.rand(size)
    found = _resized(shares, other, other)
    torch.testing.assert_close(found.sum(), shares.sum())
    rows = found.sum((0, 1, 3))
    centre = (rows * (torch.arange(other) + 0.5)).sum() / rows.sum() / other
    assert abs(float(centre) - (size // 2 + 0.5) / size) < 0.5 / min(size, other)


@torch.no_grad()
def test_blocks_without_weight_do_not_decide_the_size() -> None:
    torch.manual_seed(0)
    net = build_model({**LITE0, **POOLED}, num_classes=5, in_channels=3, image_size=64).eval()
    linear = net.get_submodule("head")[1]  # type: ignore[index]
    assert isinstance(linear, nn.Linear)
    linear.weight[:, : 2 * 16 + 2 * 40] = 0  # all that blocks.0 and blocks.2 give
    network = ServedNetwork(net, Preprocessing(3, 64, mean=(0.5,) * 3, std=(0.2,) * 3))
    logits, _, heat = network(pictures(64))
    assert heat.shape[2:] == (4, 4)
    torch.testing.assert_close(heat.sum((2, 3)) + linear.bias, logits, rtol=1e-4, atol=1e-4)
