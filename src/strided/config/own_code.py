"""The user's own modules in the folder of --config-dir: found only if `trust=` names them."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any


class OwnCode(MetaPathFinder):
    """Finds these modules in a folder, after every other place: it hides none that is installed.

    A process that starts anew, as multiprocessing does on macOS, finds them too once it has
    unpickled this: it has to come before what those modules define.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder = folder
        self.names = names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a module is, None if it is not one of these."""
        if path is not None or fullname not in self.names:  # a package finds its own modules
            return None
        return PathFinder.find_spec(fullname, [str(self.folder)])

    def finds(self, names: Iterable[str], folder: Path) -> bool:
        """Whether it finds all of these modules in this folder."""
        return self.folder == folder.resolve() and set(names) <= set(self.names)

    def holds(self, name: str) -> bool:
        """Whether the folder has a module of this name, whatever `trust=` says."""
        return PathFinder.find_spec(name, [str(self.folder)]) is not None

    def __reduce__(self) -> tuple[Any, ...]:
        return _added, (self.folder, self.names)


def own_code() -> list[OwnCode]:
    """Return what finds the user's own modules here."""
    return [finder for finder in sys.meta_path if isinstance(finder, OwnCode)]


@contextmanager
def finding(packages: Iterable[str], folder: Path | None) -> Iterator[None]:
    """Find the modules of these packages in the folder, if any, inside the block."""
    names = {package.split(".")[0] for package in packages}
    if folder is None or any(known.finds(names, folder) for known in own_code()):
        yield
        return
    finder = _added(folder.resolve(), sorted(names))
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def _added(folder: Path, names: Sequence[str]) -> OwnCode:
    finder = OwnCode(folder, names)
    sys.meta_path.append(finder)
    return finder
