"""What a single run was composed of: the option of each group, and what differs from it."""

import json
import logging
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from strided.config.compose import compose_hydra
from strided.config.keys import Config
from strided.config.overrides import is_hydra, key_of
from strided.config.typed_only import leaves
from strided.config.yaml_files import verb_keys
from strided.errors import UserError, one_line, printable
from strided.system.verbosity import ONCE, shown_from

OVERLAYS = ("experiment", "debug", "search")  # they change what the other groups decide
ASIDE = ("name", "tags", "checkpoint", "input", "log_dir", "trust", "traceback", "sweep")


def show_choices(
    verb: str,
    choices: Mapping[str, str],
    config: Config,
    words: Sequence[str],
    config_dir: Path | None,
) -> None:
    """Print the choices of a run; the whole config too with -v, nothing with -q."""
    if shown_from() > ONCE:
        return
    if chosen := chosen_options(verb, choices, config):
        changed = by_overlays(verb, chosen, config, config_dir) | by_words(words)
        print(printable(describe(chosen, changed)))
    if shown_from() <= logging.DEBUG:
        print(printable(yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)))


def chosen_options(verb: str, choices: Mapping[str, str], config: Config) -> dict[str, str]:
    """Return the option of each group that has one; `[wandb,mlflow]` of a group that has several.

    Hydra notes no choice for several, or the config itself; the group then has a node for each.
    """
    nodes: Mapping[str, Any] = config
    several = {g: f"[{','.join(nodes[g])}]" for g in verb_keys(verb)[0] if nodes.get(g)}
    noted = {group: option for group, option in choices.items() if option != verb}
    options = {group: noted.get(group, several.get(group)) for group in verb_keys(verb)[0]}
    return {g: option for g, option in options.items() if option not in ("None", "null", None)}


def describe(chosen: Mapping[str, str], changed: Mapping[str, str]) -> str:
    """Return `data=digits  optimizer=sgd (lr=0.1)  seed=1`, in lines.

    `changed` has the values that differ from those of the options, by dotted key; "" for a key that
    was taken away.
    """
    parts = []
    for group, option in chosen.items():
        inner = [key for key in changed if key.startswith(f"{group}.")]
        own = ", ".join(_said(key.partition(".")[2], changed[key]) for key in inner)
        parts.append(f"{group}={option}" + (f" ({own})" if own else ""))
    parts += [
        _said(key, value)
        for key, value in changed.items()
        if key.partition(".")[0] not in (*chosen, *ASIDE)
    ]
    wide = textwrap.TextWrapper(
        100, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
    return wide.fill("  ".join(map(one_line, parts)))


def _said(key: str, value: str) -> str:
    return f"{key}={value}" if value else f"~{key}"


def by_words(words: Sequence[str]) -> dict[str, str]:
    """Return the values of the typed words by key."""
    return {key_of(word): word.partition("=")[2] for word in words if not is_hydra(word)}


def by_overlays(
    verb: str, chosen: Mapping[str, str], config: Config, config_dir: Path | None
) -> dict[str, str]:
    """Return the values that an experiment or a debug option changes, by dotted key."""
    if not any(group in OVERLAYS for group in chosen):
        return {}
    plainly = [f"{group}={option}" for group, option in chosen.items() if group not in OVERLAYS]
    try:
        composed, _ = compose_hydra(verb, plainly, config_dir)
        before = _leaves(OmegaConf.to_container(composed, resolve=True))  # type: ignore[arg-type]
    except (UserError, OmegaConfBaseException):  # an option that needs what the experiment adds
        return {}
    return {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in _leaves(config).items()
        if before.get(key, key) != value
    }


def _leaves(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for top, node in config.items() for key, value in leaves(top, node).items()}
