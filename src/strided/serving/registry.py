"""A registry: <registry>/<name>/<version>/ holds a bundle, and one version of each name answers.

Versions are the integers from 1 on, and never change. `active.json` says which one a service and
Triton answer with: the first of a name, until `activate` names another.
"""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from strided.errors import UserError, printable
from strided.serving.files import MANIFEST, checked
from strided.serving.manifest import Manifest
from strided.serving.triton import CONFIG, triton_config
from strided.system.durable import sync_folder, write_json, write_text
from strided.system.machine import alone_in
from strided.system.plain_data import is_there, read_json

ACTIVE = "active.json"
_UNFINISHED, _LOCK = ".unfinished", ".lock"

_VERSION = re.compile("[1-9][0-9]{0,8}")
# a folder, a part of an address, and a model's name in Triton
_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def model_folder(given: str | Path, key: str = "bundle") -> Path:
    """Return the folder of a name, `<registry>/<name>`. Raises UserError, naming `key`."""
    path = Path(os.path.expanduser(given))
    if not path.parent.name and not path.parent.is_absolute():
        raise UserError(
            f"{key}={given} names no registry; expected <registry>/<name>. "
            f"Try {key}=registry/{path.name or 'digits'}"
        )
    if any((path.parent / name).exists() for name in (ACTIVE, MANIFEST)):
        raise UserError(
            f"{key}={given} lies within a bundle; expected <registry>/<name>, without a version. "
            f"Try {key}={path.parent}"
        )
    if not _NAME.fullmatch(path.name) or _VERSION.fullmatch(path.name):
        raise UserError(
            f"{key}={given}: {path.name!r} is no name of a bundle; expected letters, digits, '.', "
            f"'_' and '-', and no plain number. Try {key}={path.parent}/digits"
        )
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise UserError(
            f"{key}={given}: {there} is a file; expected a folder, or a name that is free. "
            f"Try {key}=registry/{path.name}"
        )
    return path


def versions(model: Path) -> list[int]:
    """The versions of a name, in order."""
    if not model.is_dir():
        return []
    return sorted(
        int(entry.name)
        for entry in model.iterdir()
        if _VERSION.fullmatch(entry.name) and entry.is_dir()
    )


def active_version(model: Path) -> int:
    """The version that answers. Raises UserError if there is none."""
    known, file = versions(model), model / ACTIVE
    if not known:
        inside = sorted(file.parent for file in model.glob(f"*/{ACTIVE}"))  # it is a registry
        given = printable(str(inside[0] if inside else model))
        raise UserError(
            f"{printable(str(model))} has no version; expected a bundle, <registry>/<name>. "
            f"Try {'' if inside else 'python src/export.py '}bundle={given}"
        )
    content = None
    try:
        if is_there(file) and file.stat().st_size < 1000:
            content = read_json(file)
    except (OSError, ValueError):
        pass
    version = content.get("version") if isinstance(content, dict) else None
    if type(version) is not int or version not in known:
        raise UserError(
            f"{printable(str(file))} names no version of {printable(model.name)}; expected "
            f'{{"version": <number>}} with one of {", ".join(map(str, known[-10:]))}. Try '
            f"strided.serving.activate(<folder>, {known[-1]})"
        )
    return version


def activate(model: str | Path, version: int) -> None:
    """Let this version answer from now on, in services that start and in Triton.

    Raises UserError for a version that is not there, or whose files are not as they were written.
    """
    folder = Path(os.path.expanduser(model))
    try:
        _require_version(folder, version)
        with alone_in(folder / _LOCK, wait=True):
            _activate(folder, version)
    except OSError as error:
        raise UserError(
            f"{printable(str(folder))} cannot be changed: {printable(str(error))}; expected a "
            f"registry that you may read and write. Try: ls -la {printable(str(folder))}"
        ) from error


def _require_version(folder: Path, version: int) -> None:
    known = versions(folder)
    if type(version) is not int or version not in known:
        listed = ", ".join(map(str, known[-10:])) or "a bundle, <registry>/<name>"
        raise UserError(
            f"{printable(str(folder))} has no version {version!r}; expected one of its numbers: "
            f"{listed}. Try: ls {printable(str(folder))}"
        )


def _activate(folder: Path, version: int) -> None:
    place = folder / str(version)
    manifest = Manifest.read(place)
    for name, facts in manifest.files.items():
        checked(place / name, facts)
    write_text(folder / CONFIG, triton_config(manifest, folder.name, version))
    write_json(folder / ACTIVE, {"version": version})


def require_writable(model: Path) -> None:
    """Raise UserError if no version can be written to the folder of a name."""
    there = next(folder for folder in (model, *model.absolute().parents) if folder.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        raise _unwritable(model, f"{there} may not be written")


def register(model: Path, prepared: Path, manifest: Callable[[int], dict[str, Any]]) -> Path:
    """Give the files of a folder, and their manifest, the next version of a name; return it.

    The folder gets its name, the number, when all of it is on the disk: a killed process leaves no
    version. Two processes wait for each other. Raises UserError if it cannot be written.
    """
    try:
        model.mkdir(parents=True, exist_ok=True)
        return _registered(model, prepared, manifest)
    except OSError as error:
        raise _unwritable(model, str(error)) from error


def _unwritable(model: Path, why: str) -> UserError:
    return UserError(
        f"{printable(str(model))} cannot be written: {printable(why)}; expected a folder that you "
        "may write, with room for a bundle. Try bundle=<another registry>/<name>"
    )


def _registered(model: Path, prepared: Path, manifest: Callable[[int], dict[str, Any]]) -> Path:
    with alone_in(model / _LOCK, wait=True):
        unfinished = model / _UNFINISHED  # one that is there is of a process that was killed
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        for file in sorted(prepared.iterdir()):
            _copy(file, unfinished / file.name)
        first = not versions(model)
        place = _named(unfinished, model, manifest)
        sync_folder(model)
        if first:
            _activate(model, int(place.name))
    return place


def _named(unfinished: Path, model: Path, manifest: Callable[[int], dict[str, Any]]) -> Path:
    """Rename the folder to the next free number: not every file system has locks."""
    while True:
        taken = [int(entry.name) for entry in model.iterdir() if _VERSION.fullmatch(entry.name)]
        version = max(taken, default=0) + 1  # also above a file of such a name
        write_json(unfinished / MANIFEST, manifest(version))
        sync_folder(unfinished)
        place = model / str(version)
        try:
            return unfinished.rename(place)
        except OSError:
            if not place.exists():
                raise


def _copy(file: Path, to: Path) -> None:
    with file.open("rb") as source, to.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
        target.flush()
        os.fsync(target.fileno())
