"""Turn typed words into overrides that Hydra understands, and check them before Hydra runs.

Hydra refuses `trainer.limit_train_batches=3` if no YAML names that key, accepts a misspelt key
behind `+`, and fails on paths with spaces or commas. Here every `key=value` may be typed plainly:
keys and values are checked against the signatures of the targets (`schema.check`).
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException

from strided.config.hints import hint_or_close
from strided.config.hydra_keys import check_hydra_word
from strided.config.primary import primary
from strided.config.yaml_files import config_folders, group_options, verb_keys
from strided.errors import UserError, did_you_mean, first_line

# Paths and free text are quoted, since , = ( ) and spaces have a meaning in Hydra's grammar.
FREE_TEXT = (
    "data.root",
    "data.csv",
    "data.extra",
    "data.path_column",
    "data.path_suffix",
    "data.label_column",
    "data.split_column",
    "data.group_column",
    "data.cache_dir",
    "data.external",
    "data.intended_use",
    "intended_use",
    "model.weights",
    "input",
    "layer",
    "cam_layer",
    "checkpoint",
    "resume",
    "log_dir",
    "name",
)
MAY_BE_LISTS = ("checkpoint",)
LISTS = ("runs", "pool", "data.label_columns", "data.subgroup_columns")  # of paths or free text
ONLY_TYPED = ("trust", "resume", "search")  # never from a file that is read back


def normalise(
    verb: str, typed: Sequence[str], extra: Path | None = None, *, multirun: bool = False
) -> list[str]:
    """Turn typed `key=value` words into overrides in Hydra's grammar.

    Raises UserError for unknown groups, options and plain keys, naming the closest valid one.
    """
    options = group_options(config_folders(extra))
    groups, keys = verb_keys(verb)
    chosen: list[str] = []
    for word in typed:
        group = key_of(word)
        if word in (f"{group}=null", f"~{group}") and groups.get(group, "") is None:
            # Off by default: Hydra has no word for it, unless another config has switched it on.
            chosen = [other for other in chosen if other.partition("=")[0] != group]
            chosen += [f"~{group}"] if primary().is_typed else []
        else:
            chosen.append(word)
    return [_normalise_one(word, groups, keys, options, multirun) for word in chosen]


def _normalise_one(
    word: str,
    groups: dict[str, str | None],
    keys: list[str],
    options: dict[str, list[str]],
    multirun: bool,
) -> str:
    key, separator, value = word.partition("=")
    if is_hydra(word):
        check_hydra_word(word, multirun=multirun)
        return word
    if word.startswith("~"):
        _check_deletion(key[1:], groups, options)
        return word
    if not separator:
        raise UserError(f"{word!r} is not an override; expected key=value. Try --help")
    bare = key.lstrip("+")
    if bare in groups:
        _check_options(_check_grammar(word, multirun), options.get(bare, []))
        return word
    if bare.split(".")[0] not in (*groups, *keys):
        raise UserError(
            f"{bare}={value}: there is no key {bare.split('.')[0]}. "
            f"{hint_or_close(bare.split('.')[0], value, [*groups, *keys])}"
        )
    as_text = bare in FREE_TEXT and not (bare in MAY_BE_LISTS and value.startswith("["))
    if (as_text and not (multirun and "," in value)) or _is_name(bare, value):
        word = f"{key}={quoted(value)}"
    is_list = bare in LISTS or (bare in MAY_BE_LISTS and value.startswith("["))
    if is_list and not (multirun and re.search(r"\]\s*,\s*\[", value)):  # lists to sweep over
        word = f"{key}={_quoted_list(value)}"
    _check_grammar(word, multirun)
    # Hydra refuses keys that no YAML lists; schema.check refuses keys that no target takes.
    return word if key.startswith("+") or "." not in bare else f"++{word}"


def _check_deletion(key: str, groups: dict[str, str | None], options: dict[str, list[str]]) -> None:
    """Raise UserError for a whole group or plain key: the verb needs each of them."""
    if "." in key or groups.get(key, "") is None:
        return
    if key in groups:
        expected, hint = f"one of {', '.join(options[key])}", f"~{key}.<key> for a part of it"
    else:
        expected, hint = "a value", f"{key}=<value>"
    raise UserError(f"~{key} would take {key} away; expected {expected}. Try {hint}")


def _check_options(override: Override, options: list[str]) -> None:
    """Raise UserError unless all values of a group are options: a path would leave conf/."""
    value, group = override.value(), override.key_or_group
    if isinstance(value, Glob):  # it matches options only
        return
    values = list(override.sweep_iterator()) if override.is_sweep_override() else [value]
    nested = [entry if isinstance(entry, list) else [entry] for entry in values]
    typed = ("null" if entry is None else str(entry) for several in nested for entry in several)
    for option in typed:
        if option.removesuffix(".yaml") not in options:
            raise UserError(
                f"{group}={option}: there is no such option."
                f" {did_you_mean(option, options, f'Try {group}={options[0]}')}"
                f"\nThe options of {group}: {', '.join(options)}"
            )


def quoted(value: str) -> str:
    """Quote a path or free text for Hydra's grammar."""
    if value in ("", "null", "???") or re.fullmatch(r"(['\"]).*\1", value):
        return value
    # Within single quotes, only the quote itself and the backslashes before it are special.
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f"'{escaped}'"


