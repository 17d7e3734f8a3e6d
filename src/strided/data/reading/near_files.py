"""The files that nearly fit the paths of a table: another case, ending, folder or machine."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import PurePosixPath
from typing import NamedTuple

_DRIVE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")  # or what an address begins with, s3:


class Near(NamedTuple):
    """A file that nearly fits a path; it fits below `folder`, with `suffix` at the path's end."""

    name: str
    folder: str = ""
    suffix: str | None = None  # None if nothing at the end makes it fit


class NearFiles:
    """Finds files for paths, in one pass over the names: paths and names may be many.

    Names and paths are compared in NFC, without case and blanks around.
    """

    def __init__(self, paths: Sequence[str], names: Iterable[str]) -> None:
        keys = [_key(path) for path in paths]
        bases = {base for key in keys for base in (_base(key), _base(_stem(key)))}
        depths = {key.count("/") + 1 for key in keys}
        self._whole: dict[str, list[str]] = defaultdict(list)
        self._stems: dict[str, str] = {}
        self._tails: dict[str, str] = {}
        self._tail_stems: dict[str, str] = {}
        for name in names:
            key = _key(name)
            if _base(key) in bases or _base(_stem(key)) in bases:
                self._add(name, key, depths)

    def _add(self, name: str, key: str, depths: set[int]) -> None:
        self._whole[key].append(name)
        self._stems.setdefault(_stem(key), name)
        parts = key.split("/")
        for depth in depths:
            if depth < len(parts):
                tail = "/".join(parts[-depth:])
                self._tails.setdefault(tail, name)
                self._tail_stems.setdefault(_stem(tail), name)

    def same(self, path: str) -> str | None:
        """The only file whose name differs from the path in case, form or blanks at most."""
        names = self._whole.get(_key(path), ())
        return names[0] if len(names) == 1 else None

    def foreign_folder(self, paths: Sequence[str], root: str) -> str | None:
        """The folder of another machine that these absolute paths share, if it is `root` there.

        A file's bare name proves nothing: a folder must be left of the path, or be called as root.
        """
        folders = [path.split("/")[:-1] for path in paths]
        shared = takewhile(lambda parts: len(set(parts)) == 1, zip(*folders, strict=False))
        folder = ""
        for part, *_ in shared:
            folder += f"{part}/"
            rest = paths[0][len(folder) :]
            if ("/" in rest or part.casefold() == root.casefold()) and self.same(rest):
                return folder
        return None

    def near(self, path: str) -> Near | None:
        """The file that fits best, of those that do not fit."""
        key = _key(path)
        if key in self._whole:
            return Near(self._whole[key][0])
        if name := self._stems.get(key):
            return Near(name, suffix=_ending(name))
        if name := self._stems.get(_stem(key)):
            return Near(name)
        if name := self._tails.get(key):
            return Near(name, _above(name, key), "")
        if name := self._tail_stems.get(key):
            return Near(name, _above(name, key), _ending(name))
        if name := self._tail_stems.get(_stem(key)):
            return Near(name)
        return self._without_folders(key)

    def _without_folders(self, key: str) -> Near | None:
        while "/" in key:
            key = key.partition("/")[2]
            if names := self._whole.get(key):
                return Near(names[0])
            if name := self._stems.get(key) or self._stems.get(_stem(key)):
                return Near(name)
        return None


def slashed(path: str) -> str:
    r"""A path of Windows with / for \: `.\img\1.jpg` is `img/1.jpg`."""
    return PurePosixPath(path.replace("\\", "/")).as_posix()


def is_absolute(path: str) -> bool:
    r"""Whether a path with / begins at a root, a drive (C:/) or a server (//host/, s3://host/)."""
    return path.startswith("/") or bool(_DRIVE.match(path))


def remedy(near: Iterable[Near | None]) -> Near | None:
    """One that stands for all: the folder to read below and the suffix to add are the same."""
    first, *others = [*near] or [None]
    if first is None or first.suffix is None:
        return None
    change = (first.folder, first.suffix)
    same = all(other and (other.folder, other.suffix) == change for other in others)
    return first if same else None


def in_one_folder(near: Sequence[Near | None]) -> Near | None:
    """The remedy, were the files of all paths in one folder; None if two would have one name."""
    bare = [file for file in near if file and file.name.rpartition("/")[0] == file.folder]
    names = {_base(file.name) for file in bare}
    return remedy(file._replace(folder="") for file in bare) if len(names) == len(near) else None


def _key(path: str) -> str:
    if not path.isascii():
        path = unicodedata.normalize("NFC", path)
        return "/".join(
            part.strip() for part in unicodedata.normalize("NFC", path.casefold()).split("/")
        )
    path = path.lower()
    return "/".join(map(str.strip, path.split("/"))) if " " in path else path


def _base(key: str) -> str:
    return key.rpartition("/")[2]


def _stem(key: str) -> str:
    """Without its ending: one that begins with a letter, so that 1.2.840 stays whole."""
    return key.removesuffix(_ending(key))


def _ending(name: str) -> str:
    ending = re.search(r"(?<=[^/])\.[A-Za-z][A-Za-z0-9]{0,4}$", name)
    return ending[0] if ending else ""


def _above(name: str, key: str) -> str:
    return "/".join(name.split("/")[: -(key.count("/") + 1)])
