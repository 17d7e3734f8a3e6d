"""The anchor: a file, kept elsewhere, of heads of the chain, so that a cut tail is found."""

import os
import re
from io import RawIOBase
from pathlib import Path

from strided.audit.row import now
from strided.errors import UserError

_LINE = re.compile(r"(\d{1,18}) ([0-9a-f]{64}) [0-9TZ:.-]{10,40}")
_LONGEST = 200  # bytes of a line, and more


def append(file: Path, seq: int, digest: str) -> None:
    """Add the head of a chain, on the disk when this returns. Raises OSError."""
    with open(os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "ab+", 0) as stream:
        _drop_torn(stream)
        line = f"{seq} {digest} {now()}\n".encode()
        if stream.write(line) != len(line):
            raise OSError("the disk is full")
        os.fsync(stream.fileno())


def _drop_torn(stream: RawIOBase) -> None:
    """Cut off a line that a full disk or a power cut has left without its end."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - _LONGEST))
    end = stream.read()
    if end and not end.endswith(b"\n"):
        stream.truncate(size - len(end) + end.rfind(b"\n") + 1)


def anchors_of(file: Path) -> dict[int, str]:
    """The hashes that an anchor knows, by seq. Raises UserError.

    A line without its end is one that a power cut has torn.
    """
    try:
        text = file.read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        raise _refused(file, "cannot be read") from error
    lines = text.split("\n")[:-1]
    found: dict[int, str] = {}
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line)
        if not match:
            raise _refused(file, f"is no anchor in line {number}")
        seq, digest = int(match[1]), match[2]
        if found.setdefault(seq, digest) != digest:
            raise _refused(file, f"has two hashes for row {seq}, the second in line {number}")
    if not found:
        raise _refused(file, "has no whole line")
    return found


def _refused(file: Path, why: str) -> UserError:
    return UserError(
        f"anchor={file} {why}; expected lines of a number, a hash and a time, as audit.anchor of "
        "serve writes them. Try a copy of it"
    )
