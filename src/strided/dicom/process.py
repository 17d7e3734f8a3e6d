"""The process that decodes DICOM, within limits: files come by a pipe, pixels go back.

A stranger's file reaches codecs written in C, sequences without an end and bytes that unpack to
gigabytes. Whatever it does to this process, `data/reading/dicom.py` starts another one.
"""

import os
import signal
import struct
import sys
import time
import warnings
from pathlib import Path
from typing import BinaryIO, NamedTuple

from strided.dicom.header import MOST_PIXELS, RefusedError

REQUEST = struct.Struct("<Q")  # the number of bytes, which follow
# channels, width, height, whether it says that no text is burned in, the lengths of the study's UID
# and of the patient's identifier, and the number of bytes; these two follow, then the bytes
ANSWER = struct.Struct("<BII?BHQ")
REASON = 0  # in place of the channels: the bytes are the reason why the file is refused
NOT_INSTALLED = 3  # exit code

SECONDS = 300  # of the clock, on a busy machine
_SPARE = 128 * 2**20  # bytes of memory beside what a file and its pixels need


class Limits(NamedTuple):
    """What one file may take: pixels, seconds of CPU, and bytes of memory beside the process's own.

    `memory` None: as much as pixels of their number need.
    """

    pixels: int = MOST_PIXELS
    seconds: int = 20
    memory: int | None = None

    def words(self) -> list[str]:
        """These as `main` reads them."""
        return [str(self.pixels), str(self.seconds), str(self.memory or 0)]


ANY = Limits()


def main() -> None:
    """Decode one file after another until the pipe is closed."""
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to all processes of a run
        signal.signal(number, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a codec prints would be in an answer
    try:
        import openjpeg  # noqa: F401
        import pydicom.pixels  # noqa: F401
        import rle  # noqa: F401

        _limit("RLIMIT_CORE", 0)  # a dump would hold a patient's data,
        _limit("RLIMIT_FSIZE", 0)  # and so would any other file
    except ImportError:
        sys.exit(NOT_INSTALLED)
    pixels, seconds, memory = map(int, sys.argv[1:])
    serve(sys.stdin.buffer, answers, Limits(pixels, seconds, memory or None))


def serve(files: BinaryIO, answers: BinaryIO, limits: Limits) -> None:
    """Answer each file with its pixels or the reason why it has none."""
    own = _memory()
    while head := files.read(REQUEST.size):
        (size,) = REQUEST.unpack(head)
        _reserve(4 * size, own, limits)  # that of the last file may be too small
        content = files.read(size)
        _limit("RLIMIT_CPU", int(time.process_time()) + 1 + limits.seconds)
        signal.alarm(SECONDS)
        answer = _answer(content, own, limits)
        signal.alarm(0)
        for part in answer:
            answers.write(part)
        answers.flush()


def _answer(content: bytes, own: int, limits: Limits) -> tuple[bytes, ...]:
    from strided.dicom.pixels import pixels_of

    try:
        pixels, facts = pixels_of(content, lambda size: _reserve(size, own, limits), limits.pixels)
        height, width, *channels = pixels.shape
        packed = pixels.tobytes()
        study, patient = facts.study.encode(), facts.patient.encode("utf-8", "surrogatepass")
        lengths = len(study), len(patient), len(packed)
        head = *(channels or [1]), width, height, facts.is_clean, *lengths
        return ANSWER.pack(*head), study, patient, packed
    except RefusedError as error:
        reason = str(error)
    except MemoryError:
        reason = "DICOM that would fill the memory"
    except Exception as error:  # damaged bytes raise nearly anything, with the file's own words
        reason = f"damaged DICOM ({type(error).__name__})"
    said = reason.encode()
    return ANSWER.pack(REASON, 0, 0, False, 0, 0, len(said)), said


def _reserve(size: int, own: int, limits: Limits) -> None:
    """Let the process have so many bytes beside its own, but no more than the limit."""
    wanted = _SPARE + size
    _limit("RLIMIT_AS", own + (wanted if limits.memory is None else min(wanted, limits.memory)))


def _memory() -> int:
    """The bytes of address space in use; where the system does not tell, enough for it."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:
        return 2**30
    return pages * os.sysconf("SC_PAGESIZE")


def _limit(name: str, value: int) -> None:
    """Limit this process; a narrower limit that it was started with stays.

    ImportError on Windows: nothing is decoded without limits.
    """
    import resource

    kind = getattr(resource, name)
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


if __name__ == "__main__":
    main()
