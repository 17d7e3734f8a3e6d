"""Values against types: whether one fits, and what is said of one that does not."""

import inspect
import types
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from strided.config.type_words import describe
from strided.errors import UserError, did_you_mean

_UNIONS = (Union, types.UnionType)
# Keys of plain nodes that are shares of 1.
SHARES = ("coverage", "operating_point", "false_alarms", "max_risk")
MOST_COPIES = 10_000  # pictures that triage.copies may copy


def check_plain(key: str, value: Any, annotation: Any) -> None:
    """Check a key that belongs to no group; of a node, each of its keys. Raises UserError."""
    if not fits(value, annotation):
        raise UserError(misfit(key, value, annotation))
    if not is_typeddict(annotation):
        return
    known = get_type_hints(annotation)
    for name, inner in value.items():
        if name not in known:
            raise UserError(
                f"{key}.{name} is no key of {key}; expected one of {', '.join(known)}. "
                f"{did_you_mean(str(name), known, f'Try {key}.{next(iter(known))}')}"
            )
        check_plain(f"{key}.{name}", inner, known[name])
        if name in SHARES and inner is not None and not 0 < inner < 1:
            raise UserError(
                f"{key}.{name}={inner}; expected a share, above 0 and below 1. "
                f"Try {key}.{name}={0.9 if name in ('coverage', 'operating_point') else 0.05}"
            )
        if name == "copies" and inner is not None and not 1 <= inner <= MOST_COPIES:
            raise UserError(
                f"{key}.copies={inner}; expected a number of pictures, 1 to {MOST_COPIES:,}. Try "
                f"{key}.copies=100"
            )


def fits(value: Any, annotation: Any) -> bool:
    """Tell whether a YAML value fits a type; types that YAML cannot express are let through."""
    origin, choices = get_origin(annotation), get_args(annotation)
    if isinstance(value, dict) and "_target_" in value:
        return True
    if origin in _UNIONS:
        return any(fits(value, choice) for choice in choices)
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in choices)
    if annotation is None or annotation is type(None):
        return value is None
    if annotation is bool:
        return isinstance(value, bool)
    if annotation in (int, float):
        numbers = (int,) if annotation is int else (int, float)
        return isinstance(value, numbers) and not isinstance(value, bool)
    if annotation in (str, Path):
        return isinstance(value, str)
    if inspect.isclass(annotation) and annotation.__module__.startswith(("torch", "lightning")):
        return False  # a Tensor, a Strategy: no plain value fits
    if is_typeddict(annotation):
        return isinstance(value, dict)
    container = origin or annotation
    if container in (list, tuple, Sequence, Iterable) or container is dict:
        if container is dict:
            return isinstance(value, dict)
        items = [choice for choice in choices if choice is not Ellipsis]
        exact = container is tuple and Ellipsis not in choices and items
        return (
            isinstance(value, list | tuple)
            and (not exact or len(value) == len(items))
            and all(
                fits(item, items[min(index, len(items) - 1)] if items else Any)
                for index, item in enumerate(value)
            )
        )
    return True


def misfit(key: str, value: Any, annotation: Any) -> str:
    """Return what is said of a value that does not fit."""
    members = get_args(annotation) if get_origin(annotation) in _UNIONS else (annotation,)
    choices = [c for m in members if get_origin(m) is Literal for c in get_args(m)]
    typed = "null" if value is None else str(value).lower() if value in (True, False) else value
    if is_typeddict(annotation):
        names = get_type_hints(annotation)
        wanted = f"its keys: {', '.join(names)}"
        return f"{key}={typed} does not fit; expected {wanted}. Try {key}.{next(iter(names))}=..."
    wanted = describe(annotation)
    example = choices[0] if choices else f"<{wanted}>"
    if isinstance(value, str) and any(get_origin(member) is list for member in members):
        example = f"[{value}]"
    near = choices if isinstance(value, str) else ()
    hint = did_you_mean(str(value), near, f"Try {key}={example}")
    return f"{key}={typed} does not fit; expected {wanted}. {hint}"
