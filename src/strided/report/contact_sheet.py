"""Captioned pictures on one sheet."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from strided.pages.png import font

TILE = 192  # pixels a side of a picture on the sheet
LINE = 14  # pixels a line of text
SIZE = 12  # of its letters


@dataclass(frozen=True)
class Captioned:
    """A picture, uint8 (S, S, 3), and the `lines` below it: the same number for all of a sheet."""

    picture: np.ndarray
    lines: list[str]


def draw_sheet(captioned: Sequence[Captioned], file: Path, columns: int = 4) -> Path:
    """Draw pictures in rows, each with its lines below; needs at least one."""
    from PIL import Image, ImageDraw

    width, height = TILE + 16, TILE + len(captioned[0].lines) * LINE + 12
    rows = -(-len(captioned) // columns)
    sheet = Image.new("RGB", (width * min(columns, len(captioned)), height * rows), "white")
    draw, face = ImageDraw.Draw(sheet), font(SIZE)  # PIL's own has English letters only
    for index, shown in enumerate(captioned):
        left, top = width * (index % columns), height * (index // columns)
        picture = Image.fromarray(shown.picture)
        # magnified pictures keep sharp pixels, shrunk ones are smoothed
        small = picture.width < TILE
        picture = picture.resize(
            (TILE, TILE), Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
        )
        sheet.paste(picture, (left + 4, top + 4))
        for line, text in enumerate(shown.lines):
            place = (left + 4, top + TILE + 6 + line * LINE)
            while face.getlength(text) > TILE:  # it ends before the next tile
                text = text[:-1]
            draw.text(place, text, "black", face)
    sheet.save(file)
    return file
