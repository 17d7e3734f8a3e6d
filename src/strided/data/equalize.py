"""Equalized grey levels, as radiographs are often shown: over the image, or tile by tile."""

from typing import Literal

import numpy as np
from PIL import Image, ImageOps

Equalize = Literal["histogram", "clahe"]

_TILES = 8  # in each direction
_CLIP = 2.0  # times the mean height of a tile's histogram
_LEVELS = 256


def equalized(image: Image.Image, how: Equalize) -> Image.Image:
    """Equalize an "L" image, or the luma of an "RGB" image.

    histogram: each grey level becomes equally frequent. clahe: contrast limited adaptive histogram
    equalization (Zuiderveld, "Contrast limited adaptive histogram equalization", Graphics Gems IV,
    1994) in 8 x 8 tiles, limited to twice a flat histogram, as OpenCV does it.
    """
    if image.mode == "RGB":
        luma, *chroma = image.convert("YCbCr").split()
        return Image.merge("YCbCr", [equalized(luma, how), *chroma]).convert("RGB")
    if how == "histogram":
        return ImageOps.equalize(image)
    return Image.fromarray(clahe(np.asarray(image)))


def clahe(grey: np.ndarray) -> np.ndarray:
    """CLAHE of uint8 (H, W); the shape stays. Sides of fewer pixels than tiles have one a pixel."""
    height, width = grey.shape
    rows, columns = (min(_TILES, side) for side in grey.shape)
    # as OpenCV, which fills tiles up beyond the right and lower edge by mirroring
    whole = np.pad(grey, [(0, -height % rows), (0, -width % columns)], mode="reflect")
    tile = whole.shape[0] // rows, whole.shape[1] // columns
    tiles = whole.reshape(rows, tile[0], columns, tile[1]).swapaxes(1, 2).reshape(rows, columns, -1)
    levels = _curves(tiles).astype(np.float32)
    upper, lower, down = _neighbours(height, tile[0], rows)
    left, right, across = _neighbours(width, tile[1], columns)
    down = down[:, None]
    above = levels[upper[:, None], left, grey] * (1 - across)
    above += levels[upper[:, None], right, grey] * across
    below = levels[lower[:, None], left, grey] * (1 - across)
    below += levels[lower[:, None], right, grey] * across
    return np.rint(above * (1 - down) + below * down).clip(0, 255).astype(np.uint8)


def _curves(tiles: np.ndarray) -> np.ndarray:
    """From the grey levels of each tile, uint8 (R, C, area), its new levels, (R, C, 256)."""
    rows, columns, area = tiles.shape
    limit = max(1, int(_CLIP * area / _LEVELS))
    number = np.arange(rows * columns).reshape(rows, columns, 1) * _LEVELS
    counts = np.bincount((number + tiles).ravel(), minlength=rows * columns * _LEVELS)
    counts = counts.reshape(rows, columns, _LEVELS)
    excess = (counts - limit).clip(0).sum(-1)
    counts = counts.clip(max=limit) + (excess // _LEVELS)[..., None]
    # what is left over goes to single levels, evenly spaced
    left = (excess % _LEVELS)[..., None]
    step = np.maximum(_LEVELS // np.maximum(left, 1), 1)
    level = np.arange(_LEVELS)
    counts += (level % step == 0) & (level // step < left)
    return np.rint(counts.cumsum(-1) * np.float32((_LEVELS - 1) / area)).clip(0, _LEVELS - 1)


def _neighbours(side: int, tile: int, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each pixel the tiles whose centres lie before and after it, and the share of the last."""
    place = np.arange(side, dtype=np.float32) / np.float32(tile) - np.float32(0.5)
    before = np.floor(place).astype(int)
    share = place - before
    return before.clip(0, number - 1), (before + 1).clip(0, number - 1), share
