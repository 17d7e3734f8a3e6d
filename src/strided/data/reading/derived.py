"""Pictures that seem to be made from others beside them: masks, thumbnails, overlays."""

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath

from strided.data.reading.split_names import names_no_class

_KINDS = ("mask", "segmentation", "groundtruth", "ground_truth", "thumb", "overlay", "annotated")
_FOLDER = re.compile(rf".*({'|'.join(_KINDS)})(s|nails?)?")
_NAME = re.compile(rf"(.+?)[ _.-]+({'|'.join(_KINDS)})(s|nail)?([ _.-]?\d+)?")


def derived_images(images: Mapping[str, Sequence[str]], classes: Collection[str]) -> list[str]:
    """The images named after another: `1_mask.png` beside `1.png`, `masks/1.png` for `1.png`.

    images: the names in each folder, which ends in /. classes: the class folders among these; one
    may be called mask/, so it counts only beside one called images/.
    """
    found = []
    below: dict[str, list[str]] = defaultdict(list)
    for folder in images:
        below[_parent(folder)].append(folder)
    for folder, names in images.items():
        if _FOLDER.fullmatch(PurePosixPath(folder).name.lower()):
            parent = _parent(folder)
            around = {*below[parent], parent} - {folder}
            if folder in classes:
                around = {other for other in around if names_no_class(PurePosixPath(other).name)}
            stems = {_stem(name) for other in around for name in images.get(other, ())}
            originals = {name: _original(name) or _stem(name) for name in names}
        else:
            text = "/".join(names).lower()  # sets can have many files: first a look at all at once
            if not any(kind in text for kind in _KINDS):
                continue
            stems = set(map(_stem, names))
            originals = {name: _original(name) for name in names}
        found += [folder + name for name, stem in originals.items() if stem in stems]
    return sorted(found)


def _parent(folder: str) -> str:
    return folder[: folder.rstrip("/").rfind("/") + 1]


def _stem(name: str) -> str:
    return (name.rpartition(".")[0] or name).lower()


def _original(name: str) -> str:
    match = _NAME.fullmatch(_stem(name))
    return match[1] if match else ""