def _is_name(key: str, value: str) -> bool:
    """Whether the value is one class name, which may hold anything, and no number."""
    return key == "target" and not re.fullmatch(r"\[.*\]|\d+|null", value, re.DOTALL)


def _quoted_list(value: str) -> str:
    """Quote each path of [a,b]; the user has to quote a path that holds a comma."""
    inner = re.fullmatch(r"\[(.*)\]", value, re.DOTALL)
    if inner is None or not inner[1].strip() or "'" in value or '"' in value:
        return value
    return f"[{','.join(quoted(path.strip()) for path in inner[1].split(','))}]"


def listed(paths: Iterable[object]) -> str:
    """Return paths as they are typed for a key that takes a list of them."""
    each = [str(path) for path in paths]
    is_torn = any(re.search("[,'\"]", path) for path in each)
    return f"[{','.join(map(quoted, each) if is_torn else each)}]"


def as_one(word: str) -> str:
    """Return a word of a job as -m finds one value in it: free text may have commas."""
    key, _, value = word.partition("=")
    return f"{key}={quoted(value)}" if key in FREE_TEXT and "," in value else word


def as_typed(word: str) -> str:
    """Return an override of `normalise` without what it added for Hydra."""
    key, separator, value = word.lstrip("+").partition("=")
    if key in (*FREE_TEXT, "target"):
        if value[:1] == value[-1:] == "'":
            # as `quoted` has it: backslashes are doubled before a quote and at the end
            ends = r"(\\+)('|$)"
            value = re.sub(ends, lambda b: b[1][: len(b[1]) // 2] + b[2], value[1:-1])
        elif not value.startswith(("[", '"')):  # one of several values, as Hydra writes it
            value = re.sub(r"\\([\\()\[\]{}:=, \t])", r"\1", value)
    return f"{key}{separator}{value}"


def _check_grammar(word: str, multirun: bool) -> Override:
    try:
        override = OverridesParser.create().parse_override(word)
    except HydraException as error:
        key, _, value = word.partition("=")
        raise UserError(
            f"{key}={value} cannot be read: {first_line(error)}. Lists are typed "
            f"{key}=[a,b]; quote text that holds , = ( ) or spaces: \"{key}='{value}'\""
        ) from error
    if override.is_sweep_override() and not multirun:
        key, _, value = word.partition("=")
        raise UserError(
            f"{key}={value} has several values; expected one. Try -m to run each, search=optuna to "
            f"find the best, or a list: {key}=[{value}]"
        )
    return override


def typed_value(words: Sequence[str], key: str) -> str | None:
    """Return the last value typed for a key, without quotes; None if it is null or absent."""
    found = [w.partition("=")[2] for w in words if key_of(w) == key]
    return found[-1].strip("'\"") if found and found[-1] not in ("null", "") else None


def without(words: Sequence[str], key: str) -> list[str]:
    """Return the typed words of other keys."""
    return [word for word in words if key_of(word) != key]


def typed_trust(words: Sequence[str]) -> list[str]:
    """Return the packages of `trust=[...]`: only what is typed counts, never a YAML file."""
    names = (typed_value(words, "trust") or "").strip("[]").split(",")
    return [name.strip() for name in names if name.strip()]


def key_of(word: str) -> str:
    """Return the key of a typed word: optimizer.lr of `+optimizer.lr=0.1`."""
    return word.partition("=")[0].lstrip("+~")


def is_hydra(word: str) -> bool:
    """Whether a word is about Hydra itself, which may run any code."""
    return key_of(word).startswith(("hydra.", "hydra/")) or key_of(word) == "hydra"


def read_words(words: Any, file: Path) -> list[str]:
    """Return the words that a sweep or a search keeps in `file`, which may be a stranger's.

    Raises UserError for words that count only as typed.
    """
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise UserError(f"{file} is damaged: its words are no list of text. Try a new sweep")
    for word in words:
        if is_hydra(word) or key_of(word) in ONLY_TYPED or re.search(r"\$\{[^{}]*:", word):
            raise UserError(
                f"{file} holds {word}, which counts only as typed; expected the words of a sweep. "
                "Try a new sweep, or take it out of the file and type it"
            )
    return words
