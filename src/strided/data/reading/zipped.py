"""List the files of a zip and read the bytes of one, without any shared handle.

zipfile is made for a few files: it takes half a second to list 60,000, three times as long.
Its handle has one position in the file, which forked processes would share.
Layout: PKWARE's APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.12 to 4.3.16 and 4.5.3.
"""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from strided.data.reading.zip_errors import (
    ENCRYPTED,
    ZipError,
    locked,
    packed_otherwise,
    without_end,
)
from strided.data.reading.zip_names import ENTRY_BYTES, extra_field, member_names

STORED, DEFLATED = 0, 8  # can be unpacked in part; other methods unpack everything at once

_CHUNK = 1 << 20  # bytes that are unpacked at once
_MOST_COMMENT = 0xFFFF
_END = struct.Struct("<4sH4xHLLH")  # part, entries; size, offset of their list; comment
_LOCATOR = struct.Struct("<4s4xQ4x")  # offset of the next
_END_64 = struct.Struct("<4s28xQQQ")  # entries, size, offset
_FIELDS = {  # of an entry of the list of files: type, first byte
    "signature": ("<u4", 0),
    "host": ("u1", 5),
    "flags": ("<u2", 8),
    "method": ("<u2", 10),
    "crc": ("<u4", 16),
    "packed": ("<u4", 20),
    "size": ("<u4", 24),
    "name": ("<u2", 28),
    "extra": ("<u2", 30),
    "offset": ("<u4", 42),
}
_ENTRY = np.dtype(
    {
        "names": list(_FIELDS),
        "formats": [kind for kind, _ in _FIELDS.values()],
        "offsets": [start for _, start in _FIELDS.values()],
        "itemsize": ENTRY_BYTES,
    }
)
_LENGTHS = struct.Struct("<HHH")  # of an entry's name, extra fields and comment; at byte 28
_LOCAL = struct.Struct("<4s2xH18xHH")
_MOST = 2**63 - 1  # largest possible position in a file
_IN_EXTRA = 0xFFFFFFFF  # marks a number whose eight bytes are in the extra fields


class Member(NamedTuple):
    """A file in a zip: where it begins, its bytes packed and unpacked, checksum and method."""

    offset: int
    packed: int
    size: int
    crc: int
    method: int


class ZipListing(NamedTuple):
    """`rows` maps a file's name to its row of `members`, int64 (N, 5); each row is a `Member`.

    `folders` are the folders that the zip lists, which end in /: it need not list any.
    """

    rows: dict[str, int]
    members: np.ndarray
    folders: list[str]


def zip_members(file: Path) -> ZipListing:
    """List all files of a zip; raises ValueError or OSError for one that cannot be read."""
    with file.open("rb") as stream:
        entries, start, content = _directory(stream, file)
    places = _places(content)
    if (len(places) - entries) % 0x10000:  # macOS always stores the count in two bytes
        raise ValueError(f"it holds {entries} files and lists {len(places)}")
    if not places:
        raise ZipError("it holds no files", "zipping the folder that holds the images")
    # all numbers at once: entry by entry takes Python three times as long
    table = np.frombuffer(content, np.uint8)[np.add.outer(places, np.arange(ENTRY_BYTES))]
    found = table.view(_ENTRY).reshape(-1)
    if (found["signature"] != int.from_bytes(b"PK\1\2", "little")).any():
        raise ValueError("its list of files is damaged")
    columns = ("offset", "packed", "size", "crc", "method")
    members = np.stack([found[column].astype(np.int64) for column in columns], axis=1)
    for row in np.flatnonzero((members[:, :3] == _IN_EXTRA).any(axis=1)).tolist():
        members[row, :3] = _wide_numbers(content, places[row], *members[row, :3].tolist())
    members[:, 0] += start
    if (members[:, :3] < 0).any():  # so large that the sum overflows eight bytes
        raise ValueError("its list of files is damaged")
    names = member_names(file, content, places, found)
    rows = dict(zip(names, range(len(names)), strict=True))
    folders = [name for name in rows if name[-1:] == "/"]
    for name in folders:
        del rows[name]
    _check_packing(file, rows, found)
    return ZipListing(rows, members, [name for name in folders if name != "/"])


def _check_packing(file: Path, rows: dict[str, int], found: np.ndarray) -> None:
    locks = (found["flags"] & ENCRYPTED) > 0
    strange = locks | ~np.isin(found["method"], (STORED, DEFLATED))
    if strange.any() and (name := next((n for n, row in rows.items() if strange[row]), "")):
        refused = locked if locks[rows[name]] else packed_otherwise
        raise refused(file, name, int(found["method"][rows[name]]))


def _places(content: bytes) -> list[int]:
    """Where each entry of a directory begins."""
    places = []
    place = 0
    try:
        while place < len(content):
            places.append(place)
            place += ENTRY_BYTES + sum(_LENGTHS.unpack_from(content, place + 28))
    except struct.error as error:
        raise ValueError("its list of files is cut off") from error
    if place > len(content):
        raise ValueError("its list of files is cut off")
    return places


