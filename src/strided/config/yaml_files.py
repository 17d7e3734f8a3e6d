"""Where the YAML files are, and which groups, options and keys they declare."""

from collections.abc import Iterable
from pathlib import Path
from typing import cast

import yaml

from strided.config.keys import PlainKeys
from strided.errors import UserError, sought_from

_PACKAGE = Path(__file__).parents[1]
IS_CHECKOUT = not (_PACKAGE / "conf").is_dir()  # the wheel ships conf/ inside the package
CONF_DIR = _PACKAGE.parents[1] / "conf" if IS_CHECKOUT else _PACKAGE / "conf"


def config_folders(extra: Path | None = None) -> list[Path]:
    """Return the folders with YAML: strided's, then the user's (--config-dir)."""
    if extra is not None and not extra.is_dir():
        raise UserError(
            f"--config-dir {extra} is not a folder{sought_from(extra)}; expected one with group "
            "folders, such as mine/model/. Try the full path"
        )
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


def plain_defaults(verb: str) -> PlainKeys:
    """Return the keys of `conf/<verb>.yaml` that belong to no group, with their values."""
    declared = yaml.safe_load((CONF_DIR / f"{verb}.yaml").read_text())
    plain = {key: value for key, value in declared.items() if key not in ("defaults", "hydra")}
    return cast("PlainKeys", plain)
