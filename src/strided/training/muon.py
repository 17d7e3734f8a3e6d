"""Muon: momentum whose matrices are made orthogonal, so that a step moves all directions alike."""

from collections.abc import Iterable
from typing import Any

from timm.optim.muon import Muon as TimmMuon


class Muon(TimmMuon):
    """timm's Muon (Jordan et al. 2024), whose steps are as large as those of AdamW.

    So a rate suits matrices of all sizes (Liu et al. 2025, arXiv:2502.16982, section 2.2). The
    filters of a convolution are the rows of a matrix. Norms, biases, convolutions of one map and
    matrices with a side below 4, or 128 times as long as the other one, are trained by NAdamW
    (Dozat 2016) at the same rate.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate; a step of a matrix has 0.2 of it as its root mean square.
        momentum: Share of the last step's momentum, Nesterov's.
        weight_decay: Decay apart from the gradient, times the rate.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        momentum: float = 0.9,
        weight_decay: float = 0.05,
    ) -> None:
        super().__init__(params, lr=lr, momentum=momentum, nesterov=True, weight_decay=weight_decay)
