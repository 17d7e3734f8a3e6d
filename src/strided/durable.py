"""Files that are whole or not there, after a kill and after a power cut too."""

import os
from pathlib import Path


def put(unfinished: Path, file: Path) -> None:
    """Give a finished file its name, once all of it is on the disk."""
    sync(unfinished)
    os.replace(unfinished, file)


def sync(file: Path) -> None:
    """Return when the content of a file is on the disk; a rename alone would not wait for it."""
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Return when the names in a folder are on the disk; nothing on Windows, which cannot say."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
