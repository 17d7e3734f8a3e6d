"""Pairs of images that are nearly the same picture: scaled, compressed or cut a little otherwise.

Perceptual hashes of 8 x 8 fail on radiographs, which all look alike at that size. What is compared
here are the details: thumbnails of 48 x 48 without their slow changes.
"""

from collections.abc import Iterator

import numpy as np

LIKENESS = 0.9  # the least correlation of two near copies
_SMOOTH = 3.0  # pixels: what changes more slowly than that is taken away
_FLAT = 1.0  # grey levels; details below that are noise of the compression
_AT_ONCE = 2048


def details(thumbnails: np.ndarray) -> np.ndarray:
    """float32 (N, 2304) of length 1, or 0 for a flat picture, of grey uint8 (N, 48, 48)."""
    from scipy.ndimage import gaussian_filter  # scikit-learn brings scipy; only some runs need it

    grey = thumbnails.astype(np.float32)
    fine = grey - gaussian_filter(grey, (0, _SMOOTH, _SMOOTH), mode="nearest")
    fine = fine.reshape(len(grey), -1)
    fine -= fine.mean(1, keepdims=True)
    length = np.linalg.norm(fine, axis=1, keepdims=True)
    flat = length < _FLAT * grey.shape[1]
    found: np.ndarray = np.where(flat, 0, fine / np.maximum(length, 1e-6)).astype(np.float32)
    return found


def near_copies(some: np.ndarray, others: np.ndarray) -> Iterator[tuple[int, int, float]]:
    """Yield (i, j, correlation) of the `details` some[i] and others[j] that are near copies."""
    for first in range(0, len(some), _AT_ONCE):
        for second in range(0, len(others), _AT_ONCE):
            likeness = some[first : first + _AT_ONCE] @ others[second : second + _AT_ONCE].T
            for i, j in np.argwhere(likeness >= LIKENESS).tolist():
                yield first + i, second + j, float(likeness[i, j])
