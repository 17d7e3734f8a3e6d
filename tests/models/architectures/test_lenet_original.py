"""LeNet-5 as published: the figures of the paper, layer by layer."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from strided.models.architectures.lenet_original import CODE_LENGTH, LeNet5Original, code, squash


def test_parameters_of_each_layer_are_those_of_the_paper() -> None:
    net = LeNet5Original(num_classes=10, in_channels=1)
    counts = {n: sum(p.numel() for p in m.parameters()) for n, m in net.named_children()}
    assert counts == {"c1": 156, "s2": 12, "c3": 1516, "s4": 32, "c5": 48120, "f6": 10164}
    assert sum(p.numel() for p in net.parameters()) == 60_000


def test_c3_maps_see_what_table_1_says_and_nothing_else() -> None:
    c3 = LeNet5Original(10, 1).c3
    seen = []
    for out in range(16):
        maps = torch.zeros(1, 6, 14, 14, requires_grad=True)
        c3(maps)[0, out].sum().backward()
        assert maps.grad is not None
        seen.append("".join(str(i) for i in range(6) if maps.grad[0, i].any()))
    assert [len(s) for s in seen] == [3] * 6 + [4] * 9 + [6]
    assert len(set(seen)) == 16
    assert [sum(str(i) in s for s in seen) for i in range(6)] == [10] * 6  # each row of the table
    assert seen[4] == "045" and seen[11] == "0125" and seen[14] == "0235"


def test_a_partial_convolution_is_one_whose_other_kernels_are_zero() -> None:
    torch.manual_seed(0)
    c3 = LeNet5Original(10, 1).c3
    maps = torch.randn(2, 6, 14, 14)
    expected = F.conv2d(maps[:, [0, 4, 5]], c3.weight[12:15].unsqueeze(0), c3.bias[4:5])
    torch.testing.assert_close(c3(maps)[:, 4:5], expected)


def test_subsampling_adds_four_and_scales_and_shifts_each_map() -> None:
    s2 = LeNet5Original(10, 1).s2
    with torch.no_grad():
        s2.coefficient.copy_(torch.arange(6.0))
        s2.bias.fill_(0.5)
    maps = torch.arange(6 * 4.0).view(1, 6, 2, 2)
    sums = maps.sum(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(s2(maps), sums * torch.arange(6.0).view(1, 6, 1, 1) + 0.5)


def test_the_squashing_function_takes_one_to_one() -> None:
    # 1.7159 tanh(2/3) = 1.00000
    torch.testing.assert_close(squash(torch.tensor([-1.0, 0.0, 1.0])), torch.tensor([-1.0, 0, 1.0]))


def test_weights_start_within_the_bound_of_the_paper() -> None:
    net = LeNet5Original(10, 1)
    fan_in = {"c1": 25, "s2": 4, "s4": 4, "c5": 400, "f6": 120}
    for name, inputs in fan_in.items():
        for parameter in net.get_submodule(name).parameters():
            assert parameter.abs().max() <= 2.4 / inputs
    assert net.c1.weight.abs().max() > 0.9 * 2.4 / 25
    assert net.c3.weight[-1].abs().max() <= 2.4 / 150 < net.c3.weight[:18].abs().max() <= 2.4 / 75


def test_logits_are_negative_squared_distances_to_the_codes() -> None:
    net = LeNet5Original(12, 1)
    with torch.no_grad():
        for parameter in net.f6.parameters():
            parameter.zero_()
        net.f6.bias.copy_(torch.tensor(code(7)))  # squashed, +-1 stays +-1
    logits = net(torch.zeros(1, 1, 32, 32))[0]
    assert logits[7].item() == pytest.approx(0, abs=1e-6)
    differing = sum(a != b for a, b in zip(code(7), code(11), strict=True))
    assert logits[11].item() == pytest.approx(-4 * differing, rel=1e-4)


def test_codes_differ_have_no_state_and_depend_on_the_class_number_only() -> None:
    codes = [code(number) for number in range(200)]
    assert all(len(c) == CODE_LENGTH and set(c) == {-1.0, 1.0} for c in codes)
    assert all(
        sum(x != y for x, y in zip(a, b, strict=True)) >= 9
        for a, b in itertools.combinations(codes, 2)
    )
    assert "codes" not in LeNet5Original(10, 1).state_dict()
    assert torch.equal(LeNet5Original(10, 1).codes, LeNet5Original(50, 3).codes[:10])
