"""Where the YAML files are, and which groups, options and keys they declare."""

import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, cast

import hydra
import yaml

from strided.config.keys import PlainKeys
from strided.config.primary import primary
from strided.errors import UserError, did_you_mean, one_line, printable, sought_from
from strided.system.plain_data import is_there, read_yaml

_PACKAGE = Path(__file__).parents[1]
IS_CHECKOUT = not (_PACKAGE / "conf").is_dir()  # the wheel ships conf/ inside the package
CONF_DIR = _PACKAGE.parents[1] / "conf" if IS_CHECKOUT else _PACKAGE / "conf"

_ALIAS = re.compile(rb"&\w")  # YAML's name for a value, to be used again


def config_folders(extra: Path | None = None) -> list[Path]:
    """Return the folders with YAML: strided's or --config-path, then the user's (--config-dir)."""
    typed = {"--config-path": primary().folder, "--config-dir": extra}
    for flag, folder in typed.items():
        if folder is not None and not folder.is_dir():
            raise UserError(
                f"{flag} {folder} is not a folder{sought_from(folder)}; expected one with group "
                "folders, such as mine/model/. Try the full path"
            )
    main = primary().folder or CONF_DIR
    return [main.resolve(), *([extra.resolve()] if extra else [])]


def primary_name(verb: str, extra: Path | None = None) -> str:
    """Return the name of the config that Hydra begins with.

    Raises UserError unless it is a YAML of the folders, and not another verb's.
    """
    name = (primary().name or verb).removesuffix(".yaml")
    file, folders = Path(f"{name}.yaml"), config_folders(extra)
    if ".." in file.parts or not any((folder / file).is_file() for folder in folders):
        raise UserError(
            f"--config-name {name}: there is no {file} in {' or '.join(map(str, folders))}; "
            f"expected one whose defaults are [{verb}, _self_]. Try --config-dir <its folder>"
        )
    if name != verb and (CONF_DIR / file).is_file():
        raise UserError(
            f"--config-name {name}: that is the config of another verb; expected one of {verb}. "
            f"Try strided {name}"
        )
    return name


def require_usable(extra: Path | None) -> None:
    """Raise UserError for a YAML of the user's that nothing would read, or that fills the memory.

    Hydra takes the first file of a name: its own, then strided's or that of --config-path. Of a
    list that holds itself many times over, it makes a copy for each time.
    """
    hydras = {Path(hydra.__file__).parent / "conf": "Hydra"}
    main, *others = config_folders(extra)
    if primary().folder:
        _require_usable(main, hydras)
    for folder in others:
        whose = f"--config-path {main}" if primary().folder else "strided"
        _require_usable(folder, {main: whose, **hydras})


def _require_usable(folder: Path, before: Mapping[Path, str]) -> None:
    for file in sorted(folder.rglob("*.yaml")):
        name = file.relative_to(folder)
        for own, whose in before.items():
            if (own / name).is_file() and not own.samefile(folder):
                raise UserError(
                    f"{printable(str(file))} would not be read: {whose} has a {name} of its own, "
                    "which comes first; expected another name. Try renaming it, such as "
                    f"{name.with_stem(f'my_{name.stem}')}"
                )
        if is_there(file) and _ALIAS.search(file.read_bytes()):
            try:
                read_yaml(file)
            except ValueError as error:
                raise UserError(
                    f"{printable(str(file))} cannot be used: {error}; expected groups, keys and "
                    "values. Try writing values out instead of naming them by &"
                ) from error


def unreadable(extra: Path | None) -> list[Path]:
    """Return the YAML files of the user's that are no UTF-8, in which Hydra reads them."""
    found = []
    for file in (file for folder in config_folders(extra) for file in folder.rglob("*.yaml")):
        try:
            file.read_text("utf-8")
        except UnicodeDecodeError:
            found.append(file)
    return found


def group_options(folders: Iterable[Path]) -> dict[str, list[str]]:
    """Return the options of each group: {"model": ["alexnet", ...], ...}."""
    options: dict[str, set[str]] = {}
    for folder in folders:
        for file in folder.glob("*/*.yaml"):
            options.setdefault(file.parent.name, set()).add(file.stem)
    return {group: sorted(names) for group, names in sorted(options.items())}


@cache
def _declared(verb: str) -> dict[str, Any]:
    """What `conf/<verb>.yaml` holds, parsed once: a run asks for it a dozen times."""
    declared: dict[str, Any] = yaml.safe_load((CONF_DIR / f"{verb}.yaml").read_text())
    return declared


def verb_keys(verb: str) -> tuple[dict[str, str | None], list[str]]:
    """Return groups (with their default option) and plain keys of `conf/<verb>.yaml`."""
    groups = {
        str(group): option
        for entry in _declared(verb)["defaults"]
        if isinstance(entry, dict)
        for group, option in entry.items()
        if "hydra/" not in group
    }
    return groups, list(plain_defaults(verb))


def plain_defaults(verb: str) -> PlainKeys:
    """Return the keys of `conf/<verb>.yaml` that belong to no group, with their values."""
    declared = deepcopy(_declared(verb))
    plain = {key: value for key, value in declared.items() if key not in ("defaults", "hydra")}
    return cast("PlainKeys", plain)


def require_known_keys(verb: str, config: Mapping[Any, Any]) -> None:
    """Raise UserError for a key that a plain node of `conf/<verb>.yaml` has not: it does nothing.

    Another verb may have it: a gate is fitted by train, and eval takes it from the checkpoint.
    """
    nested = {k: known for k, known in plain_defaults(verb).items() if isinstance(known, dict)}
    for key, known in nested.items():
        node = config.get(key)
        if not isinstance(node, Mapping):
            continue
        in_training: Any = plain_defaults("train").get(key) or {}
        for name in map(str, set(node) - set(known)):
            hint = f"Try it with src/train.py: {key}.{name}=..."
            raise UserError(
                f"{one_line(f'{key}.{name}')} is no key of {verb}; expected one of "
                f"{', '.join(f'{key}.{own}' for own in known)}. "
                f"{hint if name in in_training else did_you_mean(name, known)}"
            )
