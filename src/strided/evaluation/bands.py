"""The values of a column of a table in as many parts as a reader can follow."""

import re
from collections.abc import Iterator

import numpy as np

NOT_GIVEN = "not given"
_MOST = 10  # different numbers that are shown each for itself
_MOST_NAMES = 20  # further ones, the rarest, are put together
_AGES = (0, 20, 40, 60, 80)  # the beginnings of the bands, in years
_OLDEST = 130


def banded(column: str, values: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name of each part of the values (N,), which are text, and its places, bool (N,).

    More than ten different numbers are put into bands: of 20 years if the column is one of ages,
    else of quarters of the images.
    """
    given = values != ""
    numbers = _numbers(values[given])
    if numbers is not None and len(np.unique(numbers)) > _MOST:
        edges, names = _bands(column, numbers)
        place = np.full(len(values), -1)
        place[given] = np.searchsorted(edges, numbers, side="right") - 1
        for number, name in enumerate(names):
            if (place == number).any():
                yield name, place == number
    else:
        yield from _names(values, numbers is not None)
    if not given.all():
        yield NOT_GIVEN, ~given


def _numbers(values: np.ndarray) -> np.ndarray | None:
    try:
        numbers = np.array([float(value) for value in values])
    except ValueError:
        return None
    return numbers if len(numbers) and np.isfinite(numbers).all() else None


def _bands(column: str, numbers: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The beginnings of the bands, and their names."""
    words = re.split(r"[\W_\d]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", column).lower())
    if "age" in words and numbers.min() >= 0 and numbers.max() < _OLDEST:
        names = [f"{first} to {first + 19}" for first in _AGES[:-1]]
        return np.array(_AGES), [*names, f"{_AGES[-1]} and more"]
    edges = np.unique(np.quantile(numbers, (0, 0.25, 0.5, 0.75)))
    ends = [*(f"below {edge:.4g}" for edge in edges[1:]), f"{numbers.max():.4g}"]
    return edges, [f"{edge:.4g} to {end}" for edge, end in zip(edges, ends, strict=True)]


def _names(values: np.ndarray, numeric: bool) -> Iterator[tuple[str, np.ndarray]]:
    names, counts = np.unique(values[values != ""], return_counts=True)
    kept = names[np.argsort(-counts, kind="stable")][:_MOST_NAMES].tolist()
    for name in sorted(kept, key=float if numeric else None):
        yield name, values == name
    others = (values != "") & ~np.isin(values, kept)
    if others.any():
        yield f"{len(names) - len(kept)} others", others
