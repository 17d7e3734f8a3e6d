"""Does a heatmap depend on what was learnt? Adebayo et al., "Sanity checks for saliency maps"."""

import copy
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from strided.training.transfer.parts import batch_norms

NOISE = 8  # images
DEPENDS = 0.5  # above this absolute rank correlation, a heatmap hardly depends on the weights


def randomised(net: nn.Module, shape: Sequence[int], seed: int = 0) -> nn.Module:
    """Return a copy of the network with random weights; the same for the same seed.

    This is Adebayo et al.'s randomisation test of all layers at once (NeurIPS 2018,
    arXiv:1810.03292). Weights follow He et al. (2015), biases are 0, norms are as initialised, and
    other vectors are permuted. Batch normalisation takes its statistics from noise of `shape`
    (C, H, W). Otherwise signals would explode with depth and saturate the softmax, so that no
    covering square would change it.
    """
    device = next(net.parameters()).device
    other = copy.deepcopy(net).cpu()  # so that each device draws the same
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in other.modules():
            reset = getattr(module, "reset_parameters", None)
            known = callable(reset)
            if callable(reset):
                reset()
            for name, weights in module.named_parameters(recurse=False):
                if weights.ndim > 1:
                    nn.init.kaiming_normal_(weights, nonlinearity="relu")
                elif known and name == "bias":
                    weights.zero_()
                elif not known and weights.ndim:
                    weights.copy_(weights[torch.randperm(len(weights))])
        norms = batch_norms(other)
        for norm in norms:
            vars(norm).update(momentum=None)  # the mean over the batches: there is one
        if norms:
            other.train()(torch.randn(NOISE, *shape))
    return other.to(device).eval()


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    """Spearman's rank correlation of two heatmaps; None if one of them is constant."""
    from scipy.stats import ConstantInputWarning, spearmanr  # scikit-learn brings scipy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        found = float(spearmanr(one.ravel(), other.ravel()).statistic)
    return found if np.isfinite(found) else None


def hardly_depends(correlation: float | None) -> bool:
    """Whether random weights give a heatmap in much the same order, or in the reverse of it."""
    return correlation is not None and abs(correlation) > DEPENDS
