"""What else decides: the radiographs without their centre, without their border, and zoomed.

python docs/results/xray/variants.py data/xray3.zip variants

Each image becomes its middle square of 224 px (bicubic), as experiment=xray sees it, and is written
to variants/<variant>/xray3/ under its own name: `without_centre` (15 to 85 % of each side black),
`centre_alone` (all else black), `zoomed` (8 % nearer) and `squares` (nothing else changed).
"""

import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from PIL import Image

SIDE = 224
BEGIN, END = round(0.15 * SIDE), round(0.85 * SIDE)
CENTRE = (BEGIN, BEGIN, END, END)
ZOOM = 1.08


def middle(image: Image.Image, zoom: float = 1.0) -> Image.Image:
    """The middle square of an image, enlarged by `zoom`, at the network's size."""
    half = min(image.size) / zoom / 2
    x, y = (length / 2 for length in image.size)
    box = (x - half, y - half, x + half, y + half)
    return image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box)


def variants(image: Image.Image) -> Iterator[tuple[str, Image.Image]]:
    """Each variant of a grey image, with its name."""
    square = middle(image)
    yield "squares", square
    without, alone = square.copy(), Image.new("L", square.size)
    without.paste(0, CENTRE)
    alone.paste(square.crop(CENTRE), CENTRE)
    yield "without_centre", without
    yield "centre_alone", alone
    yield "zoomed", middle(image, ZOOM)


def write_variants(archive: str, folder: str) -> None:
    """Write all variants of all images of the zip."""
    with zipfile.ZipFile(archive) as source:
        for name in source.namelist():
            if PurePosixPath(name).suffix.lower() not in (".jpg", ".jpeg", ".png"):
                continue
            image = Image.open(io.BytesIO(source.read(name))).convert("L")
            for variant, picture in variants(image):
                file = Path(folder) / variant / name
                file.parent.mkdir(parents=True, exist_ok=True)
                picture.save(file, quality=100)


if __name__ == "__main__":
    write_variants(*sys.argv[1:])
