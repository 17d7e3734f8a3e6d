"""Captioned pictures on one sheet."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageChops

from strided.report.contact_sheet import LINE, TILE, Captioned, draw_sheet


def test_letters_of_any_alphabet_are_drawn_and_stay_below_their_picture(tmp_path: Path) -> None:
    sheets = []
    for text in ("é", "Ж", "W" * 60):
        captioned = [Captioned(np.zeros((8, 8, 3), np.uint8), [text])] * 2
        with Image.open(draw_sheet(captioned, tmp_path / "sheet.png")) as sheet:
            sheets.append(sheet.crop((0, TILE + 6, sheet.width, TILE + 6 + LINE)).convert("L"))
    assert ImageChops.difference(*sheets[:2]).getbbox()  # not both as a letter that is missing
    gap = sheets[2].crop((TILE + 6, 0, TILE + 18, LINE))
    assert gap.getextrema() == (255, 255)
