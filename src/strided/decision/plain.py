"""Plain data of a stranger's file: numbers that are numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from strided.system.plain_data import is_number


def numbers(value: Any, count: int | None = None) -> np.ndarray:
    """Return a list of finite numbers as float64 (N,). Raises ValueError for anything else."""
    if not isinstance(value, list) or not all(map(is_number, value)):
        raise ValueError("it holds something else than a list of finite numbers")
    if count is not None and len(value) != count:
        raise ValueError(f"it holds {len(value)} numbers in place of {count}")
    return np.array(value, dtype=np.float64)


def array_of(arrays: Any, name: str, shape: tuple[int | None, ...], largest: int) -> np.ndarray:
    """Return an array of this shape as float64; None stands for 1 to `largest`.

    Raises ValueError for anything else, and for numbers that are not finite.
    """
    value = arrays.get(name) if isinstance(arrays, Mapping) else None
    if not isinstance(value, np.ndarray) or value.dtype not in (np.float32, np.float64):
        raise ValueError(f"its {name} is no array of numbers")
    fits = len(value.shape) == len(shape) and all(
        1 <= own <= largest if wanted is None else own == wanted
        for own, wanted in zip(value.shape, shape, strict=True)
    )
    if not fits:
        raise ValueError(f"its {name} has the shape {value.shape}")
    if not np.isfinite(value).all():
        raise ValueError(f"its {name} holds numbers that are not finite")
    return value.astype(np.float64)
