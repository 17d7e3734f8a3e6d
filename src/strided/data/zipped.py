"""What a zip lists, and the bytes of one file in it, read without any shared handle.

zipfile is made for a few files: for 60,000 it takes half a second to list them, three times
as long, and its handle has one place in the file that forked processes would share.
Layout: PKWARE's APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.12 to 4.3.16 and 4.5.3.
"""

import struct
import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

STORED, DEFLATED = 0, 8  # unpacked no further than is asked for; other methods: all at once

_MOST_COMMENT = 0xFFFF
_END = struct.Struct("<4s6xHLLH")  # of the central directory: entries, size, offset, comment
_LOCATOR = struct.Struct("<4s4xQ4x")  # of the next
_END_64 = struct.Struct("<4s28xQQQ")  # entries, size, offset
_ENTRY = struct.Struct("<4s4xHH4xLLLHHH8xL")
_LOCAL = struct.Struct("<4s2xH18xHH")
_ENCRYPTED, _UTF8 = 0x1, 0x800
_MOST = 2**63 - 1  # that a place in a file can be
_IN_EXTRA = 0xFFFFFFFF  # a number of four bytes that stands among the extra fields, in eight


Numbers = tuple[int, int, int, int, int]  # of a Member, which takes longer to make


class Member(NamedTuple):
    """A file in a zip: where it begins, its bytes packed and unpacked, checksum and method."""

    offset: int
    packed: int
    size: int
    crc: int
    method: int


def zip_members(file: Path) -> dict[str, Numbers]:
    """Name and `Member` of all files of a zip; ValueError or OSError for one that is damaged."""
    with file.open("rb") as stream:
        entries, start, content = _directory(stream)
    try:
        return _listed(entries, start, content)
    except struct.error as error:
        raise ValueError("its list of files is cut off") from error


def _listed(entries: int, start: int, content: bytes) -> dict[str, Numbers]:
    members: dict[str, Numbers] = {}
    place = found = 0
    while place < len(content):
        (signature, flags, method, crc, packed, size, *lengths, offset) = _ENTRY.unpack_from(
            content, place
        )
        if signature != b"PK\1\2":
            raise ValueError("its list of files is damaged")
        name_end = place + _ENTRY.size + lengths[0]
        raw = content[
            place + _ENTRY.size : name_end
        ]  # cp437 takes Python's time: ASCII is the same
        name = raw.decode("utf-8" if flags & _UTF8 or raw.isascii() else "cp437")
        if _IN_EXTRA in (size, packed, offset):
            extra = content[name_end : name_end + lengths[1]]
            size, packed, offset = _large(extra, size, packed, offset)
            if max(size, packed, start + offset) > _MOST:
                raise ValueError("its list of files is damaged")
        if not name.endswith("/"):
            members[name] = start + offset, packed, size, crc, method
        place += _ENTRY.size + sum(lengths)
        found += 1
    if (found - entries) % 0x10000:  # macOS counts in two bytes, whatever there is
        raise ValueError(f"it holds {entries} files and lists {found}")
    return members


def read_member(file: Path, member: Member, most: int) -> bytes:
    """Unpack one file, `most` bytes at most; ValueError, zlib.error or OSError if damaged."""
    with file.open("rb", buffering=0) as stream:
        stream.seek(member.offset)
        signature, flags, *lengths = _LOCAL.unpack(_exactly(stream, _LOCAL.size))
        if signature != b"PK\3\4":
            raise ValueError("not where the zip says it is")
        if flags & _ENCRYPTED:
            raise ValueError("encrypted")
        stream.seek(sum(lengths), 1)
        content = _exactly(stream, min(member.packed, most))
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
        end = locator - 56  # just before it: what is in front of the zip shifts the offset there
        if end < 0 or tail[end : end + 4] != b"PK\6\6":
            raise ValueError("its end is damaged")
        _, entries, size, offset = _END_64.unpack_from(tail, end)
    start = tail_start + end - size - offset  # above 0 where something else stands in front
    if start < 0:
        raise ValueError("its end is damaged")
    stream.seek(start + offset)
    content = stream.read(size)
    return entries, start, content


def _large(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """Replace those numbers that need eight bytes by those of the extra field 1."""
    place = 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, place)
        if kind == 1:
            wide = extra[place + 4 : place + 4 + length]
            numbers = iter(struct.unpack(f"<{len(wide) // 8}Q", wide[: len(wide) // 8 * 8]))
            try:
                size, packed, offset = (
                    next(numbers) if value == _IN_EXTRA else value
                    for value in (size, packed, offset)
                )
            except RuntimeError as error:  # StopIteration within a generator
                raise ValueError("its list of files is damaged") from error
            return size, packed, offset
        place += 4 + length
    return size, packed, offset


def _exactly(stream: BinaryIO, count: int) -> bytes:
    content = stream.read(count)
    if len(content) < count:
        raise ValueError("cut off")
    return content
