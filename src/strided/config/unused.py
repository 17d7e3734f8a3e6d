"""Typed keys that would do nothing are refused, or somebody would believe that they counted.

Only what was typed is refused: the values of a YAML serve whatever else is chosen. `needs` holds
what depends on the config alone. What depends on more, such as the files of a data set, is refused
by `refuse_typed` where it is known.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from fnmatch import fnmatchcase
from typing import Any

from strided.config.needs import NEEDS, Need, always, stops_early
from strided.config.overrides import as_typed, key_of
from strided.config.schema import OFF_WHEN_NULL
from strided.config.targets import locate
from strided.errors import UserError

_typed: ContextVar[tuple[str, ...]] = ContextVar("typed", default=())

_EXPERIMENT = Need(
    "sweep sweep.*",
    always,
    "only an experiment can be many runs",
    "experiment=transfer_vs_scratch with it, or -m",
)
_MOST_JOBS = 200  # of a sweep that are composed to find one that uses a key


@contextmanager
def insisting_on(words: Iterable[str]) -> Iterator[None]:
    """Let `refuse_typed` refuse these words inside the block."""
    token = _typed.set(tuple(words))
    try:
        yield
    finally:
        _typed.reset(token)


def insisted_on() -> tuple[str, ...]:
    """Return the words that `refuse_typed` refuses here."""
    return _typed.get()


def refuse_typed(keys: str, why: str, instead: str) -> None:
    """Raise UserError if one of `keys` (patterns, apart by spaces) was typed for this run.

    `why` it would do nothing is a clause, `instead` completes "Try".
    """
    for word in _matching(_typed.get(), keys):
        raise _refusal(word, why, instead)


def refuse_unused(config: Mapping[str, Any], words: Sequence[str]) -> None:
    """Raise UserError for a typed word that this config of train or benchmark makes no use of."""
    for word, need in unused(config, words).items():
        raise _refusal(word, need.why, need.instead)


def refuse_unused_by_all(configs: Iterable[Mapping[str, Any]], words: Sequence[str]) -> None:
    """Raise UserError for a word that none of the configs of a sweep makes use of."""
    left: dict[str, Need] | None = None
    for number, config in enumerate(configs):
        if number == _MOST_JOBS:
            return
        found = unused(config, words)
        left = found if left is None else {word: left[word] for word in left if word in found}
        if not left:
            return
    for word, need in (left or {}).items():
        raise _refusal(word, need.why, need.instead)


def steady(words: Sequence[str], varied: Iterable[str]) -> list[str]:
    """Return the words that mean the same in every job of a sweep over the `varied` keys."""
    groups = {key.partition(".")[0] for key in varied}
    if "checkpoint" in groups:  # it brings its data set along
        groups.add("data")
    return [word for word in words if key_of(word).partition(".")[0] not in groups]


def unused(config: Mapping[str, Any], words: Sequence[str]) -> dict[str, Need]:
    """Return the words that a config of train or benchmark makes no use of, with the reason."""
    found: dict[str, Need] = {}
    for need in [*NEEDS, *_needs_of_callbacks(config), *_needs_of_data_set(config)]:
        matching = _matching(words, need.keys)
        if matching and need.is_missing(config):
            found |= dict.fromkeys(matching, need)
    if not _matching(words, "experiment"):
        found |= dict.fromkeys(_matching(words, "sweep sweep.*"), _EXPERIMENT)
    return found


def _needs_of_callbacks(config: Mapping[str, Any]) -> Iterator[Need]:
    """Yield the needs of the callbacks that are off."""
    for path, switch in OFF_WHEN_NULL.items():
        node = config["callbacks"].get(path.partition(".")[2]) or {}
        on = node.get(switch) is not None
        if not on and not (path == "callbacks.early_stopping" and stops_early(config)):
            yield Need(f"{path}.*", always, f"{path} is off", f"{path}.{switch}=<a number> with it")


def _needs_of_data_set(config: Mapping[str, Any]) -> Iterator[Need]:
    """Yield needs that nothing meets: of arguments that a data set inherits and never reads."""
    target = locate(config["data"]["_target_"], "data")
    for key, (why, instead) in getattr(target, "unread", {}).items():
        yield Need(f"data.{key}", always, why, instead)


def _matching(words: Iterable[str], keys: str) -> list[str]:
    """Return the words that set one of `keys`; null sets nothing, and `~` takes away."""
    return [
        word
        for word in words
        if not word.startswith("~")
        and word.partition("=")[2] != "null"
        and any(fnmatchcase(key_of(word), pattern) for pattern in keys.split())
    ]


def _refusal(word: str, why: str, instead: str) -> UserError:
    return UserError(
        f"{as_typed(word)} would do nothing: {why}; expected only what counts in this run. "
        f"Try {instead}, or leave {key_of(word)} out"
    )
