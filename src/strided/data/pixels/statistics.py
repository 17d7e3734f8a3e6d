"""Mean and standard deviation of a training split, measured once."""

import json
import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np

from strided.data.source import digest

log = logging.getLogger(__name__)

Values = tuple[float, ...]  # one for each channel
Statistics = tuple[Values, Values]


def mean_and_std(chunks: Iterable[np.ndarray], cached: Path) -> Statistics:
    """Mean and std of each channel over all pixels, where white is 1; kept in the file `cached`.

    chunks are images uint8 (B, C, S, S), read only if `cached` does not exist.
    """
    with suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(cached.read_text())
        if kept["checksum"] == digest(kept["mean"], kept["std"]):
            return tuple(kept["mean"]), tuple(kept["std"])
    mean, std = _measure(chunks)
    with suppress(OSError):  # a read-only cache is still useful
        unfinished = cached.with_suffix(f".{os.getpid()}")
        checksum = digest(list(mean), list(std))
        unfinished.write_text(json.dumps({"mean": mean, "std": std, "checksum": checksum}))
        unfinished.replace(cached)
    return mean, std


def _measure(chunks: Iterable[np.ndarray]) -> Statistics:
    """Measure from histograms: exact for any size of the data set and of the chunks."""
    counts, images = np.zeros((1, 256), dtype=np.int64), 0
    for chunk in chunks:
        counts = counts + _histograms(chunk)
        images += len(chunk)
    values = np.arange(256) / 255
    share = counts / counts.sum(axis=1, keepdims=True)
    mean = share @ values
    std = np.sqrt(share @ values**2 - mean**2)
    std[std < 1e-3] = 1.0  # a constant channel: nothing to scale
    measured = tuple(mean.round(6).tolist()), tuple(std.round(6).tolist())
    log.info("measured on %d training images: mean %s, std %s", images, *measured)
    return measured


def _histograms(images: np.ndarray) -> np.ndarray:
    """int64 (C, 256) of uint8 (B, C, S, S)."""
    channels = range(images.shape[1])
    return np.stack([np.bincount(images[:, c].ravel(), minlength=256) for c in channels])
