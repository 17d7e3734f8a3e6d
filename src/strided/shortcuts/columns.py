"""Numbers for what is known of an image beside its pixels: columns of a table, names, files."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np

from strided.data import ImageDataModule

_BINS = 20  # of numbers
_WORDS = 20  # the most frequent ones of a column
_FEW = 20  # values that no column is an id for
_ID_LIKE = 0.5  # different values, as a part of the images or groups
_LONGEST = 15  # digits that float64 tells apart
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def is_id_like(values: Sequence[str], units: int) -> bool:
    """Whether a column has another value for most of the `units`: images, or groups of them."""
    return len(set(values)) > max(_FEW, _ID_LIKE * units)


def of_column(values: Sequence[str]) -> np.ndarray:
    """float32 (N, F), ones and zeros: numbers by their bin, words each, and which are missing."""
    given = [value.strip() for value in values]
    filled = [value for value in given if value]
    if filled and all(_NUMBER.fullmatch(value) for value in filled):
        return in_bins(np.array([float(value) if value else np.nan for value in given]))
    return of_words(given)


def of_names(names: Sequence[str]) -> np.ndarray:
    """float32 (N, F) of names or ids: their first word, their last number, and their length."""
    words, numbers = [], []
    for name in names:
        word = re.match(r"\D*", name)
        digits = re.findall(r"\d+", name)
        words.append(word.group() if word else "")
        numbers.append(float(digits[-1][-_LONGEST:]) if digits else np.nan)
    lengths = np.array([len(name) for name in names], dtype=float)
    return np.hstack([of_words(words), in_bins(np.array(numbers)), in_bins(lengths)])


def of_words(words: Sequence[str]) -> np.ndarray:
    """float32 (N, F): which of the most frequent words each is, if any."""
    frequent = [word for word, _ in Counter(words).most_common(_WORDS)]
    return np.array([[word == own for own in frequent] for word in words], dtype=np.float32)


def in_bins(values: np.ndarray) -> np.ndarray:
    """float32 (N, F): in which part of all values each lies; NaN is a part of its own."""
    known = values[~np.isnan(values)]
    parts = np.linspace(0, 1, _BINS + 1)[1:-1]
    edges = np.unique(np.quantile(known, parts)) if len(known) else known
    place = np.where(np.isnan(values), -1, np.searchsorted(edges, values, side="right"))
    numbers = np.unique(place)
    return (place[:, None] == numbers).astype(np.float32)


def of_files(data: ImageDataModule, indices: np.ndarray) -> np.ndarray | None:
    """float32 (N, F) of sizes in bytes, width and height; None for images that are no files."""
    source = data.source
    if source.sizes is None:
        return None
    sizes = np.array(source.sizes, dtype=float)[indices]
    parts = [in_bins(sizes)]
    if (sides_of := getattr(source.read, "sides", None)) is not None:
        sides = np.array([sides_of(index) for index in indices.tolist()], dtype=float)
        width, height = sides.T
        parts += [in_bins(width), in_bins(height), in_bins(width / np.maximum(height, 1))]
        parts.append(in_bins(sizes / np.maximum(width * height, 1)))
    return np.hstack(parts)


def stems(data: ImageDataModule, indices: np.ndarray) -> list[str] | None:
    """The files' names without folder and ending; None for images that are no files."""
    if data.source.sizes is None:
        return None
    return [PurePosixPath(data.source.paths[index]).stem for index in indices.tolist()]
