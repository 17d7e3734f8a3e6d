"""List a folder tree in bounded time, with what cannot be opened and why."""

import logging
import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from strided.data.reading.leavings import is_leaving

log = logging.getLogger(__name__)

Stamp = tuple[int, ...]

_MOST_LINKS = 10  # to one folder: links that fork at each level would lead to 2**n places


@dataclass(frozen=True)
class Tree:
    """What lies below a folder, named from there; a folder's name ends in `/`.

    stamps: for each file, its size first, then what changes with its content.
    closed: for each folder that cannot be opened, the reason.
    special: pipes, sockets and devices, which are no files. links: where a linked folder is.
    """

    stamps: dict[str, Stamp] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    closed: dict[str, str] = field(default_factory=dict)
    special: list[str] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)


def walk(root: Path) -> Tree:
    """List all files and folders but what machines leave behind.

    A link to a folder is followed, unless that folder holds the link.
    """
    tree = Tree()
    links: Counter[str] = Counter()
    # each folder to list, with the places of the links that led there
    waiting: list[tuple[str, tuple[str, ...]]] = [("", ())]
    while waiting:
        inside, through = waiting.pop()
        folder = os.path.join(root, inside)
        try:
            with os.scandir(folder) as entries:
                below = [(inside + name + "/", link) for name, link in _list(entries, inside, tree)]
        except OSError as error:
            tree.closed[inside] = error.strerror or str(error)
            continue
        for name, is_link in below:
            above = through
            if is_link:
                above = (*through, os.path.realpath(folder))
                target = os.path.realpath(os.path.join(root, name))
                if _is_loop(target, above):
                    log.warning("%s is a link to a folder that holds it: not followed", name)
                    continue
                tree.links[name] = target
                links[target] += 1
                if links[target] > _MOST_LINKS:
                    tree.closed[name] = f"more than {_MOST_LINKS} links lead to this folder"
                    continue
            tree.folders.append(name)
            waiting.append((name, above))
    return tree


def _list(entries: "os._ScandirIterator[str]", inside: str, tree: Tree) -> list[tuple[str, bool]]:
    """Add a folder's files to the tree; return its folders, and which of them are links."""
    folders = []
    for entry in entries:
        try:
            if entry.is_dir():
                if not is_leaving(entry.name):
                    folders.append((entry.name, entry.is_symlink()))
                continue
            status = os.stat(entry.path)
        except OSError:  # a link that leads nowhere: listed as a broken image
            status = os.lstat(entry.path)
        if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
            tree.stamps[inside + entry.name] = stamp(status)
        elif not is_leaving(entry.name):
            tree.special.append(inside + entry.name)
    return folders


def _is_loop(target: str, places: tuple[str, ...]) -> bool:
    return any(place == target or place.startswith(os.path.join(target, "")) for place in places)


def stamp(status: os.stat_result) -> Stamp:
    """A file's size and what else changes with its content."""
    # size and time can match another file: one moved here, or copied with its times
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
