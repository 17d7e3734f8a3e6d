"""What the files of a zip are called: PKWARE's APPNOTE.TXT 6.3.10, 4.4.17, 4.6.9 and appendix D.

Before 2006 a zip could not say in which encoding its names are, and many tools still do not.
"""

import logging
import re
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from strided.data.reading.zip_errors import ZipError

log = logging.getLogger(__name__)

ENTRY_BYTES = 46  # of an entry in the list of files, before its name
_UNICODE_PATH_KIND = 0x7075  # "up"
_UNICODE_PATH = struct.Struct("<BL")  # version, and the checksum of the name that it replaces
_WINDOWS = (0, 10, 14)  # hosts: FAT, NTFS, VFAT
_DRIVE = re.compile(r"[A-Za-z]:/")


def member_names(file: Path, content: bytes, places: Sequence[int], found: np.ndarray) -> list[str]:
    """The names of all entries, those of folders with / at the end.

    A Unicode extra field wins if it was made for this name: some tools leave only ?? in the name
    itself. Else a name is UTF-8 if it can be, else cp437, as the format says, with a warning.
    Raises ZipError for names that no folder can hold.
    """
    ends = [
        place + ENTRY_BYTES + n for place, n in zip(places, found["name"].tolist(), strict=True)
    ]
    raws = [content[p + ENTRY_BYTES : end] for p, end in zip(places, ends, strict=True)]
    names, guessed = _decoded(raws)
    if b"up" in content:  # that extra field's number, or part of anything else
        extras = found["extra"].tolist()
        for row in np.flatnonzero(found["extra"]).tolist():
            extra = content[ends[row] : ends[row] + extras[row]]
            if (name := _unicode_path(extra, raws[row])) is not None:
                names[row] = name
                guessed.discard(row)
    if "\\" in "\n".join(names):  # one search in all names takes no time
        names = _with_slashes(names, found["host"].tolist(), guessed)
    if guessed:
        _warn(file, [names[row] for row in sorted(guessed)])
    return _checked(file, names)


def _decoded(raws: list[bytes]) -> tuple[list[str], set[int]]:
    """The names, and the places of those that are not in UTF-8."""
    try:
        return [raw.decode() for raw in raws], set()
    except UnicodeDecodeError:
        pass
    names: list[str] = []
    guessed: set[int] = set()
    for row, raw in enumerate(raws):
        try:
            names.append(raw.decode())
        except UnicodeDecodeError:
            names.append(raw.decode("cp437"))
            guessed.add(row)
    return names, guessed


def extra_field(extra: bytes, kind: int) -> bytes | None:
    """The first of an entry's extra fields of that kind."""
    start = 0
    while start + 4 <= len(extra):
        this, length = struct.unpack_from("<HH", extra, start)
        if this == kind:
            return extra[start + 4 : start + 4 + length]
        start += 4 + length
    return None


def _unicode_path(extra: bytes, raw: bytes) -> str | None:
    field = extra_field(extra, _UNICODE_PATH_KIND)
    if field is None or len(field) < _UNICODE_PATH.size:
        return None
    version, crc = _UNICODE_PATH.unpack_from(field)
    if version != 1 or crc != zlib.crc32(raw):  # the file was renamed by a tool that ignores it
        return None
    try:
        return field[_UNICODE_PATH.size :].decode()
    except UnicodeDecodeError:
        return None


def _with_slashes(names: list[str], hosts: list[int], guessed: set[int]) -> list[str]:
    r"""Replace \ where it stands between folders, as some tools write it on Windows.

    On Unix it may belong to a name, and in the encodings of East Asia to a character. So a name
    without / tells the two apart, and on Unix a zip without any /.
    """
    anywhere = any("/" in name[:-1] for name in names)
    plain = []
    for row, (name, host) in enumerate(zip(names, hosts, strict=True)):
        has_folders = "/" in name[:-1] if host in _WINDOWS else anywhere
        known = host in _WINDOWS and row not in guessed  # no name on Windows holds \
        plain.append(name.replace("\\", "/") if known or not has_folders else name)
    return plain


def _warn(file: Path, guessed: list[str]) -> None:
    log.warning(
        "%s: %d names are not in UTF-8 and do not say in what; read as cp437, for example %s."
        " If that looks wrong, unpack it in the right encoding, for Japanese with"
        " python -m zipfile --metadata-encoding cp932 -e %s <folder>, and data.root=<folder>",
        file.name,
        len(guessed),
        guessed[0],
        file.name,
    )


def _checked(file: Path, names: list[str]) -> list[str]:
    """Without . and doubled / in the names; ZipError for names that lead out of the zip."""
    files = [name for name in names if name[-1:] != "/"]
    joined = "/" + "/\n/".join(files) + "/"
    if "\0" in joined:
        _refuse(file, files, lambda name: "\0" in name, "has a zero byte")
    if "/../" in joined:
        _refuse(file, files, lambda name: ".." in name.split("/"), "leads out of the zip by ..")
    doubled = "//" in joined
    if doubled:
        _refuse(file, files, lambda name: not name, "is empty")
        _refuse(file, files, lambda name: name.startswith("/"), "begins at the root")
    if files and all(_DRIVE.match(name) for name in files):
        _refuse(file, files, lambda name: True, "begins with a drive")
    if doubled or "/./" in joined:
        names = [_tidy(name) for name in names]
        files = [name for name in names if name[-1:] != "/"]
    if len(set(files)) < len(files):
        count = Counter(files)
        _refuse(file, files, lambda name: count[name] > 1, "is listed twice")
    return names


def _tidy(name: str) -> str:
    end = "/" if name.endswith("/") else ""
    return "/".join(part for part in name.split("/") if part not in ("", ".")) + end


def _refuse(file: Path, names: list[str], is_wrong: Callable[[str], bool], problem: str) -> None:
    for name in filter(is_wrong, names):
        raise ZipError(
            f"the name {name!r} {problem}",
            f"unzipping {file.name} into a new folder, and data.root=<the folder of its images>",
        )
