"""MNIST (LeCun et al. 1998) and Fashion-MNIST: 60,000 + 10,000 grey images of 28 x 28."""

import gzip
import math
import zlib
from pathlib import Path
from typing import ClassVar

import numpy as np

from strided.data.sets.named import NamedDataModule
from strided.data.source import Source, array_source, digest
from strided.errors import UserError

_MOST_BYTES = 2**28  # of a file; the largest has 47 MB
_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


class MNIST(NamedDataModule):
    """The IDX files under `<root>/MNIST/raw` or `<root>`, plain or .gz."""

    name = "mnist"
    folder: ClassVar[str] = "MNIST"
    class_names = tuple("0123456789")
    pixels = 28
    default_channels = 1
    published_mean = (0.1307,)
    published_std = (0.3081,)
    wanted_files = (
        f"{', '.join(name for pair in _FILES.values() for name in pair)} (each plain or .gz) in"
        " MNIST/raw under it"
    )

    def official_source(self) -> Source | None:
        """Read the four files from the first folder that holds them all."""
        for place in (self.root / self.folder / "raw", self.root):
            if source := idx_source(place, self.class_names):
                return source
        return None

    def download(self) -> None:
        """Let torchvision download the files and verify them."""
        from torchvision import datasets

        datasets.MNIST(self.root, download=True)


class FashionMNIST(MNIST):
    """Photographs of clothing in MNIST's format (Xiao et al. 2017, arXiv:1708.07747)."""

    name = "fashion_mnist"
    folder = "FashionMNIST"
    class_names = (
        "T-shirt",  # officially T-shirt/top: a / cannot be in the name of a folder or a metric
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )
    published_mean = (0.2860,)
    published_std = (0.3530,)
    wanted_files = MNIST.wanted_files.replace("MNIST/raw", "FashionMNIST/raw")

    def download(self) -> None:
        """Let torchvision download the files and verify them."""
        from torchvision import datasets

        datasets.FashionMNIST(self.root, download=True)


def idx_source(folder: Path, classes: tuple[str, ...]) -> Source | None:
    """The four IDX files of `folder`, each plain or .gz; None unless all exist."""
    found = {name: _plain_or_gz(folder / name) for pair in _FILES.values() for name in pair}
    files = [file for file in found.values() if file is not None]
    if len(files) < len(found):
        return None
    arrays = {file.name.removesuffix(".gz"): read_idx(file) for file in files}
    images = [arrays[images] for images, _ in _FILES.values()]
    labels = [arrays[labels] for _, labels in _FILES.values()]
    for split_images, split_labels, (name, _) in zip(images, labels, _FILES.values(), strict=True):
        if len(split_images) != len(split_labels):
            raise UserError(
                f"{folder / name} has {len(split_images)} images but {len(split_labels)} labels;"
                " expected one label per image. Try copying all four files once more"
            )
    return array_source(
        np.concatenate(images),
        np.concatenate(labels),
        np.repeat(list(_FILES), [len(part) for part in labels]),
        classes,
        # MNIST and Fashion-MNIST have plain files of the same names and sizes
        digest("idx", classes, [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files]),
    )


def read_idx(file: Path) -> np.ndarray:
    """The uint8 array of an IDX file, plain or .gz."""
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            content = stream.read(_MOST_BYTES)  # a few bytes may unpack to gigabytes
        dimensions = content[3]
        shape = np.frombuffer(content, dtype=">u4", count=dimensions, offset=4).tolist()
        start = 4 + 4 * dimensions
        if content[:3] != b"\0\0\x08" or len(content) - start != math.prod(shape):
            raise ValueError(f"{len(content)} bytes do not fit its header")
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise UserError(
            f"{file} is damaged ({error}); expected an IDX file of bytes, whole."
            " Try copying it once more, or delete it to have it downloaded"
        ) from error
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def _plain_or_gz(file: Path) -> Path | None:
    packed = file.with_name(f"{file.name}.gz")
    return next((candidate for candidate in (file, packed) if candidate.is_file()), None)
