"""List the files of a zip and read the bytes of one, without any shared handle.

zipfile is made for a few files: it takes half a second to list 60,000, three times as long.
Its handle has one position in the file, which forked processes would share.
Layout: PKWARE's APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.12 to 4.3.16 and 4.5.3.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

STORED, DEFLATED = 0, 8  # can be unpacked in part; other methods unpack everything at once

_MOST_COMMENT = 0xFFFF
_END = struct.Struct("<4s6xHLLH")  # of the central directory: entries, size, offset, comment
_LOCATOR = struct.Struct("<4s4xQ4x")  # offset of the next
_END_64 = struct.Struct("<4s28xQQQ")  # entries, size, offset
_ENTRY = np.dtype(
    {
        "names": ["signature", "flags", "method", "crc", "packed", "size", "name", "offset"],
        "formats": ["<u4", "<u2", "<u2", "<u4", "<u4", "<u4", "<u2", "<u4"],
        "offsets": [0, 8, 10, 16, 20, 24, 28, 42],
        "itemsize": 46,
    }
)
_LENGTHS = struct.Struct("<HHH")  # of an entry's name, extra fields and comment; at byte 28
_LOCAL = struct.Struct("<4s2xH18xHH")
_ENCRYPTED, _UTF8 = 0x1, 0x800
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
    """`rows` maps a file's name to its row of `members`, int64 (N, 5); each row is a `Member`."""

    rows: dict[str, int]
    members: np.ndarray


def zip_members(file: Path) -> ZipListing:
    """List all files of a zip; raises ValueError or OSError for a damaged one."""
    with file.open("rb") as stream:
        entries, start, content = _directory(stream)
    places = _places(content)
    if (len(places) - entries) % 0x10000:  # macOS always stores the count in two bytes
        raise ValueError(f"it holds {entries} files and lists {len(places)}")
    # all numbers at once: entry by entry takes Python three times as long
    table = np.frombuffer(content, np.uint8)[np.add.outer(places, np.arange(_ENTRY.itemsize))]
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
    names = _names(content, places, found)
    return ZipListing({n: row for row, n in enumerate(names) if not n.endswith("/")}, members)


def _places(content: bytes) -> list[int]:
    """Where each entry of a directory begins."""
    places = []
    place = 0
    try:
        while place < len(content):
            places.append(place)
            place += _ENTRY.itemsize + sum(_LENGTHS.unpack_from(content, place + 28))
    except struct.error as error:
        raise ValueError("its list of files is cut off") from error
    if place > len(content):
        raise ValueError("its list of files is cut off")
    return places


def _names(content: bytes, places: list[int], found: np.ndarray) -> Iterator[str]:
    lengths, in_utf8 = found["name"].tolist(), ((found["flags"] & _UTF8) > 0).tolist()
    for place, length, is_utf8 in zip(places, lengths, in_utf8, strict=True):
        raw = content[place + 46 : place + 46 + length]
        # decoding cp437 is slow in Python; for ASCII it is the same
        yield raw.decode("utf-8" if is_utf8 or raw.isascii() else "cp437")


def read_member(file: Path, member: Member, most: int) -> bytes:
    """Unpack one file, at most `most` bytes; ValueError, zlib.error or OSError if damaged."""
    with file.open("rb", buffering=0) as stream:
        stream.seek(member.offset)
        signature, flags, *lengths = _LOCAL.unpack(_read_exactly(stream, _LOCAL.size))
        if signature != b"PK\3\4":
            raise ValueError("not where the zip says it is")
        if flags & _ENCRYPTED:
            raise ValueError("encrypted")
        stream.seek(sum(lengths), 1)
        content = _read_exactly(stream, min(member.packed, most))
    if member.method == DEFLATED:
        content = zlib.decompressobj(-15).decompress(content, max(1, min(member.size, most)))
    if len(content) != member.size or zlib.crc32(content) != member.crc:
        raise ValueError("damaged within the zip: its checksum is another")
    return content


def _directory(stream: BinaryIO) -> tuple[int, int, bytes]:
    """The number of entries, where the zip begins in its file, and the bytes of the directory."""
    length = stream.seek(0, 2)
    tail_start = max(0, length - _MOST_COMMENT - _END.size - _LOCATOR.size - 56)
    stream.seek(tail_start)
    tail = stream.read()
    end = tail.rfind(b"PK\5\6")
    if end < 0 or end + _END.size > len(tail):
        raise ValueError("not a zip, or its end is missing")
    _, entries, size, offset, _ = _END.unpack_from(tail, end)
    locator = end - _LOCATOR.size
    if locator >= 0 and tail[locator : locator + 4] == b"PK\6\7":
        end = locator - 56  # just before it: content in front of the zip shifts the stored offset
        if end < 0 or tail[end : end + 4] != b"PK\6\6":
            raise ValueError("its end is damaged")
        _, entries, size, offset = _END_64.unpack_from(tail, end)
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
    extra = content[place + 46 + name : place + 46 + name + length]
    start = 0
    while start + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, start)
        if kind == 1:
            wide = extra[start + 4 : start + 4 + length]
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
        start += 4 + length
    return offset, packed, size


def _read_exactly(stream: BinaryIO, count: int) -> bytes:
    content = stream.read(count)
    if len(content) < count:
        raise ValueError("cut off")
    return content
