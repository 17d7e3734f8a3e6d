"""Compose a config with Hydra and check it: `compose` does what the command line does."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import hydra
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.initialize import get_gh_backup, restore_gh_from_backup
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from strided.config.decided import decide
from strided.config.hydra_keys import instead_of, not_installed
from strided.config.keys import Config
from strided.config.overrides import is_hydra, normalise, typed_trust
from strided.config.primary import Primary, beginning_with, primary
from strided.config.schema import check
from strided.config.targets import trusting, trusts_config_dir
from strided.config.typed_only import (
    downloads_nothing,
    require_no_resolver,
    require_typed,
    typed_keys,
)
from strided.config.yaml_files import (
    config_folders,
    primary_name,
    require_known_keys,
    require_usable,
    unreadable,
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


@contextmanager
def hydra_of_our_own(extra: Path | None = None) -> Iterator[Hydra]:
    """Hydra with the typed folders, also inside the job of a sweep, where Hydra has begun already.

    `--config-dir` is added as Hydra itself adds it: a primary config may then lie there too.
    """
    main, *others = config_folders(extra)
    outer = get_gh_backup()
    GlobalHydra.instance().clear()
    try:
        hydra.version.setbase("1.3")
        search = create_config_search_path(str(main))
        for folder in others:
            last = SearchPathQuery(provider="schema", path=None)
            search.prepend("command-line", f"file://{folder}", last)
        yield Hydra.create_main_hydra2("app", search)
    finally:
        restore_gh_from_backup(outer)


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
        _check_hydra(verb, config.hydra, overrides, extra)
    choices = choices_of(verb, config.hydra)
    with open_dict(config):
        del config["hydra"]
    _check_top_level(verb, config, choices)
    if is_theirs and config.get("resume"):
        raise UserError(
            f"a YAML of {_places(extra)} sets resume={printable(str(config.resume))}, which counts "
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


def with_hydra_node(verb: str, overrides: Sequence[str], extra: Path | None) -> DictConfig:
    """Compose with Hydra, and keep its own node; nothing in it is checked. Raises UserError."""
    name = primary_name(verb, extra)
    require_usable(extra)
    words = [*overrides, *primary().settings(overrides)]
    try:
        with hydra_of_our_own(extra):
            return hydra.compose(name, words, return_hydra_config=True)
    except RecursionError as error:
        raise UserError(
            f"a YAML of {_places(extra)} is nested too deeply; expected groups, keys and "
            "values. Try one option of that folder after the other"
        ) from error
    except UnicodeDecodeError as error:
        files = ", ".join(printable(str(file)) for file in unreadable(extra))
        raise UserError(
            f"{files} cannot be read: {error}; expected UTF-8. Try saving it as UTF-8"
        ) from error
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        if missing := not_installed(error):
            raise missing from error
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UserError(" ".join(lines[:6]) + " Try --help for groups and keys") from error


def choices_of(verb: str, node: Any) -> dict[str, str]:
    """Return the chosen option of each group; where the primary config has none, its own name."""
    groups, _ = verb_keys(verb)
    choices = {str(group): str(choice) for group, choice in node.runtime.choices.items()}
    return {**dict.fromkeys(groups, Path(str(node.job.config_name)).stem), **choices}


def _places(extra: Path | None) -> str:
    """Name the user's YAML in a message, by the flags that brought it."""
    return " ".join([*primary().words(), *(["--config-dir", str(extra)] if extra else [])])


def _require_text(config: Mapping[str, Any], extra: Path | None) -> None:
    """Raise UserError for values of a YAML that no file of a run could hold."""
    try:
        require_plain(config)
    except ValueError as error:
        raise UserError(
            f"a YAML of {_places(extra)} cannot be used: {error}; expected names, numbers and "
            "short texts. Try without it"
        ) from error


def _check_hydra(verb: str, node: DictConfig, overrides: Sequence[str], extra: Path | None) -> None:
    """Raise UserError if a YAML in the user's folder changes a setting of Hydra itself.

    Hydra has no allow-list: its launchers, callbacks, logging and environment may run any code.
    Such a setting counts only if it is typed. Hydra adds its notes on words and choices to what a
    YAML says there, and repeats these words for each job of a sweep: so they are compared too.
    """
    typed = [word for word in overrides if is_hydra(word)]
    with beginning_with(Primary()), hydra_of_our_own():
        expected = hydra.compose(verb, typed, return_hydra_config=True).hydra
    words = [*overrides, *primary().settings(overrides)]
    with hydra_of_our_own(extra) as own, open_dict(expected):
        chosen = own.config_loader.compute_defaults_list(
            primary_name(verb, extra), words, RunMode.RUN
        )
        expected.runtime.choices = dict(chosen.overrides.known_choices)
        expected.overrides.hydra = [word for word in words if is_hydra(word)]
        expected.overrides.task = [word for word in words if not is_hydra(word)]
    for key, _ in sorted(_settings(node).items() ^ _settings(expected).items()):
        hint = instead_of(f"hydra.{key}") or f"hydra.{key}=... on the command line"
        raise UserError(
            f"a YAML sets hydra.{key}, which may run any code; expected it to be typed. "
            f"Try without it, or {hint}"
        )


def _settings(node: DictConfig) -> dict[str, str]:
    """Return Hydra's settings by dotted key, without the notes that it writes anew."""
    runtime = ("version", "version_base", "cwd", "config_sources")
    noted = ("job.override_dirname", "job.config_name", *(f"runtime.{name}" for name in runtime))
    found: dict[str, str] = {}

    def add(value: Any, path: str) -> None:
        if path in noted:
            return
        if isinstance(value, dict) and value:
            for key, child in value.items():
                add(child, f"{path}.{key}" if path else str(key))
        else:
            found[path] = repr(value)

    add(OmegaConf.to_container(node, resolve=False), "")
    return found


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
            f"{_places(None) or 'the config'} lacks {', '.join(missing)}; expected all that {verb} "
            f"needs. Try a YAML whose defaults are [{verb}, _self_], without ~{missing[0]}"
        )


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
        composed, _ = compose_hydra(config_name, normalise(config_name, overrides, extra), extra)
        config = plain(composed)
        check(config)
    return config
