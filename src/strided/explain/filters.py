"""All filters of the first convolution in one picture."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import nn

from strided.explain.drawing import (
    bar,
    bordered,
    grid,
    side_by_side,
    stacked,
    text_lines,
)

_RAMP = np.arange(256, dtype=np.uint8)[:, None].repeat(3, 1)


class Filters(NamedTuple):
    """weights: float32 (N, h, w, 3 or 1), of the layer `name`, which takes `channels` channels.

    With any number of channels except 1 and 3, the weights are the mean over them.
    """

    name: str
    channels: int
    weights: np.ndarray


def first_filters(net: nn.Module) -> Filters | None:
    """The filters that see the image; None for a network without convolutions."""
    found = next(((n, m) for n, m in net.named_modules() if isinstance(m, nn.Conv2d)), None)
    if found is None:
        return None
    name, convolution = found
    weights = convolution.weight.detach().float().cpu()
    channels = weights.shape[1]
    if channels not in (1, 3):
        weights = weights.mean(1, keepdim=True)
    return Filters(name, channels, torch.movedim(weights, 1, 3).numpy())


def draw_filters(filters: Filters, folder: Path) -> list[Path]:
    """Write filters_joint.png (one range for all) and filters_each.png (a range for each)."""
    sizes = np.abs(filters.weights).max((1, 2, 3), keepdims=True)
    most = float(sizes.max())
    joint = f"all on one scale, ±{most:.3g}: strong filters are vivid, weak ones grey"
    each = f"each on its own scale, ±{sizes.min():.2g} to ±{most:.2g}: weak ones are seen too"
    pictures = {
        "filters_joint.png": _drawn(filters, sizes.max(), joint, (f"+{most:.3g}", f"-{most:.3g}")),
        "filters_each.png": _drawn(filters, sizes, each, ("largest", "-largest")),
    }
    for name, picture in pictures.items():
        picture.save(folder / name)
    return [folder / name for name in pictures]


def _drawn(
    filters: Filters, scale: np.ndarray | float, note: str, ends: tuple[str, str]
) -> Image.Image:
    """Draw the filters, weight 0 as middle grey; RGB if they have three channels."""
    scaled = filters.weights / np.where(np.asarray(scale) > 0, scale, 1)
    tiles = np.rint(127.5 * (scaled + 1)).astype(np.uint8)
    sheet = grid(tiles if tiles.shape[-1] == 3 else tiles.repeat(3, 3), 720)
    high, wide = filters.weights.shape[1:3]
    kinds = {1: "of one grey channel", 3: "of red, green and blue"}
    kind = kinds.get(filters.channels, f"mean of {filters.channels} channels")
    title = f"{filters.name}: {len(tiles)} filters of {high}x{wide}, {kind}"
    legend = bar(_RAMP, min(sheet.height, 240), [ends[0], "0", ends[1]])
    body = side_by_side([sheet, legend])
    return bordered(stacked([text_lines([title, note], body.width), body]))
