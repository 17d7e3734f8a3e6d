"""Why a zip cannot be read in place, and what helps."""

from pathlib import Path

from strided.data.reading.file_kinds import START_BYTES, archive_kind, other_kind
from strided.errors import UserError, one_line

ENCRYPTED = 0x1  # flag of an entry
_AES = 99
_OF_UNZIP = (0, 8, 9, 12)  # methods that Info-ZIP's unzip 6 knows, with an old password too
_METHODS = {
    9: "Deflate64, as Windows does for large folders",
    12: "bzip2",
    14: "LZMA",
    93: "Zstandard",
    95: "XZ",
    98: "PPMd",
    _AES: "AES encryption",
}


class ZipError(ValueError):
    """A zip that cannot be read in place: the reason, and what to try."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(reason)
        self.advice = advice


def without_end(file: Path) -> ZipError:
    """The error for a file that has no list of a zip's files at its end."""
    with file.open("rb") as stream:
        start = stream.read(START_BYTES)
    size = file.stat().st_size
    if start.startswith(b"PK"):
        return ZipError(
            f"its end is missing after {size:,} bytes",
            "copying or downloading it once more, since it was cut off, or joining its parts"
            " (.z01, .z02, ...) if it was split",
        )
    if archive := archive_kind(start):
        advice = f"unpacking it ({archive.command} {file.name}), and data.root=<that folder>"
        return ZipError(f"it is {archive.name}", advice)
    kind = other_kind(start)
    return ZipError(
        f"it is {kind}" if kind else "it is no zip, or its end is missing",
        "copying or downloading it once more",
    )


def locked(file: Path, name: str, method: int) -> ZipError:
    """The error for a file in a zip that needs a password."""
    by_aes = " (by AES, which 7-Zip can read)" if method == _AES else ""
    return ZipError(
        f"a password locks {one_line(name)}{by_aes}",
        f"unpacking it with the password ({_command(method)} {file.name}), and"
        " data.root=<that folder>",
    )


def packed_otherwise(file: Path, name: str, method: int) -> ZipError:
    """The error for a file in a zip that is packed by a method that is not read."""
    if method == _AES:
        return locked(file, name, method)
    return ZipError(
        f"{one_line(name)} is packed by method {method} ({_METHODS.get(method, 'rare')}), not by"
        " Deflate",
        f"unpacking it ({_command(method)} {file.name}), and data.root=<that folder>",
    )


def _command(method: int) -> str:
    return "unzip" if method in _OF_UNZIP else "7z x"


def zip_refused(root: Path, error: ValueError | OSError) -> UserError:
    """What the user is told of a zip that cannot be listed."""
    advice = getattr(error, "advice", "copying it once more, or unzipping it")
    reason = getattr(error, "strerror", None) or error
    return UserError(
        f"data.root={root} is no readable zip: {reason}; expected a folder or a .zip of images."
        f" Try {advice}"
    )
