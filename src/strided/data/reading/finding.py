"""Find the files that a table lists, as written on any machine, in a folder or a zip."""

import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path, PurePosixPath

from strided.data.reading.files import Files, all_files, listed_files
from strided.data.reading.leavings import is_hidden
from strided.data.reading.near_files import Near, NearFiles, is_absolute, slashed

log = logging.getLogger(__name__)

_MOST_NAMES = 2_000_000  # that are looked through for missing files


@dataclass(frozen=True)
class Found:
    """For each path the name of its file among `files` (None: missing) and how it is reported."""

    files: Files
    names: list[str | None]
    paths: list[str]
    others: NearFiles

    def near(self, path: str) -> Near | None:
        """The file that nearly fits a missing path."""
        return self.others.near(slashed(path))


def find_files(root: Path, paths: Sequence[str]) -> Found:
    r"""Find each path as it is; else with / for \, in another case or Unicode form.

    If absolute paths of another machine share a folder that holds what root holds, it is root. One
    folder that encloses all of a zip need not be in the paths. A file is reported by its name.
    """
    place = _Folder(root) if root.is_dir() else _Zip(root)
    spelled = {path: path for path in place.present(paths)}
    windows = {path: slashed(path) for path in paths if path not in spelled and "\\" in path}
    present = place.present(windows.values())
    spelled |= {path: name for path, name in windows.items() if name in present}
    missing = {path: slashed(path) for path in paths if path not in spelled}
    others = NearFiles(list(missing.values()), place.all_names() if missing else ())
    fits = _fitting(missing, place, others, root)
    present = place.present(fits.values())
    spelled |= {path: name for path, name in fits.items() if name in present}
    names = [place.name_of[spelled[path]] if path in spelled else None for path in paths]
    shown = _composed([spelled.get(path, path) for path in paths])
    return Found(place.files, names, shown, others)


def _fitting(
    missing: dict[str, str], place: "_Folder | _Zip", others: NearFiles, root: Path
) -> dict[str, str]:
    """The files that are meant by paths which no file has, where there is no doubt."""
    fits = {p: name for p, tidy in missing.items() if (name := others.same(tidy)) not in (None, p)}
    if fits:
        path, name = next(iter(fits.items()))
        log.info("%d paths differ from their files in spelling: %s is %s", len(fits), path, name)
    absolute = {p: tidy for p, tidy in missing.items() if p not in fits and is_absolute(tidy)}
    if folder := others.foreign_folder(list(absolute.values()), root.resolve().stem):
        log.warning("paths in %s are looked for in data.root=%s", folder, root)
        for path, tidy in absolute.items():
            if name := others.same(tidy[len(folder) :]):
                fits[path] = place.short(name)
    return fits


class _Folder:
    """A folder: only what is asked for is looked at."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = listed_files(root, ())
        self.name_of: dict[str, str] = {}

    def present(self, paths: Iterable[str]) -> set[str]:
        """Those of the paths that are files, which are then known."""
        stamps = listed_files(self.root, paths).stamps
        self.files = replace(self.files, stamps=self.files.stamps | stamps)
        self.name_of.update((name, name) for name in stamps)
        return set(stamps)

    def all_names(self) -> Iterator[str]:
        """Every file below, to some large number."""
        return islice(_names_below(self.root), _MOST_NAMES)

    def short(self, name: str) -> str:
        """The name itself."""
        return name


class _Zip:
    """A zip; names are known with and without one folder that encloses all others."""

    def __init__(self, file: Path) -> None:
        self.files = all_files(file)
        self.name_of = {name: name for name in self.files.stamps}
        parts = [(name, PurePosixPath(name).parts) for name in self.files.stamps]
        visible = [(name, split) for name, split in parts if not is_hidden(split)]
        self._own = file.stem + "/"
        if len({split[0] for _, split in visible}) == 1:
            for name, _ in visible:
                self.name_of.setdefault(name.partition("/")[2], name)

    def present(self, paths: Iterable[str]) -> set[str]:
        """Those of the paths that are files."""
        return {path for path in paths if path in self.name_of}

    def all_names(self) -> Iterable[str]:
        """Every file."""
        return self.name_of

    def short(self, name: str) -> str:
        """A file's name without the folder that the zip is called after, as in that folder."""
        inside = name.removeprefix(self._own)
        return inside if self.name_of.get(inside) == name else name


def _names_below(root: Path) -> Iterator[str]:
    seen = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        place = os.path.realpath(folder)
        if place in seen:  # a link led here before
            folders.clear()
            continue
        seen.add(place)
        inside = Path(folder).relative_to(root).as_posix()
        prefix = "" if inside == "." else f"{inside}/"
        yield from (prefix + name for name in names)


def _composed(paths: list[str]) -> list[str]:
    """The paths in NFC, as they are compared; but not where two would become one."""
    if all(map(str.isascii, paths)):
        return paths
    composed = [unicodedata.normalize("NFC", path) for path in paths]
    meant = Counter(dict(zip(paths, composed, strict=True)).values())
    return [new if meant[new] == 1 else old for old, new in zip(paths, composed, strict=True)]
