"""A folder, or a zip read in place, with one sub-folder of images per class."""

import logging
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from strided.data.decoding import IMAGE_SUFFIXES
from strided.data.files import all_files, is_hidden
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

Parts = tuple[str, ...]


class _File(NamedTuple):
    split: str
    label: str
    path: str  # relative to the split's folder
    member: str  # relative to the root


def folder_source(root: Path) -> Source:
    """List `<root>[/<one folder>][/train, val, test]/<class>/**/<image>`."""
    listed = all_files(root)
    members = {name: PurePosixPath(name).parts for name in listed.stamps}
    members = {name: parts for name, parts in members.items() if not is_hidden(parts)}
    images = {m: p for m, p in members.items() if Path(m).suffix.lower() in IMAGE_SUFFIXES}
    files = _place(images, root)
    classes = _agreed_classes(files, root)
    if strays := len(images) - len(files):
        log.warning("%s: %d images lie outside the class folders: ignored", root.name, strays)
    number = {label: index for index, label in enumerate(classes)}
    return Source(
        classes=classes,
        paths=[file.path for file in files],
        labels=np.array([number[file.label] for file in files], dtype=np.int64),
        split=np.array([file.split for file in files]),
        read=lambda index: listed.image(files[index].member),
        listing=digest("folder", [(file.member, listed.stamps[file.member]) for file in files]),
        ignored=len(members) - len(files),
    )


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
