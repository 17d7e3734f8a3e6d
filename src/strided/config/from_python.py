"""What Python gives in place of a command line: words and folders, of any type."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from strided.errors import UserError, one_line


def words_from(overrides: Any, call: str) -> list[str]:
    """Return the words of `train(["model=mlp"])`. Raises UserError, which shows the `call`."""
    expected = f'expected a list of key=value words. Try {call}(["model=mlp", "seed=1"])'
    if isinstance(overrides, Mapping):
        meant = ", ".join(f'"{key}={value}"' for key, value in list(overrides.items())[:3])
        raise UserError(
            f"{call} was given a mapping; expected a list of key=value words. "
            f"Try {call}([{one_line(meant)}])"
        )
    if isinstance(overrides, str | bytes) or not isinstance(overrides, Iterable):
        raise UserError(f"{call} was given {described(overrides)}; {expected}")
    words = list(overrides)
    for word in words:
        if not isinstance(word, str):
            raise UserError(f"{call} was given {described(word)} among its words; {expected}")
        if word.startswith("-"):
            raise UserError(
                f"{call} was given {one_line(word)}, a flag of the command line; expected "
                f'key=value words. Try {call}([...], config_dir="mine") for --config-dir, and a '
                "terminal for other flags"
            )
    return words


def folder_from(config_dir: Any) -> Path | None:
    """Return the folder of the user's own YAML, as --config-dir names it. Raises UserError."""
    return None if config_dir is None else path_from(config_dir, "config_dir", "mine")


def path_from(given: Any, argument: str, example: str) -> Path:
    """Return a path that was given from Python, as text or as a Path. Raises UserError."""
    if isinstance(given, str | os.PathLike) and str(given):
        return Path(os.path.expanduser(given))
    raise UserError(
        f"{argument} was {described(given)}; expected a path, as text or as pathlib.Path. "
        f'Try {argument}="{example}"'
    )


def names_from(trust: Any) -> list[str]:
    """Return the packages of `trust=["tiny"]`. Raises UserError."""
    if isinstance(trust, list | tuple) and all(isinstance(name, str) for name in trust):
        return list(trust)
    example = trust if isinstance(trust, str) else "mypackage"
    raise UserError(
        f"trust was {described(trust)}; expected a list of names of packages. "
        f'Try trust=["{one_line(example)}"]'
    )


def described(value: Any) -> str:
    """Return a value that has the wrong type, in a few words: `3 (int)`."""
    if value is None:
        return "None"
    text = repr(value)
    short = text if len(text) <= 60 and "\n" not in text else "..."
    return f"{one_line(short)} ({type(value).__name__})"
