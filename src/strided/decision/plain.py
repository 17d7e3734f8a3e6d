"""Plain data of a stranger's file: numbers that are numbers."""

from typing import Any, TypeGuard

import numpy as np


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value is a finite number, and no switch."""
    is_one = isinstance(value, int | float) and not isinstance(value, bool)
    return is_one and bool(np.isfinite(value))


def numbers(value: Any, count: int | None = None) -> np.ndarray:
    """Return a list of finite numbers as float64 (N,). Raises ValueError for anything else."""
    if not isinstance(value, list) or not all(map(is_number, value)):
        raise ValueError("it holds something else than a list of finite numbers")
    if count is not None and len(value) != count:
        raise ValueError(f"it holds {len(value)} numbers in place of {count}")
    return np.array(value, dtype=np.float64)
