"""What was typed, turned into overrides that Hydra understands, and checked before Hydra runs.

Hydra refuses `trainer.limit_train_batches=3` when no YAML names that key, accepts a misspelt key
behind `+`, and trips over paths with spaces or commas. Here every `key=value` may be typed plainly:
keys and values are checked against the signatures of the targets (config.check).
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from strided.config import CONF_DIR, plain, trusting
from strided.errors import UserError, did_you_mean
from strided.schema import check

# Paths and free text are quoted, since Hydra's grammar gives , = ( ) and spaces a meaning.
FREE_TEXT = (
    "data.root",
    "data.csv",
    "data.path_column",
    "data.label_column",
    "data.split_column",
    "data.group_column",
    "data.cache_dir",
    "model.weights",
    "input",
    "layer",
    "cam_layer",
    "checkpoint",
    "resume",
    "log_dir",
    "name",
)
PATHS = ("runs",)  # lists of such


def config_folders(extra: Path | None = None) -> list[Path]:
    """Return the folders that hold YAML: strided's, then the user's own (--config-dir)."""
    if extra is not None and not extra.is_dir():
        raise UserError(f"--config-dir {extra} is not a folder; expected one with group folders")
    return [CONF_DIR] + ([extra.resolve()] if extra else [])


def group_options(folders: Iterable[Path]) -> dict[str, list[str]]:
    """Return the options of each group: {"model": ["alexnet", ...], ...}."""
    options: dict[str, set[str]] = {}
    for folder in folders:
        for file in folder.glob("*/*.yaml"):
            options.setdefault(file.parent.name, set()).add(file.stem)
    return {group: sorted(names) for group, names in sorted(options.items())}


def verb_keys(verb: str) -> tuple[dict[str, str | None], list[str]]:
    """Return groups (with their default option) and plain keys of `conf/<verb>.yaml`."""
    declared = yaml.safe_load((CONF_DIR / f"{verb}.yaml").read_text())
    groups = {
        str(group): option
        for entry in declared["defaults"]
        if isinstance(entry, dict)
        for group, option in entry.items()
        if "hydra/" not in group
    }
    return groups, list(plain_defaults(verb))


def plain_defaults(verb: str) -> dict[str, Any]:
    """Return the keys of `conf/<verb>.yaml` that belong to no group, with their values."""
    declared = yaml.safe_load((CONF_DIR / f"{verb}.yaml").read_text())
    return {key: value for key, value in declared.items() if key not in ("defaults", "hydra")}


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
        group = word.partition("=")[0]
        if word == f"{group}=null" and groups.get(group, "") is None:
            # off, as it is by default: Hydra has no word for it
            chosen = [other for other in chosen if other.partition("=")[0] != group]
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
    if key.lstrip("+~").startswith(("hydra.", "hydra/")):
        if not multirun:
            raise UserError(f"{word}: Hydra's own keys are for sweeps. Try log_dir=, name= or -m")
        return word
    if word.startswith("~") and "." in word:
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
            f"{did_you_mean(bare.split('.')[0], [*groups, *keys])}"
        )
    if (bare in FREE_TEXT and not (multirun and "," in value)) or _is_name(bare, value):
        word = f"{key}={quoted(value)}"
    if bare in PATHS:
        word = f"{key}={_quoted_list(value)}"
    _check_grammar(word, multirun)
    # Hydra refuses keys that no YAML lists; config.check refuses those that no target takes
    return word if key.startswith("+") or "." not in bare else f"++{word}"


def _check_options(override: Override, options: list[str]) -> None:
    """Raise UserError unless all values of a group are options: a path would leave conf/."""
    value, group = override.value(), override.key_or_group
    if isinstance(value, Glob):  # of options, and of nothing else
        return
    values = list(override.sweep_iterator()) if override.is_sweep_override() else [value]
    nested = [entry if isinstance(entry, list) else [entry] for entry in values]
    typed = ("null" if entry is None else str(entry) for several in nested for entry in several)
    for option in typed:
        if option.removesuffix(".yaml") not in options:
            raise UserError(
                f"{group}={option}: there is no such option. {did_you_mean(option, options)}"
                f"\nThe options of {group}: {', '.join(options)}"
            )


def quoted(value: str) -> str:
    """Quote a path or free text for Hydra's grammar."""
    if value in ("", "null", "???") or re.fullmatch(r"(['\"]).*\1", value):
        return value
    # within single quotes only the quote itself is special, with the backslashes before it
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f"'{escaped}'"


def _is_name(key: str, value: str) -> bool:
    """Whether it is one class by its name, which may hold anything, and is no number."""
    return key == "target" and not re.fullmatch(r"\[.*\]|\d+|null", value, re.DOTALL)


