from typing import Any

import pytest
import torch
from torch import nn

from strided.config.compose import compose
from strided.errors import UserError
from strided.models import build_model
from strided.training.parameter_groups import layers, parameter_groups, scale_rates
from strided.training.recipes import build_optimizer, build_schedule
from strided.training.schedules import OneCycle, cosine


class Net(nn.Module):
    """A stem with a norm, two blocks, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, 3))
        self.stem = nn.Linear(3, 3, bias=False)
        self.norm = nn.LayerNorm(3)
        self.activation = nn.ReLU()
        self.blocks = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 3), nn.ReLU()))
        self.head = nn.Linear(3, 2)


def rates(optimizer: torch.optim.Optimizer, net: nn.Module) -> dict[str, float]:
    of = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    return {name: of[id(parameter)] for name, parameter in net.named_parameters()}


def sgd(net: nn.Module, layer_decay: float | None) -> torch.optim.SGD:
    optimizer = torch.optim.SGD(parameter_groups(net, layer_decay), lr=0.8, weight_decay=0.1)
    scale_rates(optimizer)
    return optimizer


def test_the_rate_falls_with_the_distance_from_the_head() -> None:
    net = Net()
    optimizer = sgd(net, 0.5)
    assert rates(optimizer, net) == {
        "token": 0.1,
        "stem.weight": 0.1,
        "norm.weight": 0.1,
        "norm.bias": 0.1,
        "blocks.0.weight": 0.2,
        "blocks.0.bias": 0.2,
        "blocks.1.0.weight": 0.4,
        "blocks.1.0.bias": 0.4,
        "head.weight": 0.8,
        "head.bias": 0.8,
    }
    assert optimizer.param_groups[0]["lr"] == 0.8  # what metrics.csv shows
    for group in optimizer.param_groups:
        dimensions = {parameter.ndim > 1 for parameter in group["params"]}
        assert dimensions == {group["weight_decay"] == 0.1}


def test_without_layer_decay_there_are_two_groups_of_one_rate() -> None:
    optimizer = sgd(Net(), None)
    assert [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups] == [
        (0.8, 0.1),
        (0.8, 0.0),
    ]


def test_what_is_frozen_is_in_no_group_but_still_counts_as_a_layer() -> None:
    net = Net()
    net.blocks.requires_grad_(False)
    optimizer = sgd(net, 0.5)
    found = {group["lr"] for group in optimizer.param_groups}
    assert found == {0.8, 0.1}
    held = sum(len(group["params"]) for group in optimizer.param_groups)
    assert held == len(list(net.parameters())) - 4


SCHEDULES: dict[str, Any] = {
    "one_cycle": lambda optimizer: OneCycle(optimizer, max_lr=0.8, total_steps=10),
    "cosine": lambda optimizer: cosine(optimizer, total_steps=10, warmup_fraction=0.3),
    "step": lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 2),
    "multistep": lambda optimizer: torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 5]),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_keeps_the_rates_in_proportion(name: str) -> None:
    net = Net()
    optimizer = sgd(net, 0.5)
    scheduler = SCHEDULES[name](optimizer)
    plain = sgd(Net(), None)
    other = SCHEDULES[name](plain)
    seen = []
    for _ in range(9):
        now = rates(optimizer, net)
        seen.append(now["head.bias"])
        assert now["head.bias"] == pytest.approx(plain.param_groups[0]["lr"])
        # one_cycle ends at a rate of each group's own, so that 1e-12 is close enough
        for layer, scale in (("stem", 0.125), ("blocks.0", 0.25), ("blocks.1.0", 0.5)):
            assert now[f"{layer}.weight"] == pytest.approx(scale * now["head.bias"], rel=1e-6)
        optimizer.step()
        plain.step()
        scheduler.step()
        other.step()
    assert len(set(seen)) > 2


TORCHVISION = {"_target_": "strided.models.torchvision_model"}
TIMM = {"_target_": "strided.models.timm_model"}


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ({"_target_": "strided.models.LeNet5"}, 5),
        ({"_target_": "strided.models.MLP"}, 3),
        ({**TORCHVISION, "name": "resnet18"}, 1 + 8 + 1),
        ({**TORCHVISION, "name": "vgg16_bn"}, 13 + 3),
        ({**TORCHVISION, "name": "vit_b_16"}, 1 + 12 + 1),
        ({**TIMM, "name": "resnet18"}, 1 + 8 + 1),
        ({**TIMM, "name": "vit_tiny_patch16_224"}, 1 + 12 + 1),
    ],
)
def test_layers_are_the_blocks_of_the_network(node: dict[str, Any], expected: int) -> None:
    size = 32 if "strided.models.L" in node["_target_"] else 224
    with torch.device("meta"):
        net = build_model(node, num_classes=3, in_channels=3, image_size=size)
    found = layers(net)
    assert len(found) == expected
    assert [id(p) for layer in found for p in layer] == [id(p) for p in net.parameters()]
    assert {p.shape[0] for p in found[-1]} == {3}  # the head, alone


@pytest.mark.parametrize("decay", [0.0, -1.0, 1.5])
def test_a_decay_out_of_range_is_refused(decay: float) -> None:
    with pytest.raises(UserError, match=r"optimizer.layer_decay=.*expected.*Try optimizer"):
        parameter_groups(Net(), decay)


def test_biases_of_batch_norms_have_a_rate_of_their_own() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(parameter_groups(net, None, 64.0), lr=0.1, weight_decay=0.1)
    scale_rates(optimizer)
    found = rates(optimizer, net)
    assert found.pop("1.bias") == pytest.approx(6.4) and set(found.values()) == {0.1}
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0, 0.0]
    layered = torch.optim.SGD(parameter_groups(net, 0.5, 64.0), lr=0.1)
    scale_rates(layered)
    assert rates(layered, net)["1.bias"] == pytest.approx(64 * rates(layered, net)["1.weight"])


@pytest.mark.parametrize("factor", [0.0, -1.0, float("inf")])
def test_a_factor_of_no_rate_is_refused(factor: float) -> None:
    with pytest.raises(UserError, match=r"norm_bias_factor=.*expected.*Try"):
        parameter_groups(Net(), None, factor)


def test_the_record_of_cifar10_has_the_papers_rates() -> None:
    """0.2 of the rate, up to it after 23 % of the steps, down to 0.07; biases at 64 times."""
    config = compose("train", ["experiment=cifar10_fast"])
    net = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, affine=True))
    optimizer = build_optimizer(config["optimizer"], net)
    schedule, in_steps = build_schedule(config["scheduler"], optimizer, lambda: 101)
    found = []
    for _ in range(101):
        found.append([group["lr"] for group in optimizer.param_groups])
        if len(found) < 101:
            optimizer.step()
            schedule.step()
    rate = 11.5 * 1024 / (1024 * (1 + 1 / (1 - 0.85)))
    weights, _, biases = zip(*found, strict=True)
    assert in_steps and max(weights) == pytest.approx(rate, rel=0.01)  # between two steps
    assert weights[0] == pytest.approx(0.2 * rate, rel=1e-3)
    assert weights[-1] == pytest.approx(0.07 * rate, rel=1e-3)
    assert weights.index(max(weights)) == pytest.approx(23, abs=1)
    assert biases == pytest.approx([64 * w for w in weights])
    decay = config["optimizer"]["weight_decay"]
    assert decay * rate == pytest.approx(0.0153 * 1024 / (1024 * (1 + 1 / (1 - 0.85))), rel=2e-3)
