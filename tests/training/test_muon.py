"""Muon: what a step does to a matrix, and to what is no matrix."""

import pytest
import torch
from torch import nn

from strided.training.recipes import build_optimizer, build_schedule

NODE = {"_target_": "strided.training.Muon", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.5}


def step(net: nn.Module) -> dict[str, torch.Tensor]:
    """Take a step down random gradients; returns how far each weight moved beyond its decay."""
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    for parameter in net.parameters():
        parameter.grad = torch.randn_like(parameter)
    build_optimizer(NODE, net).step()
    decay = {name: 0.05 if p.ndim > 1 else 0.0 for name, p in before.items()}
    return {
        name: p.detach() - before[name] * (1 - decay[name]) for name, p in net.named_parameters()
    }


@pytest.mark.parametrize(
    "layer", [nn.Linear(48, 32, bias=False), nn.Conv2d(8, 32, 3, bias=False)], ids=lambda m: str(m)
)
def test_a_step_moves_all_directions_of_a_matrix_alike(layer: nn.Module) -> None:
    torch.manual_seed(0)
    (moved,) = step(layer).values()
    matrix = moved.flatten(1)
    singular = torch.linalg.svdvals(matrix)
    assert singular.max() / singular.min() < 2.5  # of the random gradient itself: 4 and more
    assert matrix.square().mean().sqrt().item() == pytest.approx(0.1 * 0.2, rel=0.25)


def test_rates_are_followed_by_matrices_and_others_alike() -> None:
    net = nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8))
    optimizer = build_optimizer({**NODE, "norm_bias_factor": 64.0}, net)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1, 0.1, 6.4])
    schedule, _ = build_schedule(
        {"_target_": "strided.training.OneCycle", "max_lr": 0.1}, optimizer, lambda: 10
    )
    momenta = [(g["momentum"], g["betas"]) for g in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = [p.detach().clone() for p in net.parameters()]
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    schedule.step()
    assert [(g["momentum"], g["betas"]) for g in optimizer.param_groups] == momenta


def test_the_others_take_a_step_of_nadam_without_decay() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.BatchNorm2d(4))
    moved = step(net)
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None  # its first step is 1 + 0.9 times the rate down each
        torch.testing.assert_close(moved[name], -0.19 * parameter.grad.sign(), rtol=1e-3, atol=1e-6)
