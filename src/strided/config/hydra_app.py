"""Hydra itself: our search path, a composed config with Hydra's node, and what that may hold."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.initialize import get_gh_backup, restore_gh_from_backup
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from strided.config.hydra_keys import instead_of, not_installed
from strided.config.overrides import is_hydra
from strided.config.primary import Primary, beginning_with, primary
from strided.config.yaml_files import (
    config_folders,
    primary_name,
    require_usable,
    unreadable,
    verb_keys,
)
from strided.errors import UserError, printable


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
            f"a YAML of {places(extra)} is nested too deeply; expected groups, keys and "
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


def check_hydra(verb: str, node: DictConfig, overrides: Sequence[str], extra: Path | None) -> None:
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


def places(extra: Path | None) -> str:
    """Name the user's YAML in a message, by the flags that brought it."""
    return " ".join([*primary().words(), *(["--config-dir", str(extra)] if extra else [])])
