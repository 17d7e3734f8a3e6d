"""The images of an evaluation that the network is wrong about, and most sure of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from strided.data import ImageDataModule
from strided.evaluation import Evaluation

TILE = 192  # pixels a side of a picture on the sheet
LINE = 14  # pixels a line of text
LONGEST = 32  # letters of a line, so that it ends before the next tile


@dataclass(frozen=True)
class Misclassified:
    """picture is uint8 (S, S, 3) as the network saw it; probability is that of `predicted`."""

    picture: np.ndarray
    path: str
    label: str
    predicted: str
    probability: float


def most_confident_errors(
    evaluation: Evaluation, data: ImageDataModule, count: int = 16
) -> list[Misclassified]:
    """Return the wrong predictions with the highest probability, the worst first."""
    found: list[tuple[float, int, str]] = []  # probability, place in the split, predicted
    for position, row in enumerate(evaluation.rows):
        if row.probabilities is None:
            continue
        probability = max(row.probabilities)
        predicted = data.classes[row.probabilities.index(probability)]
        if predicted != row.label:
            found.append((probability, position, predicted))
    found.sort(key=lambda error: -error[0])
    return [
        Misclassified(
            data.picture(evaluation.split, position),
            printable(evaluation.rows[position].path),
            printable(evaluation.rows[position].label),
            printable(predicted),
            probability,
        )
        for probability, position, predicted in found[:count]
    ]


def printable(name: str) -> str:
    """Return a name as text: a file may be called by bytes that are none."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


@dataclass(frozen=True)
class Captioned:
    """picture is uint8 (S, S, 3); `lines` stand below it, as many for each of a sheet."""

    picture: np.ndarray
    lines: list[str]


def draw_misclassified(misclassified: Sequence[Misclassified], folder: Path) -> Path:
    """Draw the pictures on one sheet, each with its true and predicted class and probability."""
    captioned = [
        Captioned(
            error.picture,
            [f"true {error.label}", f"predicted {error.predicted} ({error.probability:.2f})"],
        )
        for error in misclassified
    ]
    return draw_sheet(captioned, folder / "misclassified.png")


def draw_sheet(captioned: Sequence[Captioned], file: Path, columns: int = 4) -> Path:
    """Draw pictures in rows, each with its lines below; at least one."""
    from PIL import Image, ImageDraw

    width, height = TILE + 16, TILE + len(captioned[0].lines) * LINE + 12
    rows = -(-len(captioned) // columns)
    sheet = Image.new("RGB", (width * min(columns, len(captioned)), height * rows), "white")
    draw = ImageDraw.Draw(sheet)
    for index, shown in enumerate(captioned):
        left, top = width * (index % columns), height * (index // columns)
        picture = Image.fromarray(shown.picture)
        # small pictures keep their pixels, large ones are made smaller smoothly
        small = picture.width < TILE
        picture = picture.resize(
            (TILE, TILE), Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
        )
        sheet.paste(picture, (left + 4, top + 4))
        for line, text in enumerate(shown.lines):
            place = (left + 4, top + TILE + 6 + line * LINE)
            draw.text(place, text[:LONGEST], "black", font_size=12)
    sheet.save(file)
    return file
