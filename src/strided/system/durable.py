"""Files that are whole or not there, even after a kill or a power cut."""

import errno
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def put(unfinished: Path, file: Path) -> None:
    """Give a finished file its name once all of it is on the disk."""
    sync(unfinished)
    os.replace(unfinished, file)


def sync(file: Path) -> None:
    """Return when the content of a file is on the disk; a rename alone would not wait for it."""
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Return when the names in a folder are on the disk; does nothing on Windows, which cannot."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_full(error: BaseException) -> bool:
    """Whether the disk had no room, or not for so large a file; torch raises another error on top.

    FAT32, as on many sticks, takes files of up to 4 GB; ulimit -f sets such a limit too.
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return True
    return error.__context__ is not None and is_full(error.__context__)


def write_text(file: Path, text: str) -> None:
    """Write a whole file or nothing: no reader, kill or power cut sees half of it."""
    unfinished = file.with_suffix(file.suffix + ".tmp")
    unfinished.unlink(missing_ok=True)  # it may be a link
    unfinished.write_text(text, encoding="utf-8", errors="surrogateescape")  # odd file names
    put(unfinished, file)


def write_json(file: Path, values: Mapping[str, Any]) -> None:
    """Write strict JSON: a number that is not finite becomes null."""

    def finite(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: finite(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [finite(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    write_text(file, json.dumps(finite(values), indent=1, allow_nan=False) + "\n")
