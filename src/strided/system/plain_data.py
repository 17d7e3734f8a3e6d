"""Read YAML and JSON that may be a stranger's: plain data, of a size and depth that files have."""

import json
import math
import os
from collections.abc import Hashable
from pathlib import Path
from typing import Any, NoReturn, TypeGuard

import yaml

from strided.errors import UserError, printable

MOST_VALUES = 1_000_000  # of a config, with its class names
_LONGEST = 100_000  # characters of a text
_DEEP = "it is nested too deeply"


def is_there(file: Path) -> bool:
    """Whether a file is there. Raises UserError for a pipe, a device or a folder.

    A stranger's folder may hold one, or a link to one: reading it would wait, or never end.
    """
    if not os.path.lexists(file):
        return False
    if not file.is_file():
        raise UserError(
            f"{printable(str(file))} is no file, but a folder, pipe or device, or a link that "
            "leads nowhere; expected a file. Try another copy of the folder"
        )
    return True


def read_yaml(file: Path) -> Any:
    """Return the content of a YAML file.

    Raises ValueError, with the reason, for what is no YAML, a key that is there twice, and what
    `require_plain` refuses.
    """
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), _Loader)  # a SafeLoader
    except RecursionError as error:
        raise ValueError(_DEEP) from error
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    require_plain(content)
    return content


class _Loader(yaml.SafeLoader):
    """Refuses a key that a mapping has twice: yaml would take the last, a reader sees the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key in (key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key in seen:
                raise yaml.YAMLError(f"it has the key {key} twice")
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_json(file: Path) -> Any:
    """Return the content of a JSON file; its numbers are finite.

    Raises ValueError, with the reason, for what is no such JSON, and for text that is no Unicode.
    """
    try:
        content = json.loads(
            file.read_text(encoding="utf-8"),
            parse_int=_whole,
            parse_float=_finite,
            parse_constant=_refuse,
        )
        _require_text(json.dumps(content, ensure_ascii=False))
    except RecursionError as error:
        raise ValueError(_DEEP) from error
    return content


def _whole(number: str) -> int:
    _finite(number)  # one that no float holds could not be shown
    return int(number)


def _finite(number: str) -> float:
    value = float(number)
    return value if abs(value) < float("inf") else _refuse(number)


def _refuse(number: str) -> NoReturn:
    raise ValueError(f"{number} is no finite number")


def require_plain(content: Any, most: int = MOST_VALUES) -> None:
    """Raise ValueError for more values than `most`, for a text too long, and for no Unicode.

    A list may hold itself many times over, or be deeper than Python can print.
    """
    left, waiting = most, [(content, 0)]
    while waiting:
        value, depth = waiting.pop()
        left -= 1
        if left < 0:
            raise ValueError(f"it holds more than {most:,} values")
        if depth > 100:
            raise ValueError(_DEEP)
        if isinstance(value, str):
            _require_text(value)
            if len(value) > _LONGEST:
                raise ValueError(f"it holds a text of {len(value):,} characters")
        elif isinstance(value, dict):
            waiting.extend((inner, depth + 1) for pair in value.items() for inner in pair)
        elif isinstance(value, list | tuple):
            waiting.extend((inner, depth + 1) for inner in value)


def _require_text(text: str) -> None:
    """Raise ValueError for half of a surrogate pair, which no file can hold.

    Bytes of file names that are no UTF-8 may stand in a text, as Python reads them.
    """
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise ValueError(f"it holds {error.object[error.start]!a}, which is no character") from None


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value is a number that float64 holds, and no switch."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an int has no limit
        return False
