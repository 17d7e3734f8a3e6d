"""Kinds of plain data: what a place of a stranger's file may hold, and of which size."""

import re
from collections.abc import Callable
from typing import Any

from strided.system.plain_data import is_number

Kind = Callable[[Any], bool]  # whether a value is of this kind

_LARGEST = 1e12  # a number that is measured
_SHA256 = re.compile("[0-9a-f]{64}")


def text(most: int = 1_000) -> Kind:
    """A text of at most so many characters."""
    return lambda value: isinstance(value, str) and len(value) <= most


def whole(low: int, high: int = 10**12) -> Kind:
    """A whole number from low to high."""
    return lambda value: type(value) is int and low <= value <= high


def number(low: float = -_LARGEST, high: float = _LARGEST) -> Kind:
    """A number from low to high."""
    return lambda value: is_number(value) and low <= value <= high


def is_flag(value: Any) -> bool:
    """True or false."""
    return isinstance(value, bool)


def is_sha256(value: Any) -> bool:
    """A digest of SHA-256."""
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def any_of(*kinds: Kind) -> Kind:
    """A value of one of the kinds."""
    return lambda value: any(kind(value) for kind in kinds)


def null_or(kind: Kind) -> Kind:
    """None, or a value of the kind."""
    return lambda value: value is None or kind(value)


def word_of(*words: str) -> Kind:
    """One of the words."""
    return lambda value: isinstance(value, str) and value in words


def list_of(kind: Kind, least: int = 0, most: int = 1_000) -> Kind:
    """A list of so many values of one kind."""
    return lambda value: (
        isinstance(value, list) and least <= len(value) <= most and all(map(kind, value))
    )


def names_to(kind: Kind, most: int = 1_000) -> Kind:
    """A mapping of at most so many names to values of one kind."""
    is_name = text(2_000)  # of a metric and a class
    return lambda value: (
        isinstance(value, dict)
        and len(value) <= most
        and all(is_name(key) and kind(inner) for key, inner in value.items())
    )


def record(**kinds: Kind) -> Kind:
    """A mapping of exactly these names, each to a value of its kind."""
    return lambda value: (
        isinstance(value, dict)
        and value.keys() == kinds.keys()
        and all(kind(value[key]) for key, kind in kinds.items())
    )
