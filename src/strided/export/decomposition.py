"""Exact shares: how much of a class's logit comes from each place of the image.

A linear layer on means of maps is a sum over places, so each place's part of it is known. That is
class activation mapping (Zhou et al., CVPR 2016, arXiv:1512.04150) in units of the logit. A
standard deviation is a sum over places too: std = sum((x - mean)^2) / (N std).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from strided.models.pooled import LEAST, PooledNetwork, columns_of_blocks

MOST_PLACES = 56  # a side of the heat: blocks with more places are summed to as many

_AVERAGES = (F.adaptive_avg_pool2d, F.avg_pool2d, torch.mean, Tensor.mean)


class Averages(TorchFunctionMode):
    """Keeps the maps (B, C, H, W) that each average of a forward pass is taken of, in order.

    They are what comes after the last activation, wherever that is a function and no layer
    (DenseNet).
    """

    def __init__(self) -> None:
        super().__init__()
        self.maps: list[Tensor] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        given = next(iter(args), None)
        if func in _AVERAGES and isinstance(given, Tensor) and given.ndim == 4:
            self.maps.append(given)
        return func(*args, **(kwargs or {}))


def averaged_maps(averages: Averages, features: Tensor) -> int | None:
    """The place in `averages` of the maps whose means are these features (B, F), if any is."""
    for place, maps in reversed(list(enumerate(averages.maps))):
        means = maps.mean((2, 3))
        if means.shape == features.shape and torch.allclose(means, features, 1e-4, 1e-5):
            return place
    return None


def shares_of_means(maps: Tensor, weight: Tensor) -> Tensor:
    """Shares (B, K, H, W) of weight (K, C) times the means of maps (B, C, H, W)."""
    return F.conv2d(maps / (maps.shape[2] * maps.shape[3]), weight[:, :, None, None])


def shares_of_deviations(maps: Tensor, weight: Tensor) -> Tensor:
    """Shares (B, K, H, W) of weight (K, C) times the standard deviations of maps (B, C, H, W)."""
    squares = (maps - maps.mean((2, 3), keepdim=True)).square()
    std = squares.mean((2, 3), keepdim=True).clamp_min(LEAST).sqrt()
    return F.conv2d(squares / (maps.shape[2] * maps.shape[3] * std), weight[:, :, None, None])


def shares_of_blocks(
    net: PooledNetwork, maps: Sequence[Tensor], linear: nn.Linear, chosen: Sequence[int]
) -> Tensor:
    """Shares (B, K, h, w) of the chosen pooled blocks, summed at the size of the finest."""
    weights = columns_of_blocks(net, linear)
    found = [_shares_of_block(net, maps[place], weights[place]) for place in chosen]
    height, width = (min(MOST_PLACES, max(s.shape[axis] for s in found)) for axis in (2, 3))
    return torch.stack([_resized(shares, height, width) for shares in found]).sum(0)


def _shares_of_block(net: PooledNetwork, maps: Tensor, weight: Tensor) -> Tensor:
    if net.pool_kind == "mean":
        return shares_of_means(maps, weight)
    of_mean, of_std = weight.chunk(2, dim=1)
    return shares_of_means(maps, of_mean) + shares_of_deviations(maps, of_std)


def _resized(shares: Tensor, height: int, width: int) -> Tensor:
    """Shares at another size, of the same sum: each place is shared out by area."""
    if shares.shape[2:] == (height, width):
        return shares
    rows, columns = _overlaps(shares.shape[2], height), _overlaps(shares.shape[3], width)
    return rows @ shares @ columns.T


def _overlaps(places: int, cells: int) -> Tensor:
    """The part of each of `places` of a side that lies in each of `cells`: (cells, places)."""
    edges = torch.arange(places + 1, dtype=torch.float64) / places
    bounds = torch.arange(cells + 1, dtype=torch.float64) / cells
    high = torch.minimum(edges[1:], bounds[1:, None])
    low = torch.maximum(edges[:-1], bounds[:-1, None])
    return ((high - low).clamp_min(0) * places).float()
