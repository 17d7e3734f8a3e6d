"""The arithmetic of a network: multiply-adds of a forward pass, FLOPs of training."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


@torch.no_grad()
def count_macs(net: nn.Module, images: Tensor) -> int:
    """Count the multiply-adds of a forward pass (convolutions, matrix products), on any device."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        net(images)
    return int(counter.get_total_flops()) // 2


def count_training_flops(net: nn.Module, images: Tensor, trained: Sequence[nn.Parameter]) -> int:
    """Count the FLOPs of a forward pass, and of the gradients of the trained parameters.

    Two are a multiply-add. The parameters' `grad` stays as it is.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.enable_grad():
        # not backward(), which would tell other processes of these gradients
        torch.autograd.grad(net(images).sum(), list(trained), allow_unused=True)
    return int(counter.get_total_flops())
