"""Where the YAML files are, and which groups, options and keys they declare."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import hydra
import yaml

from strided.config.keys import PlainKeys
from strided.errors import UserError, printable, sought_from
from strided.system.plain_data import is_there, read_yaml

_PACKAGE = Path(__file__).parents[1]
IS_CHECKOUT = not (_PACKAGE / "conf").is_dir()  # the wheel ships conf/ inside the package
CONF_DIR = _PACKAGE.parents[1] / "conf" if IS_CHECKOUT else _PACKAGE / "conf"

_ALIAS = re.compile(rb"&\w")  # YAML's name for a value, to be used again


def config_folders(extra: Path | None = None) -> list[Path]:
    """Return the folders with YAML: strided's, then the user's (--config-dir)."""
    if extra is not None and not extra.is_dir():
        raise UserError(
            f"--config-dir {extra} is not a folder{sought_from(extra)}; expected one with group "
            "folders, such as mine/model/. Try the full path"
        )
    return [CONF_DIR] + ([extra.resolve()] if extra else [])


def require_usable(extra: Path) -> None:
    """Raise UserError for a YAML of --config-dir that nothing would read, or that fills the memory.

    Hydra takes the first file of a name, which is strided's or its own. Of a list that holds itself
    many times over, it makes a copy for each time.
    """
    hydras = Path(hydra.__file__).parent / "conf"
    for file in sorted(extra.rglob("*.yaml")):
        name = file.relative_to(extra)
        for own, whose in ((CONF_DIR, "strided"), (hydras, "Hydra")):
            if (own / name).is_file() and not own.samefile(extra):
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


def plain_defaults(verb: str) -> PlainKeys:
    """Return the keys of `conf/<verb>.yaml` that belong to no group, with their values."""
    declared = yaml.safe_load((CONF_DIR / f"{verb}.yaml").read_text())
    plain = {key: value for key, value in declared.items() if key not in ("defaults", "hydra")}
    return cast("PlainKeys", plain)
