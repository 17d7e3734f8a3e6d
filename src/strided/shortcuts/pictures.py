"""Pictures made so small, or so plain, that hardly more than a shortcut is left in them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from strided.data import ImageDataModule
from strided.data.renderings import as_picture, centre

_SMALL = 32  # side of a thumbnail
_LEVELS = 32  # of the histogram
DETAIL = 48  # side of what near copies are looked for in


@dataclass(frozen=True)
class Plain:
    """Of N images: uint8 thumbnails (N, 32, 32) and (N, 48, 48), grey levels' shares (N, 32)."""

    small: np.ndarray
    detail: np.ndarray
    histogram: np.ndarray

    def features(self) -> dict[str, np.ndarray]:
        """float32 (N, F) of each kind, by its name."""
        border = np.ones((_SMALL, _SMALL), dtype=bool)
        border[centre(_SMALL), centre(_SMALL)] = False
        small = self.small.astype(np.float32)
        return {
            "the border alone": small[:, border],
            "the grey histogram": np.sqrt(self.histogram),
            "a grey thumbnail of 32 x 32": small.reshape(len(small), -1),
        }


def plain_pictures(data: ImageDataModule, split: str, indices: np.ndarray) -> Plain:
    """Make the images at `indices` small and grey, as the network is given them."""
    parts = list(_parts(data, split, indices))
    small, detail, histogram = (np.concatenate(own) for own in zip(*parts, strict=True))
    return Plain(small, detail, histogram)


def _parts(
    data: ImageDataModule, split: str, indices: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    for batch in data.loader(split, indices):
        grey = [as_picture(pixels).convert("L") for pixels in batch.images.numpy()]
        yield (
            np.stack([_thumbnail(picture, _SMALL) for picture in grey]),
            np.stack([_thumbnail(picture, DETAIL) for picture in grey]),
            np.stack([_histogram(picture) for picture in grey]),
        )


def detail(pixels: np.ndarray) -> np.ndarray:
    """uint8 (48, 48), grey, of one image as the network is given it: (C, S, S)."""
    return _thumbnail(as_picture(pixels).convert("L"), DETAIL)


def _thumbnail(picture: Image.Image, side: int) -> np.ndarray:
    return np.asarray(picture.resize((side, side), Image.Resampling.BOX))


def _histogram(picture: Image.Image) -> np.ndarray:
    counts = np.array(picture.histogram(), dtype=np.float32).reshape(_LEVELS, -1).sum(1)
    share: np.ndarray = counts / counts.sum()
    return share
