"""Pictures to refuse, and changed X-rays: python docs/results/gate/others.py data OUT RUN

`data` holds MNIST/, flowers.zip, cats_dogs.zip and xray3.zip. RUN is a run on the X-rays: its test
images are mirrored and turned into negatives. OUT gets a folder for each kind of picture.
"""

import csv
import gzip
import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

DATA, OUT, RUN = (Path(given) for given in sys.argv[1:4])
Pictures = list[tuple[str, Image.Image]]


def of_zip(name: str, part: str, most: int) -> Pictures:
    """At most so many pictures of a part of a zip, spread over all of it."""
    archive = zipfile.ZipFile(DATA / f"{name}.zip")
    inside = sorted(n for n in archive.namelist() if part in n and n.endswith((".jpg", ".png")))
    places = np.linspace(0, len(inside) - 1, min(most, len(inside))).astype(int)
    return [(_flat(inside[p]), Image.open(io.BytesIO(archive.read(inside[p])))) for p in places]


def _flat(name: str) -> str:
    return "_".join(Path(name).with_suffix("").parts[-2:])


def digits(most: int) -> Pictures:
    """The first digits of MNIST's test set."""
    file = DATA / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    packed = file.with_suffix(".gz")
    content = file.read_bytes() if file.is_file() else gzip.decompress(packed.read_bytes())
    images = np.frombuffer(content, np.uint8)[16:].reshape(-1, 28, 28)
    return [(f"{number:03d}", Image.fromarray(images[number])) for number in range(most)]


def tested_xrays() -> Iterator[tuple[str, Image.Image]]:
    """The X-rays that the run was tested on."""
    archive = zipfile.ZipFile(DATA / "xray3.zip")
    inside = {Path(name).parts[-2:]: name for name in archive.namelist()}
    with (RUN / "predictions.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            name = inside[Path(row["path"]).parts[-2:]]
            image = Image.open(io.BytesIO(archive.read(name)))
            yield _flat(name), image if image.mode == "RGB" else image.convert("L")


def main() -> None:
    """Write the folders."""
    xrays = list(tested_xrays())
    kinds = {
        "flowers": of_zip("flowers", "/test/", 150),
        "cats_dogs": of_zip("cats_dogs", "/test/", 100),
        "mnist": digits(150),
        "inverted": [(name, ImageOps.invert(image)) for name, image in xrays],
        "flipped": [(name, ImageOps.mirror(image)) for name, image in xrays],
    }
    for kind, pictures in kinds.items():
        (OUT / kind).mkdir(parents=True, exist_ok=True)
        for name, image in pictures:
            image.save(OUT / kind / f"{name}.png")


main()
