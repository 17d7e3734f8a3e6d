"""Compose a config with Hydra and check it: `compose` does what the command line does."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from strided.config.decided import decide
from strided.config.hydra_app import check_hydra, choices_of, places, with_hydra_node
from strided.config.keys import Config
from strided.config.overrides import normalise, typed_trust
from strided.config.primary import primary
from strided.config.schema import UnknownArgumentError, check
from strided.config.targets import trusting, trusts_config_dir
from strided.config.typed_only import (
    downloads_nothing,
    require_no_resolver,
    require_typed,
    typed_keys,
)
from strided.config.yaml_files import (
    require_known_keys,
    verb_keys,
)
from strided.errors import UserError, did_you_mean, first_line, printable
from strided.system.plain_data import require_plain


def plain(config: DictConfig) -> Config:
    """Resolve every interpolation and return dict, list, str and numbers only."""
    return cast("Config", _resolved(config, throw_on_missing=True))


def _resolved(config: DictConfig, *, throw_on_missing: bool) -> dict[str, Any]:
    try:
        resolved = OmegaConf.to_container(config, resolve=True, throw_on_missing=throw_on_missing)
    except MissingMandatoryValue as error:
        key = getattr(error, "full_key", None) or "a key"
        raise UserError(f"{key} has no value; expected one. Try {key}=<value>") from error
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "a key"
        raise UserError(
            f"{key} refers to what does not exist: {first_line(error)}; expected ${{another.key}}. "
            f"Try {key}=<value>; text with a dollar is typed '\\${{...}}' in single quotes"
        ) from error
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def compose_hydra(
    verb: str,
    overrides: Sequence[str],
    extra: Path | None = None,
    typed: Sequence[str] | None = None,
) -> tuple[DictConfig, dict[str, str]]:
    """Compose with Hydra; overrides are in its grammar, as is `typed` if more than these was typed.

    Returns the config and the chosen option of each group. Raises UserError for what Hydra
    refuses, and for what a YAML of the user's folders must not set.
    """
    config = with_hydra_node(verb, overrides, extra)
    is_theirs = bool(extra) or primary().is_typed
    if is_theirs:
        check_hydra(verb, config.hydra, overrides, extra)
    choices = choices_of(verb, config.hydra)
    with open_dict(config):
        del config["hydra"]
    _check_top_level(verb, config, choices)
    if is_theirs and config.get("resume"):
        raise UserError(
            f"a YAML of {places(extra)} sets resume={printable(str(config.resume))}, which counts "
            "only as typed; expected a new run. Try resume=<run folder> on the command line, "
            "without that YAML"
        )
    if is_theirs and not trusts_config_dir():
        require_no_resolver(OmegaConf.to_container(config, resolve=False), overrides)
        resolved = _resolved(config, throw_on_missing=False)
        _require_text(resolved, extra)
        words = overrides if typed is None else typed
        require_typed(resolved, words)
        if "data.root" not in typed_keys(words) and downloads_nothing(resolved.get("data")):
            with open_dict(config):
                config["data"]["download"] = False
    if verb == "train":
        decide(config, choices, typed_keys([*overrides, *(typed or ())]))
    return config, choices


def _require_text(config: Mapping[str, Any], extra: Path | None) -> None:
    """Raise UserError for values of a YAML that no file of a run could hold."""
    try:
        require_plain(config)
    except ValueError as error:
        raise UserError(
            f"a YAML of {places(extra)} cannot be used: {error}; expected names, numbers and "
            "short texts. Try without it"
        ) from error


def _check_top_level(verb: str, config: DictConfig, choices: dict[str, str]) -> None:
    """Raise UserError for a YAML with a misspelt key, or without the line for the top level."""
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
    require_known_keys(verb, config)
    needed = (*keys, *(group for group, option in groups.items() if option is not None))
    if missing := sorted({*needed} - {*map(str, config)}, key=needed.index):
        raise UserError(
            f"{places(None) or 'the config'} lacks {', '.join(missing)}; expected all that {verb} "
            f"needs. Try a YAML whose defaults are [{verb}, _self_], without ~{missing[0]}"
        )


def compose_checked(
    verb: str, words: Sequence[str], extra: Path | None
) -> tuple[Config, dict[str, str]]:
    """Compose typed words; return plain, checked values and the chosen option of each group."""
    overrides = normalise(verb, words, extra)
    composed, choices = compose_hydra(verb, overrides, extra)
    config = plain(composed)
    try:
        check(config)
    except UnknownArgumentError as error:
        group = error.key.split(".")[0]
        typed = typed_keys(overrides)
        if group not in typed or error.key in typed:
            raise
        raise UserError(
            f"{error} It was not typed: an experiment or {group}={choices.get(group)} sets it. "
            f"Try ~{error.key}"
        ) from error
    return config, choices


def compose(
    config_name: str = "train",
    overrides: Sequence[str] = (),
    extra: Path | None = None,
) -> Config:
    """Compose a config as the command line would: `compose("train", ["model=mlp"])`.

    Returns plain, resolved, checked values: dict, list, str and numbers only; `extra` is a folder
    with the user's own YAML. Raises UserError for anything the command line would refuse.
    """
    with trusting(typed_trust(overrides), extra):
        config, _ = compose_checked(config_name, overrides, extra)
    return config
