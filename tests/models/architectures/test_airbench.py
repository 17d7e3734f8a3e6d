"""The networks of Jordan 2024, arXiv:2404.00498: their sizes, and what their norms learn."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from strided.errors import UserError
from strided.models.architectures.airbench import Airbench, Group
from strided.models.macs import count_macs

LARGE: dict[str, Any] = {"widths": (128, 512, 512), "depth": 3, "residual": True}


@pytest.mark.parametrize(
    ("options", "parameters", "flops"),
    [
        ({}, 1_971_640, 0.36e15 / 9.9),  # 1.97 million; 0.36 PFLOPs in 9.9 epochs
        (LARGE, 12_717_752, 7.2e15 / 40),  # 12.7 million; 7.2 PFLOPs in 40 epochs
    ],
)
def test_parameters_and_arithmetic_are_the_papers(
    options: dict[str, Any], parameters: int, flops: float
) -> None:
    with torch.device("meta"):
        net = Airbench(10, 3, **options).eval()
        macs = count_macs(net, torch.empty(1, 3, 32, 32))
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert 2 * macs * 3 * 50_000 == pytest.approx(flops, rel=0.04)  # forward, and twice backward


def test_the_norms_learn_biases_only() -> None:
    net = Airbench(10, 3, widths=(4, 8, 8))
    norms = [n for n, _ in net.named_parameters() if ".norm." in n or ".rest.1." in n]
    assert len(norms) == 6 and all(name.endswith(".bias") for name in norms)
    assert "groups.0.norm.weight" in net.state_dict()  # as a buffer


def test_a_group_is_pooled_before_its_first_norm_and_a_shortcut_skips_the_others() -> None:
    group: Any = Group(2, 3, depth=3, residual=True, momentum=0.4).eval()
    maps = torch.randn(1, 2, 8, 8)
    first = F.gelu(F.max_pool2d(group.first(maps), 2) / (1 + 1e-12) ** 0.5)
    for name in ("rest.0.weight", "rest.3.weight"):
        torch.nn.init.zeros_(group.get_parameter(name))
    torch.testing.assert_close(group(maps), F.gelu(first))
    group.residual = False
    assert not group(maps).any()


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"widths": (64, 256)}, "widths"),
        ({"widths": (64, 0, 256)}, "widths"),
        ({"depth": 0}, "depth"),
        ({"norm_momentum": 0.0}, "norm_momentum"),
    ],
)
def test_impossible_values_name_their_key(options: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError, match=rf"model\.{key}=.*expected.*Try"):
        Airbench(10, 3, **options)
