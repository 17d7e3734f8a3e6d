"""A folder, or a zip read in place, with one sub-folder of images per class."""

import logging
import os
import zipfile
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

import numpy as np
from PIL import Image

from strided.data.decoding import IMAGE_SUFFIXES, ImageError, decode, image_errors
from strided.data.source import Source, digest
from strided.errors import UserError

log = logging.getLogger(__name__)

SPLIT_FOLDERS = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}

MOST_BYTES = 500_000_000  # of one image file

Parts = tuple[str, ...]


class _File(NamedTuple):
    split: str
    label: str
    path: str  # relative to the split's folder
    member: str  # relative to the root


def folder_source(root: Path) -> Source:
    """List `<root>[/<one folder>][/train, val, test]/<class>/**/<image>`."""
    stamps, open_file = _open(root)
    members = {m: PurePosixPath(m).parts for m in stamps if not is_hidden(PurePosixPath(m).parts)}
    images = {m: p for m, p in members.items() if Path(m).suffix.lower() in IMAGE_SUFFIXES}
    files = _place(images, root)
    classes = _agreed_classes(files, root)
    if strays := len(images) - len(files):
        log.warning("%s: %d images lie outside the class folders: ignored", root.name, strays)
    number = {label: index for index, label in enumerate(classes)}

    def read(index: int) -> Image.Image:
        size = int(stamps[files[index].member][0])
        if size > MOST_BYTES:  # of a zip: a few bytes there may unpack to gigabytes
            raise ImageError(f"{size:,} bytes, more than the {MOST_BYTES:,} that are read")
        with image_errors(), open_file(files[index].member) as stream:
            content = stream.read(MOST_BYTES)  # and not what a zip forgets to say of itself
        return decode(BytesIO(content))

    return Source(
        classes=classes,
        paths=[file.path for file in files],
        labels=np.array([number[file.label] for file in files], dtype=np.int64),
        split=np.array([file.split for file in files]),
        read=read,
        listing=digest("folder", [(file.member, stamps[file.member]) for file in files]),
        ignored=len(members) - len(files),
    )


def _open(root: Path) -> tuple[dict[str, Parts], Callable[[str], IO[bytes]]]:
    """Name of each file -> a stamp that changes with its content; and how to open one."""
    if root.is_dir():
        return _walk(root), lambda member: (root / member).open("rb")
    if not root.exists():
        raise UserError(
            f"data.root={root} does not exist; expected a folder or a .zip with one sub-folder of"
            " images per class. Try data.root=<path of your images>"
        )
    try:
        archive = zipfile.ZipFile(root)  # reads of several threads are safe: it locks each
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(
            f"data.root={root} is no readable zip ({error}); expected a folder or a .zip with one"
            " sub-folder of images per class. Try unzipping it, or copy it once more"
        ) from error
    stamps: dict[str, Parts] = {
        entry.filename: (str(entry.file_size), str(entry.CRC))
        for entry in archive.infolist()
        if not entry.is_dir()
    }
    return stamps, archive.open


def _walk(root: Path) -> dict[str, Parts]:
    stamps: dict[str, Parts] = {}
    for folder, _, names in os.walk(root, followlinks=True):
        inside = Path(folder).relative_to(root)
        for name in names:
            file = os.path.join(folder, name)
            dangling = not os.path.exists(file)  # a link to nothing is listed as a broken image
            status = os.lstat(file) if dangling else os.stat(file)
            stamps[(inside / name).as_posix()] = (
                str(status.st_size),
                str(status.st_mtime_ns),
            )
    return stamps


def is_hidden(parts: Parts) -> bool:
    """Tell whether a path is none of the user's own making: `.DS_Store`, `__MACOSX/._cat.jpg`."""
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _place(images: dict[str, Parts], root: Path) -> list[_File]:
    """Find split and class of each image by where it lies; sorted, without strays."""
    placed = dict(images)
    if len({parts[0] for parts in placed.values() if len(parts) > 1}) == 1:
        inner = {member: parts[1:] for member, parts in placed.items() if len(parts) > 2}
        placed = inner or placed  # `<root>/<one folder>/*.jpg`: that folder is a class
    split_of = _split_folders(placed, root)
    files = []
    for member, parts in placed.items():
        split = split_of.get(parts[0], "")
        inside = parts[1:] if split else parts
        if len(inside) > 1 and bool(split) == bool(split_of):
            files.append(_File(split, inside[0], "/".join(inside), member))
    return sorted(files)


def _split_folders(placed: dict[str, Parts], root: Path) -> dict[str, str]:
    """The top folders that are splits, with the split each is: all or none."""
    tops = sorted({parts[0] for parts in placed.values() if len(parts) > 2})
    found = {top: SPLIT_FOLDERS[top.lower()] for top in tops if top.lower() in SPLIT_FOLDERS}
    if not found:
        return {}
    split, times = Counter(found.values()).most_common(1)[0]
    if times > 1 or "train" not in found.values():
        problem = f"several folders for {split}" if times > 1 else "no train folder"
        raise UserError(
            f"data.root={root} has {', '.join(f'{top}/' for top in found)}: {problem}; expected"
            " train/ and, if there are any, one val/ and one test/, or only class folders."
            " Try renaming the folders"
        )
    for top, split in found.items():
        if top != split:
            log.info("%s: %s/ is used as the %s split", root.name, top, split)
    return found


def _agreed_classes(files: list[_File], root: Path) -> list[str]:
    classes = sorted({file.label for file in files if file.split in {"train", ""}})
    if len(classes) < 2:
        problem = f"only one class, {classes[0]}" if classes else "no images in class folders"
        raise UserError(
            f"data.root={root} holds {problem}; expected two or more folders of images"
            f" ({', '.join(sorted(IMAGE_SUFFIXES))}), one per class: cat/1.jpg, dog/1.jpg."
            " Try data.root=<the folder above the class folders>"
        )
    for file in files:
        if file.label not in classes:
            raise UserError(
                f"data.root={root} has class {file.label} in {file.split} but not in train;"
                f" expected the classes of train: {', '.join(classes[:10])}."
                f" Try adding train/{file.label}/ or removing it from {file.split}"
            )
    return classes
