"""1,797 real handwritten digits of 8 x 8 that ship inside scikit-learn: nothing to download."""

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from strided.data.datamodule import NO_FILES, ImageDataModule
from strided.data.source import Source, array_source, digest


class Digits(ImageDataModule):
    """Test part of UCI's Optical Recognition of Handwritten Digits; no official split."""

    name = "digits"
    default_channels = 1
    unread = NO_FILES

    def make_source(self) -> Source:
        """Read scikit-learn's CSV (64 values 0..16 and a label) without importing scikit-learn."""
        package = find_spec("sklearn")
        assert package is not None and package.origin is not None, "scikit-learn is required"
        file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
        with gzip.open(file) as table:
            rows = np.loadtxt(table, delimiter=",", dtype=np.int64)
        images = np.rint(rows[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
        return array_source(
            images,
            rows[:, 64],
            np.full(len(rows), ""),
            "0123456789",
            digest("digits", images.tobytes()),
        )
