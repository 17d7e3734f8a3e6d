"""The files of a folder or of a zip read in place, and how to decode one."""

import os
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from strided.data.reading.decoding import ImageError, check_start, decode, image_errors, sides
from strided.data.reading.signatures import HEAD
from strided.data.reading.walk import Stamp, stamp, walk
from strided.data.reading.zip_errors import zip_refused
from strided.data.reading.zipped import Member, read_head, read_member, zip_members
from strided.errors import UserError, one_line, sought_from

MOST_BYTES = 500_000_000  # of one image file
_MARKED = 1024  # bytes

Reader = Callable[[int], Image.Image]


@dataclass(frozen=True)
class Files:
    """stamps: for each file name, its size first, then what changes with its content.

    reader(names) decodes the file names[index], or raises ImageError with the reason. It can be
    pickled and opens the file for each read: threads and processes share nothing. head(name) is a
    file's first bytes, None if it cannot be read. Folders end in /: `folders` are those that hold
    files or none, `closed` those that cannot be opened, with the reason. `special` are pipes,
    sockets and devices. `links` says where a linked folder really is.
    """

    stamps: dict[str, Stamp]
    reader: Callable[[Sequence[str]], Reader]
    head: Callable[[str], bytes | None]
    folders: Collection[str] = ()
    closed: Mapping[str, str] = field(default_factory=dict)
    special: Collection[str] = ()
    links: Mapping[str, str] = field(default_factory=dict)


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

    def sides(self, index: int) -> tuple[int, int]:
        """Width and height as the file's header says; (0, 0) if it says nothing."""
        try:
            with open(os.path.join(self.folder, self.names[index]), "rb") as stream:
                return sides(stream)
        except OSError:
            return 0, 0


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

    def sides(self, index: int) -> tuple[int, int]:
        """Width and height as the file's header says; (0, 0) if it says nothing."""
        member = Member(*self.members[index].tolist())
        try:
            return sides(read_member(self.file, member, MOST_BYTES, check_start))
        except Exception:  # whatever is wrong with it, decoding tells
            return 0, 0


def _check_size(size: int) -> None:
    if size > MOST_BYTES:
        raise ImageError(f"{size:,} bytes, more than the {MOST_BYTES:,} that are read")


def all_files(root: Path) -> Files:
    """List everything below a folder or in a zip."""
    if root.is_dir():
        listed = folder_files(root)
        if "" not in listed.closed:
            return listed
        raise UserError(
            f"data.root={root} cannot be opened ({listed.closed['']}); expected a folder of images."
            f" Try chmod u+rx {root}, or another user"
        )
    if not root.exists():
        raise UserError(
            f"data.root={root} does not exist{sought_from(root)}; expected a folder or a"
            " .zip of images. Try data.root=<path of your images>"
        )
    try:
        rows, members, folders = zip_members(root)
    except (ValueError, OSError) as error:
        raise zip_refused(root, error) from error

    def reader(names: Sequence[str]) -> Reader:
        return ZipReader(root, members[[rows[name] for name in names]])

    def head(name: str) -> bytes | None:
        try:
            return read_head(root, Member(*members[rows[name]].tolist()), HEAD)
        except (ValueError, OSError, zlib.error):
            return None

    sizes, sums = members[:, 2].tolist(), members[:, 3].tolist()
    stamps: dict[str, Stamp] = {name: (sizes[row], sums[row]) for name, row in rows.items()}
    return Files(stamps, reader, head, folders)


def folder_files(folder: Path) -> Files:
    """List everything below a folder that can be opened."""
    tree = walk(folder)
    return Files(
        tree.stamps,
        lambda names: FolderReader(folder, names),
        lambda name: head_of(os.path.join(folder, name)),
        tree.folders,
        tree.closed,
        tree.special,
        tree.links,
    )


def head_of(file: str | Path) -> bytes | None:
    """The first bytes of a file, which tell its kind; None if it cannot be read."""
    try:
        with open(file, "rb", buffering=0) as stream:
            return stream.read(HEAD)
    except OSError:
        return None


def listed_files(folder: Path, names: Iterable[str]) -> Files:
    """List the named files that exist; a name may also be an absolute path."""
    paths = {name: os.path.join(folder, name) for name in names}
    stamps = {name: stamp(os.stat(path)) for name, path in paths.items() if os.path.isfile(path)}
    return Files(
        stamps,
        lambda names: FolderReader(folder, names),
        lambda name: head_of(os.path.join(folder, name)),
    )


def as_text(name: str) -> str:
    """Show a name within a line: bytes of a file's or class's name need not be valid text."""
    return one_line(name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
