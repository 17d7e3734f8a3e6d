"""The files of a folder or of a zip read in place, and how to decode one."""

import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from strided.data.reading.decoding import ImageError, check_start, decode, image_errors
from strided.data.reading.zip_errors import zip_refused
from strided.data.reading.zipped import Member, read_member, zip_members
from strided.errors import UserError

MOST_BYTES = 500_000_000  # of one image file
_MARKED = 1024  # bytes

Stamp = tuple[int, ...]
Reader = Callable[[int], Image.Image]


@dataclass(frozen=True)
class Files:
    """stamps: for each file name, its size first, then what changes with its content.

    reader(names) decodes the file names[index], or raises ImageError with the reason. It can be
    pickled and opens the file for each read: threads and processes share nothing.
    """

    stamps: dict[str, Stamp]
    reader: Callable[[Sequence[str]], Reader]


@dataclass(frozen=True)
class FolderReader:
    """Decodes the files `names` of a folder."""

    folder: Path
    names: Sequence[str]

    def __call__(self, index: int) -> Image.Image:
        with image_errors(), open(os.path.join(self.folder, self.names[index]), "rb") as stream:
            _check_size(os.fstat(stream.fileno()).st_size)
            content = stream.read(MOST_BYTES)
        return decode(BytesIO(content))

    def mark(self, index: int) -> int:
        """A number that copies of a file share, and few other files of its size; -1 if unreadable.

        Of the last bytes: pictures begin alike.
        """
        try:
            with open(os.path.join(self.folder, self.names[index]), "rb") as stream:
                stream.seek(max(0, os.fstat(stream.fileno()).st_size - _MARKED))
                return zlib.crc32(stream.read(_MARKED))
        except OSError:
            return -1


@dataclass(frozen=True)
class ZipReader:
    """Decodes files of a zip; each row of members, int64 (N, 5), is a `Member`."""

    file: Path
    members: np.ndarray

    def __call__(self, index: int) -> Image.Image:
        member = Member(*self.members[index].tolist())
        _check_size(member.size)  # a few bytes may unpack to gigabytes
        with image_errors():
            content = read_member(self.file, member, MOST_BYTES, check_start)
        return decode(content)

    def mark(self, index: int) -> int:
        """A number that copies of a file share, and few other files of its size."""
        return int(self.members[index, 3])  # its checksum


def _check_size(size: int) -> None:
    if size > MOST_BYTES:
        raise ImageError(f"{size:,} bytes, more than the {MOST_BYTES:,} that are read")


def all_files(root: Path) -> Files:
    """List everything below a folder or in a zip."""
    if root.is_dir():
        return Files(_walk(root), lambda names: FolderReader(root, names))
    if not root.exists():
        raise UserError(
            f"data.root={root} does not exist; expected a folder or a .zip of images."
            " Try data.root=<path of your images>"
        )
    try:
        rows, members = zip_members(root)
    except (ValueError, OSError) as error:
        raise zip_refused(root, error) from error

    def reader(names: Sequence[str]) -> Reader:
        return ZipReader(root, members[[rows[name] for name in names]])

    sizes, sums = members[:, 2].tolist(), members[:, 3].tolist()
    return Files({name: (sizes[row], sums[row]) for name, row in rows.items()}, reader)


def listed_files(folder: Path, names: Iterable[str]) -> Files:
    """List the named files that exist; a name may also be an absolute path."""
    paths = {name: os.path.join(folder, name) for name in names}
    stamps = {name: _stamp(os.stat(path)) for name, path in paths.items() if os.path.isfile(path)}
    return Files(stamps, lambda names: FolderReader(folder, names))


def _walk(root: Path) -> dict[str, Stamp]:
    stamps: dict[str, Stamp] = {}
    for folder, _, names in os.walk(root, followlinks=True):
        inside = Path(folder).relative_to(root).as_posix()
        prefix = "" if inside == "." else f"{inside}/"
        for name in names:
            file = f"{folder}/{name}"
            try:
                stamps[prefix + name] = _stamp(os.stat(file))
            except FileNotFoundError:  # a broken link: listed as a broken image
                stamps[prefix + name] = _stamp(os.lstat(file))
    return stamps


def _stamp(status: os.stat_result) -> Stamp:
    # size and time can match another file: one moved here, or copied with its times
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def is_hidden(parts: Sequence[str]) -> bool:
    """Tell whether the system made a path, not the user: `.DS_Store`, `__MACOSX/._cat.jpg`."""
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def as_text(name: str) -> str:
    """Show a name as text: bytes of a file's or class's name need not be valid text."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
