"""Mean and standard deviation of a training split, measured once."""

import json
import logging
import os
from contextlib import suppress
from pathlib import Path

import numpy as np

log = logging.getLogger(__name__)

Values = tuple[float, ...]

_CHUNK = 4_000_000  # pixels looked at in one go


def mean_and_std(images: np.ndarray, indices: np.ndarray, cached: Path) -> tuple[Values, Values]:
    """Of each channel over all pixels, on the scale where white is 1; kept in `cached`."""
    with suppress(OSError, ValueError, KeyError):
        kept = json.loads(cached.read_text())
        return tuple(kept["mean"]), tuple(kept["std"])
    mean, std = _measure(images, indices)
    log.info("measured on %d training images: mean %s, std %s", len(indices), mean, std)
    with suppress(OSError):  # a cache that can only be read is still of use
        unfinished = cached.with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps({"mean": mean, "std": std}))
        unfinished.replace(cached)
    return mean, std


def _measure(images: np.ndarray, indices: np.ndarray) -> tuple[Values, Values]:
    """From histograms: exact, whatever the size of the data set and of the chunks."""
    counts = np.zeros((images.shape[1], 256), dtype=np.int64)
    step = max(1, _CHUNK // images[0].size)
    for start in range(0, len(indices), step):
        chunk = images[indices[start : start + step]]
        for channel, histogram in enumerate(counts):
            histogram += np.bincount(chunk[:, channel].ravel(), minlength=256)
    values = np.arange(256) / 255
    share = counts / counts.sum(axis=1, keepdims=True)
    mean = share @ values
    std = np.sqrt(share @ values**2 - mean**2)
    std[std < 1e-3] = 1.0  # one flat colour throughout: nothing to scale
    return tuple(mean.round(6).tolist()), tuple(std.round(6).tolist())
