"""The arithmetic of a network: multiply-adds of a forward pass."""

import torch
from torch import Tensor, nn


@torch.no_grad()
def count_macs(net: nn.Module, images: Tensor) -> int:
    """Count the multiply-adds of a forward pass (convolutions, matrix products), on any device."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        net(images)
    return int(counter.get_total_flops()) // 2
