"""The types of arguments and their values, in the words of the command line."""

import inspect
import re
import types
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

REQUIRED = "???"  # OmegaConf's word for a value that must be typed


def describe(annotation: Any) -> str:
    """Return a type in the words of the command line."""
    origin, choices = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(describe(choice) for choice in choices))
    if origin is Literal:
        return ", ".join(str(choice) for choice in choices)
    if annotation is None or annotation is type(None):
        return "null"
    if origin in (list, tuple, Sequence, Iterable):
        return f"a list of {_several(describe(choices[0]))}" if choices else "a list"
    if origin is dict:
        return f"{{name: {describe(choices[1])}, ...}}"
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    return words.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _several(words: str) -> str:
    return re.sub(r"^an? (.*number|list)$", r"\1s", words)


def type_words(annotation: Any, value: Any = None) -> str:
    """Return a type in the words of the command line, without what only Python can express.

    Where there is none, the type of the value counts.
    """
    if annotation is Any or annotation is inspect.Parameter.empty:
        known = isinstance(value, bool | int | float | list) or value not in (None, REQUIRED)
        return describe(type(value)) if known else "any value"
    members = expressible(annotation)
    choices = dict.fromkeys(
        as_typed_value(choice)
        for member in members
        if get_origin(member) is Literal
        for choice in get_args(member)
    )
    kinds = [
        describe(member)
        for member in members
        if get_origin(member) is not Literal
        and member is not type(None)
        and not (member is int and float in members)
    ]
    named = [", ".join(choices)] if choices else []
    null = ["null"] if type(None) in members else []
    return " or ".join(dict.fromkeys([*kinds, *named, *null]))


def expressible(annotation: Any) -> list[Any]:
    """Return the types of a union, at any depth, that a YAML value can have."""
    if get_origin(annotation) in (Union, types.UnionType):
        return [member for choice in get_args(annotation) for member in expressible(choice)]
    if annotation is None:
        return [type(None)]
    plain = (bool, int, float, str, Path, type(None), list, dict, tuple, Any)
    container = get_origin(annotation)
    if container is Literal or annotation in plain:
        return [annotation]
    if container is not None and inspect.isclass(container) and issubclass(container, Iterable):
        inner = [choice for choice in get_args(annotation) if choice is not Ellipsis]
        return [annotation] if not inner or expressible(inner[-1]) else []
    return []


def as_typed_value(value: Any) -> str:
    """Return a value as it is typed on the command line: null, true, [a,b]."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(as_typed_value, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}: {as_typed_value(entry)}' for key, entry in value.items())}}}"
    return str(value)
