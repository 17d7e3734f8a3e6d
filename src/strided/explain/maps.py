"""The feature maps of a layer for one image."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from strided.explain.drawing import (
    bar,
    bordered,
    grid,
    map_colours,
    side_by_side,
    stacked,
    text_lines,
)
from strided.explain.layers import outputs_of


@torch.no_grad()
def feature_maps(net: nn.Module, layer: str, images: Tensor) -> np.ndarray:
    """The output of a layer that gives maps, for images (B, C, S, S): float32 (B, K, H, W)."""
    with outputs_of(net, [layer]) as kept:
        net(images)
    maps: np.ndarray = kept[layer].float().cpu().numpy()
    return maps


def draw_maps(maps: np.ndarray, count: int, layer: str, about: str, file: Path) -> Path:
    """Draw the first `count` of an image's maps (K, H, W), each on its own scale."""
    total, high, wide = maps.shape
    shown = maps[:count]
    low, most = (edge(shown, axis=(1, 2), keepdims=True) for edge in (np.min, np.max))
    spread = np.where(most > low, most - low, 1)
    sheet = grid(map_colours((shown - low) / spread))
    constant = int((most == low).sum())
    which = f"{total} maps" if total == len(shown) else f"maps 1 to {len(shown)} of {total}"
    note = f"each from its smallest to its largest value; over all {low.min():.3g} to " + (
        f"{most.max():.3g}" + (f"; {constant} constant" if constant else "")
    )
    ramp = map_colours(np.linspace(0, 1, 256))
    body = side_by_side([sheet, bar(ramp, min(sheet.height, 240), ["largest", "smallest"])])
    lines = [f"{layer}: {which} of {high}x{wide}", about, note]
    bordered(stacked([text_lines(lines, body.width), body])).save(file)
    return file
