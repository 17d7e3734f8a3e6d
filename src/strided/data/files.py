"""The files of a folder, or of a zip that is read in place; how one becomes an image."""

import os
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

from PIL import Image

from strided.data.decoding import ImageError, decode, image_errors
from strided.errors import UserError

MOST_BYTES = 500_000_000  # of one image file

# zipfile unpacks no more of these two than is asked for; of the others, all it is handed at once.
_BOUNDED_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

Stamp = tuple[str, ...]


@dataclass(frozen=True)
class Files:
    """stamps: the name of each file, and what changes with its content."""

    stamps: dict[str, Stamp]
    open: Callable[[str], IO[bytes]]

    def image(self, name: str) -> Image.Image:
        """Decode one file; ImageError says why it cannot be."""
        size = int(self.stamps[name][0])
        if size > MOST_BYTES:  # of a zip: a few bytes there may unpack to gigabytes
            raise ImageError(f"{size:,} bytes, more than the {MOST_BYTES:,} that are read")
        with image_errors(), self.open(name) as stream:
            content = stream.read(MOST_BYTES)  # and not what a zip forgets to say of itself
        return decode(BytesIO(content))


def all_files(root: Path) -> Files:
    """Everything below a folder or in a zip."""
    if root.is_dir():
        return Files(_walk(root), lambda name: (root / name).open("rb"))
    if not root.exists():
        raise UserError(
            f"data.root={root} does not exist; expected a folder or a .zip of images."
            " Try data.root=<path of your images>"
        )
    try:
        archive = zipfile.ZipFile(root)  # reads of several threads are safe: it locks each
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(
            f"data.root={root} is no readable zip ({error}); expected a folder or a .zip of"
            " images. Try unzipping it, or copy it once more"
        ) from error
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    for entry in entries:
        if entry.compress_type not in _BOUNDED_METHODS:
            raise UserError(
                f"data.root={root} packs {entry.filename} by zip's method {entry.compress_type};"
                " expected files that are stored or deflated. Try unzipping it, or zip it anew"
            )
    stamps: dict[str, Stamp] = {e.filename: (str(e.file_size), str(e.CRC)) for e in entries}
    opened = {os.getpid(): archive}

    def read(name: str) -> IO[bytes]:
        # the place in a file is shared by a process and its forks, such as a DataLoader's workers
        own = opened.get(os.getpid()) or opened.setdefault(os.getpid(), zipfile.ZipFile(root))
        return own.open(name)

    return Files(stamps, read)


def listed_files(folder: Path, names: Iterable[str]) -> Files:
    """Those of the named files that are there; a name may also be an absolute path."""
    stamps = {name: _stamp(folder / name) for name in names if os.path.isfile(folder / name)}
    return Files(stamps, lambda name: (folder / name).open("rb"))


def _walk(root: Path) -> dict[str, Stamp]:
    stamps: dict[str, Stamp] = {}
    for folder, _, names in os.walk(root, followlinks=True):
        inside = Path(folder).relative_to(root)
        for name in names:
            stamps[(inside / name).as_posix()] = _stamp(Path(folder, name))
    return stamps


def _stamp(file: Path) -> Stamp:
    # a link to nothing has the stamp of the link: it is listed as a broken image
    status = file.stat() if file.exists() else file.lstat()
    # size and time alone may be those of another file: moved here, or copied with its times
    ends = status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
    return tuple(str(value) for value in ends)


def is_hidden(parts: tuple[str, ...]) -> bool:
    """Tell whether a path is none of the user's own making: `.DS_Store`, `__MACOSX/._cat.jpg`."""
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)
