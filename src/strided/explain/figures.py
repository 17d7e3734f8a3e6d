"""Figures of heatmaps: one beside its picture, and the contact sheet of all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from strided.data.reading.files import as_text
from strided.explain.drawing import (
    bar,
    bordered,
    fitted,
    overlay,
    side_by_side,
    stacked,
    text_lines,
)
from strided.explain.heatmaps import METHODS, UNITS, Heatmap

LARGE, TILE = 448, 224  # pixels a side of a picture beside its heatmap, and on the sheet


@dataclass(frozen=True)
class Explained:
    """A picture, uint8 (S, S, 3) as the network saw it, and its heatmaps for one class."""

    path: str
    picture: np.ndarray
    predicted: str
    predicted_probability: float
    target: str
    probability: float
    heatmaps: Mapping[str, Heatmap]

    @property
    def claim(self) -> str:
        """Class and probability; also the predicted class if it is another one."""
        own = f"{as_text(self.target)}: {self.probability:.3f}"
        if self.target == self.predicted:
            return f"{own} (predicted)"
        return f"{own} (predicted {as_text(self.predicted)}: {self.predicted_probability:.3f})"


def draw_heatmap(explained: Explained, method: str, of: str, file: Path) -> Path:
    """Draw picture and overlay with a bar of its colours; `of` says what the method looked at."""
    heat = explained.heatmaps[method]
    drawn = fitted(overlay(explained.picture, heat.shades), LARGE)
    body = side_by_side([fitted(explained.picture, LARGE), drawn, legend(heat, drawn.height)])
    lines = [explained.claim, f"{METHODS[method]}{of}; {UNITS[method]}", explained.path]
    bordered(stacked([text_lines(lines, body.width), body])).save(file)
    return file


def legend(heat: Heatmap, height: int) -> Image.Image:
    """The bar of an overlay's colours, as they look over middle grey."""
    ramp = np.linspace(-1 if heat.is_signed else 0, 1, 256)[:, None]
    strip = overlay(np.full((256, 1, 3), 128, np.uint8), ramp)[:, 0]
    high = f"{heat.scale:.2g}"
    return bar(strip, height, [f"+{high}", "0", f"-{high}"] if heat.is_signed else [high, "0"])


def draw_sheet(rows: Sequence[Explained], file: Path) -> Path:
    """Draw a row for each image and class: the picture, then a column for each method."""
    methods = list(rows[0].heatmaps)
    heads = ["Picture", *(METHODS[method] for method in methods)]
    top = side_by_side([text_lines([head], TILE) for head in heads])
    lines = [top]
    for row in rows:
        drawn = [overlay(row.picture, row.heatmaps[method].shades) for method in methods]
        tiles = [_square(pixels) for pixels in (row.picture, *drawn)]
        about = text_lines([row.claim, row.path], top.width, 13)
        lines.append(stacked([side_by_side(tiles), about], 4))
    bordered(stacked(lines, 10)).save(file)
    return file


def _square(pixels: np.ndarray) -> Image.Image:
    """A picture of TILE x TILE pixels; small ones are magnified and centred on white."""
    picture = fitted(pixels, TILE)
    canvas = Image.new("RGB", (TILE, TILE), "white")
    canvas.paste(picture, ((TILE - picture.width) // 2, (TILE - picture.height) // 2))
    return canvas
