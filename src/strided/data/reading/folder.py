"""A folder, or a zip read in place, with one sub-folder of images per class."""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np

from strided.data.reading.decoding import IMAGE_SUFFIXES
from strided.data.reading.files import all_files, is_hidden
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
# for each (split, class), each image's path from the split's folder and from the root
Placed = dict[tuple[str, str], dict[str, str]]


def folder_source(root: Path) -> Source:
    """List `<root>[/<one folder>][/train, val, test]/<class>/**/<image>`."""
    listed = all_files(root)
    visible = _visible(listed.stamps)
    images = {
        folder: [name for name in names if name[name.rfind(".") :].lower() in IMAGE_SUFFIXES]
        for folder, names in visible.items()
    }
    placed = _place(images, root)
    classes = _agreed_classes(placed, root)
    sizes = [len(files) for files in placed.values()]
    if strays := sum(map(len, images.values())) - sum(sizes):
        log.warning("%s: %d images lie outside the class folders: ignored", root.name, strays)
    names = [member for files in placed.values() for member in files.values()]
    return Source(
        classes=classes,
        paths=[path for files in placed.values() for path in files],
        labels=np.repeat([classes.index(label) for _, label in placed], sizes).astype(np.int64),
        split=np.repeat([split for split, _ in placed], sizes),
        read=listed.reader(names),
        listing=digest("folder", names, [listed.stamps[name] for name in names]),
        ignored=sum(map(len, visible.values())) - sum(sizes),
        sizes=[listed.stamps[name][0] for name in names],
    )


def _visible(names: Iterable[str]) -> dict[str, list[str]]:
    """The files of each folder, whose name ends in /, without hidden ones."""
    folders: dict[str, list[str]] = defaultdict(list)
    for name in names:
        end = name.rfind("/") + 1
        if name[end : end + 1] != ".":
            folders[name[:end]].append(name[end:])
    return {f: files for f, files in folders.items() if not is_hidden(PurePosixPath(f).parts)}


def _place(images: dict[str, list[str]], root: Path) -> Placed:
    """Find split and class of each image by its folder; sorted, without strays."""
    inside = {folder: PurePosixPath(folder).parts for folder, names in images.items() if names}
    if len({parts[0] for parts in inside.values() if parts}) == 1:
        inner = {folder: parts[1:] for folder, parts in inside.items() if len(parts) > 1}
        inside = inner or inside  # `<root>/<one folder>/*.jpg`: that folder is a class
    split_of = _split_folders(inside, root)
    placed: Placed = defaultdict(dict)
    for folder, parts in inside.items():
        split = split_of.get(parts[0], "") if parts else ""
        within = parts[1:] if split else parts
        if within and bool(split) == bool(split_of):
            path = "/".join(within)
            files = {f"{path}/{name}": folder + name for name in images[folder]}
            placed[split, within[0]].update(files)
    return {key: dict(sorted(placed[key].items())) for key in sorted(placed)}


def _split_folders(inside: dict[str, Parts], root: Path) -> dict[str, str]:
    """The top folders that are splits, with the split each is: all of them or none."""
    tops = sorted({parts[0] for parts in inside.values() if len(parts) > 1})
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


def _agreed_classes(placed: Placed, root: Path) -> list[str]:
    classes = sorted({label for split, label in placed if split in {"train", ""}})
    if len(classes) < 2:
        problem = f"only one class, {classes[0]}" if classes else "no images in class folders"
        raise UserError(
            f"data.root={root} holds {problem}; expected two or more folders of images"
            f" ({', '.join(sorted(IMAGE_SUFFIXES))}), one per class: cat/1.jpg, dog/1.jpg."
            " Try data.root=<the folder above the class folders>"
        )
    for split, label in placed:
        if label not in classes:
            raise UserError(
                f"data.root={root} has class {label} in {split} but not in train;"
                f" expected the classes of train: {', '.join(classes[:10])}."
                f" Try adding train/{label}/ or removing it from {split}"
            )
    return classes
