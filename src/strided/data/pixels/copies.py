"""Digests of decoded pixels, and which images are copies of each other by them.

A digest is taken before the image is resized: whether two images are the same then depends on the
files alone, and not on the network that they are prepared for.
"""

import hashlib

import numpy as np
from PIL import Image

DIGEST_BYTES = 16  # of a store; eight of them tell images apart: see `short`


def pixel_digest(image: Image.Image) -> bytes:
    """16 bytes that identify the pixels of an upright "L" or "RGB" image."""
    content = hashlib.blake2b(f"{image.mode} {image.size}".encode(), digest_size=DIGEST_BYTES)
    content.update(image.tobytes())
    return content.digest()


def short(digests: np.ndarray) -> np.ndarray:
    """uint64 (N,) of digests uint8 (N, 16).

    Among a million images, two different ones have the same with a chance of 3 in 100 million.
    """
    return np.ascontiguousarray(digests[:, :8]).view("<u8")[:, 0]


def first_copies(digests: np.ndarray) -> np.ndarray:
    """int64 (N,): for each of N digests, the place of the first that is equal to it."""
    _, first, number = np.unique(digests, return_index=True, return_inverse=True)
    found: np.ndarray = first[number]
    return found