def _quoted_list(value: str) -> str:
    """Quote each path of [a,b]; one that holds a comma is quoted by who types it."""
    inner = re.fullmatch(r"\[(.*)\]", value, re.DOTALL)
    if inner is None or not inner[1].strip() or "'" in value or '"' in value:
        return value
    return f"[{','.join(quoted(path.strip()) for path in inner[1].split(','))}]"


def as_typed(word: str) -> str:
    """Return an override of `normalise` without what it added for Hydra."""
    key, separator, value = word.lstrip("+").partition("=")
    if key in (*FREE_TEXT, "target") and value[:1] == value[-1:] == "'":
        value = re.sub(r"\\(['\\])", r"\1", value[1:-1])
    return f"{key}{separator}{value}"


def _check_grammar(word: str, multirun: bool) -> Override:
    try:
        override = OverridesParser.create().parse_override(word)
    except HydraException as error:
        key, _, value = word.partition("=")
        raise UserError(
            f"{key}={value} cannot be read: {str(error).splitlines()[0]}. Lists are typed "
            f"{key}=[a,b]; quote text that holds , = ( ) or spaces: \"{key}='{value}'\""
        ) from error
    if override.is_sweep_override() and not multirun:
        key, _, value = word.partition("=")
        raise UserError(
            f"{key}={value} has several values; expected one. Try -m to run each, search=optuna to "
            f"find the best, or a list: {key}=[{value}]"
        )
    return override


def compose_hydra(
    verb: str, overrides: Sequence[str], extra: Path | None = None
) -> tuple[DictConfig, dict[str, str]]:
    """Compose with Hydra; overrides are in its grammar.

    Returns the config and the chosen option of each group. Raises UserError for what Hydra refuses.
    """
    search = [f"hydra.searchpath=[file://{extra.resolve()}]"] if extra else []
    try:
        with hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            config = hydra.compose(verb, [*overrides, *search], return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UserError(" ".join(lines[:6]) + " Try --help for groups and keys") from error
    _check_hydra(config.hydra, overrides)
    choices = {str(group): str(choice) for group, choice in config.hydra.runtime.choices.items()}
    with open_dict(config):
        del config["hydra"]
    _check_top_level(verb, config, choices)
    return config, choices


def _check_hydra(node: DictConfig, overrides: Sequence[str]) -> None:
    """Raise UserError where a YAML has Hydra itself run code: it knows no allow-list."""
    own = ("hydra._internal.core_plugins.", "hydra_plugins.")
    found = [name for name in ("launcher", "sweeper") if not node[name]._target_.startswith(own)]
    found += ["callbacks"] if node.callbacks else []
    found += ["job.env_set"] if node.job.env_set else []
    typed = [word.lstrip("+~") for word in overrides]
    for key in found:
        if not any(word.startswith((f"hydra.{key}", f"hydra/{key}")) for word in typed):
            raise UserError(
                f"a YAML sets hydra.{key}, which may run any code; expected it to be typed. "
                f"Try without it, or hydra.{key}... on the command line"
            )


def _check_top_level(verb: str, config: DictConfig, choices: dict[str, str]) -> None:
    """An experiment's YAML may misspell a key, or miss the line that puts it at the top level."""
    for overlay in ("experiment", "debug"):
        if overlay in config:
            raise UserError(
                f"{overlay}={choices[overlay]}: its YAML changes nothing; expected "
                "'# @package _global_' as its first line"
            )
    groups, keys = verb_keys(verb)
    for key in map(str, config):
        if key not in (*groups, *keys):
            raise UserError(
                f"the composed config has a key {key} that {verb} does not know. "
                f"{did_you_mean(key, [*groups, *keys])}"
            )


def compose(
    config_name: str = "train",
    overrides: Sequence[str] = (),
    extra: Path | None = None,
) -> dict[str, Any]:
    """Compose a config as the command line would: `compose("train", ["model=mlp"])`.

    Returns plain, resolved, checked values: dict, list, str and numbers only; `extra` is a folder
    with the user's own YAML. Raises UserError for anything the command line would refuse.
    """
    composed, _ = compose_hydra(config_name, normalise(config_name, overrides, extra), extra)
    config = plain(composed)
    with trusting(typed_trust(overrides)):
        check(config)
    return config


def typed_value(words: Sequence[str], key: str) -> str | None:
    """Return the last value typed for a key, without quotes; None where it is null or absent."""
    found = [w.partition("=")[2] for w in words if w.partition("=")[0].lstrip("+") == key]
    return found[-1].strip("'\"") if found and found[-1] not in ("null", "") else None


def without(words: Sequence[str], key: str) -> list[str]:
    """Return what was typed for other keys."""
    return [word for word in words if word.partition("=")[0].lstrip("+") != key]


def typed_trust(words: Sequence[str]) -> list[str]:
    """Return the packages of `trust=[...]`: only what is typed counts, never a YAML file."""
    names = (typed_value(words, "trust") or "").strip("[]").split(",")
    return [name.strip() for name in names if name.strip()]
