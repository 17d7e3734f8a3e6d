"""Where the class folders of a tree stand: at its top, or inside the folders of its splits."""

import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from strided.data.reading.labels import spelling_key
from strided.data.reading.split_folders import split_folders
from strided.data.reading.split_names import names_no_class, split_of

log = logging.getLogger(__name__)

ClassLevel = Literal[1, 2]
Parts = tuple[str, ...]


@dataclass(frozen=True)
class Folders:
    """The folders of a tree: all, those that hold images themselves, those with other files."""

    all: set[Parts]
    images: set[Parts]
    others: set[Parts]


@dataclass(frozen=True)
class Layout:
    """parents: the folders whose sub-folders are classes, each with its split ("" for none).

    base: the enclosing folders, which are skipped. barren: folders that would be such parents, had
    they any image.
    """

    base: Parts
    parents: dict[Parts, str]
    barren: list[Parts] = field(default_factory=list)


@dataclass(frozen=True)
class Top:
    """A folder with images: whether in itself, and in which of its sub-folders, at any depth."""

    direct: bool
    inside: frozenset[str]


def find_layout(folders: Folders, class_level: ClassLevel | None, root: Path) -> Layout:
    """Decide it by names and by where images are; UserError where there are two readings.

    class_level counts from the enclosing folders. Without it the class folders are at 1, or at 2
    inside the folders of splits.
    """
    base = _enclosing(folders)
    if class_level == 1:
        return Layout(base, {base: ""})
    tops, places = _without_containers(folders.images, base)
    below = {name: places[name] for name, top in tops.items() if top.inside}
    parents = {name: _innermost(folders.images, tops[name], place) for name, place in below.items()}
    classes = {}
    for name, parent in parents.items():
        moved = parent != below[name]
        inside = _tops(folders.images, parent) if moved else sorted(tops[name].inside)
        classes[name] = {spelling_key(folder): folder for folder in inside}
    direct = {name for name, top in tops.items() if top.direct}
    splits = split_folders(direct, classes, class_level, root, base)
    if not splits and class_level is None:
        return Layout(base, {base: ""})  # train/ alone is as good as no split
    empty = [p for p in folders.all if p[:-1] == base and p not in below.values() and p[-1:] != ()]
    barren = [p for p in empty if p[-1] not in tops and (not splits or split_of(p[-1]))]
    if splits:
        return Layout(base, {parents[top]: split for top, split in splits.items()}, sorted(barren))
    return Layout(base, dict.fromkeys(below.values(), ""), sorted(barren))


def _enclosing(folders: Folders) -> Parts:
    """The folders around all others: `<root>/<one folder>`, unless that folder is a class."""
    used = _with_parents(folders.images | folders.others)
    base: Parts = ()
    while True:
        tops = _tops(folders.images, base)
        empty = any(parts and parts[:-1] == base and parts not in used for parts in folders.all)
        if len(tops) != 1 or empty:  # an empty folder beside it: both may be classes
            return base
        ((name, top),) = tops.items()
        if not top.inside or (base and top.direct):
            return base
        beside = sorted(p[-1] for p in used if p and p[:-1] == base and p[-1] != name)
        if split_of(name) and any(map(split_of, beside)):  # a split without a readable image
            return base
        if beside:
            shown = ", ".join(f"{folder}/" for folder in beside[:6])
            log.warning("%s: no images there, passed over beside %s/", shown, name)
        base = (*base, name)


def _with_parents(folders: Iterable[Parts]) -> set[Parts]:
    return {parts[:length] for parts in folders for length in range(len(parts) + 1)}


def _tops(images: Iterable[Parts], base: Parts) -> dict[str, Top]:
    """The sub-folders of `base` that hold images, sorted."""
    direct, depth = set(), len(base)
    inside: dict[str, set[str]] = defaultdict(set)
    for parts in images:
        if len(parts) > depth and parts[:depth] == base:
            inside[parts[depth]].update(parts[depth + 1 : depth + 2])
            if len(parts) == depth + 1:
                direct.add(parts[depth])
    return {top: Top(top in direct, frozenset(inside[top])) for top in sorted(inside)}


def _without_containers(
    images: Iterable[Parts], base: Parts
) -> tuple[dict[str, Top], dict[str, Parts]]:
    """The tops and where each begins: with `images/` alone in a folder, it begins there.

    That is a class all the same if it stands beside others in another folder.
    """
    tops = _tops(images, base)
    places = {name: (*base, name) for name in tops}
    several = set().union(*(top.inside for top in tops.values() if len(top.inside) > 1))
    for name, top in tops.items():
        alone = "".join(top.inside) if len(top.inside) == 1 and not top.direct else ""
        if alone not in several and names_no_class(alone):
            tops[name] = _tops(images, places[name])[alone]
            places[name] = (*places[name], alone)
    return tops, places


def _innermost(images: set[Parts], top: Top, place: Parts) -> Parts:
    """Skip what encloses the class folders of a split once more: `test_set/test_set/cat`."""
    while len(top.inside) == 1 and not top.direct:
        (name,) = top.inside
        inner = _tops(images, place)[name]
        one, other = split_of(name), split_of(place[-1])
        same = spelling_key(name) == spelling_key(place[-1]) or (
            one and other and one[0] == other[0]
        )
        if not inner.inside or not same:
            break
        place, top = (*place, name), inner
    return place
