"""What a file is by its first bytes, where it is not what it was taken for."""

import re
from typing import NamedTuple

START_BYTES = 512  # that the functions below need


class ArchiveKind(NamedTuple):
    """An archive that is not read in place: what it is, and the command that unpacks it."""

    name: str
    command: str


_ARCHIVES = (
    (b"Rar!", ArchiveKind("a RAR archive", "7z x")),
    (b"7z\xbc\xaf\x27\x1c", ArchiveKind("a 7z archive", "7z x")),
    (b"\x1f\x8b", ArchiveKind("packed by gzip (.tar.gz, .tgz)", "tar xf")),
    (b"BZh", ArchiveKind("packed by bzip2 (.tar.bz2)", "tar xf")),
    (b"\xfd7zXZ", ArchiveKind("packed by xz (.tar.xz)", "tar xf")),
    (b"\x28\xb5\x2f\xfd", ArchiveKind("packed by Zstandard (.tar.zst)", "tar xf")),
)
_OTHERS = (
    (b"PK\3\4", "an Excel workbook (.xlsx) or another zip"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook (.xls)"),
    (b"PAR1", "a Parquet file"),
    (b"\x89HDF", "an HDF5 file"),
    (b"SQLite", "an SQLite file"),
    (b"<?xml", "an XML file"),
    (b"version https://git-lfs", "a pointer of Git LFS, whose content `git lfs pull` fetches"),
)


# its first elements are of group 8: implicit VR, or explicit VR in either order of bytes
_UNMARKED_DICOM = re.compile(
    rb"\x08\0[\0-\x20]\0(.\0\0\0|[A-Z]{2})|\0\x08\0[\0-\x20][A-Z]{2}", re.DOTALL
)
_JSON = re.compile(rb"(\xef\xbb\xbf)?\s*(\{\s*\"|\[\s*[\[{])")


def archive_kind(start: bytes) -> ArchiveKind | None:
    """The archive that begins so, other than a zip."""
    if start[257:262] == b"ustar":
        return ArchiveKind("a tar archive", "tar xf")
    return next((kind for beginning, kind in _ARCHIVES if start.startswith(beginning)), None)


def other_kind(start: bytes) -> str:
    """What else begins so; empty if that is not known."""
    if not start.strip(b"\0"):
        return "full of zeros" if start else "empty"
    if start.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "a web page, perhaps because its download needs a login"
    if _JSON.match(start):
        return "a JSON file"
    if start[128:132] == b"DICM":
        return "a DICOM file"
    if _UNMARKED_DICOM.match(start):
        return "DICOM without the mark DICM behind its first 128 bytes"
    return next((kind for beginning, kind in _OTHERS if start.startswith(beginning)), "")