def read_member(
    file: Path, member: Member, most: int, check_start: Callable[[bytes], None] | None = None
) -> BytesIO:
    """Unpack one file, at most `most` bytes; ValueError, zlib.error or OSError if damaged.

    check_start sees the first bytes of a large file before the rest is unpacked, and may raise.
    """
    content = _packed(file, member, most)
    most = min(member.size, most)
    if member.method != STORED and most > _CHUNK:
        unpacked = _unpack_large(content, most, check_start)
        _check(unpacked.getbuffer(), member)
        return unpacked
    if member.method != STORED:
        content = zlib.decompressobj(-15).decompress(content, max(1, most))
    _check(content, member)
    return BytesIO(content)  # shares the bytes; a view of its buffer would copy them


def _check(unpacked: bytes | memoryview, member: Member) -> None:
    if len(unpacked) != member.size or zlib.crc32(unpacked) != member.crc:
        raise ValueError("damaged within the zip: its checksum is another")


def read_head(file: Path, member: Member, count: int) -> bytes:
    """Unpack the first `count` bytes of a file, up to 256, unchecked; errors as of read_member."""
    content = _packed(file, member, 1024)  # the tables of deflate's first block fit
    if member.method == DEFLATED:
        return zlib.decompressobj(-15).decompress(content, count)
    return content[:count]


def _packed(file: Path, member: Member, most: int) -> bytes:
    with file.open("rb", buffering=0) as stream:
        stream.seek(member.offset)
        signature, flags, *lengths = _LOCAL.unpack(_read_exactly(stream, _LOCAL.size))
        if signature != b"PK\3\4":
            raise ValueError("not where the zip says it is")
        if flags & ENCRYPTED:
            raise ValueError("encrypted")
        stream.seek(sum(lengths), 1)
        return _read_exactly(stream, min(member.packed, most))


def _unpack_large(
    content: bytes, most: int, check_start: Callable[[bytes], None] | None
) -> BytesIO:
    """Unpack piece by piece: in one go, zlib would hold all of it twice."""
    unpacked = BytesIO()
    stream = zlib.decompressobj(-15)
    for start in range(0, len(content), _CHUNK):
        packed = content[start : start + _CHUNK]
        while packed and (left := most - unpacked.tell()):
            piece = stream.decompress(packed, min(_CHUNK, left))
            if check_start is not None and not unpacked.tell():
                check_start(piece)
            unpacked.write(piece)
            packed = stream.unconsumed_tail
    unpacked.write(stream.flush()[: most - unpacked.tell()])
    unpacked.seek(0)
    return unpacked


def _directory(stream: BinaryIO, file: Path) -> tuple[int, int, bytes]:
    """The number of entries, where the zip begins in its file, and the bytes of the directory."""
    length = stream.seek(0, 2)
    tail_start = max(0, length - _MOST_COMMENT - _END.size - _LOCATOR.size - 56)
    stream.seek(tail_start)
    tail = stream.read()
    end = tail.rfind(b"PK\5\6")
    if end < 0 or end + _END.size > len(tail):
        raise without_end(file)
    _, part, entries, size, offset, _ = _END.unpack_from(tail, end)
    locator = end - _LOCATOR.size
    if locator >= 0 and tail[locator : locator + 4] == b"PK\6\7":
        end = locator - 56  # just before it: content in front of the zip shifts the stored offset
        if end < 0 or tail[end : end + 4] != b"PK\6\6":
            raise ValueError("its end is damaged")
        _, entries, size, offset = _END_64.unpack_from(tail, end)
    if part not in (0, 0xFFFF):
        raise ZipError("it is the last of several parts", "joining them: zip -s 0 <it> --out <new>")
    start = tail_start + end - size - offset  # above 0 if other content stands in front
    if start < 0:
        raise ValueError("its end is damaged")
    stream.seek(start + offset)
    content = stream.read(size)
    return entries, start, content


def _wide_numbers(
    content: bytes, place: int, offset: int, packed: int, size: int
) -> tuple[int, int, int]:
    """Take an entry's offset and sizes from its extra field 1 where they need eight bytes."""
    name, length, _ = _LENGTHS.unpack_from(content, place + 28)
    begin = place + ENTRY_BYTES + name
    wide = extra_field(content[begin : begin + length], 1)
    if wide is None:
        return offset, packed, size
    numbers = struct.unpack(f"<{len(wide) // 8}Q", wide[: len(wide) // 8 * 8])
    absent = [value == _IN_EXTRA for value in (size, packed, offset)]
    if sum(absent) > len(numbers) or max(numbers, default=0) > _MOST:
        raise ValueError("its list of files is damaged")
    given = iter(numbers)
    size, packed, offset = (
        next(given) if gone else value
        for gone, value in zip(absent, (size, packed, offset), strict=True)
    )
    return offset, packed, size


def _read_exactly(stream: BinaryIO, count: int) -> bytes:
    content = stream.read(count)
    if len(content) < count:
        raise ValueError("cut off")
    return content
