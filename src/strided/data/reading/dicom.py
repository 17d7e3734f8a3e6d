"""DICOM pictures, decoded in processes that have limits of memory and time.

All files go there, also those whose pixels need no codec: their headers alone can have sequences
without an end. One process serves many files, since a start takes half a second.
"""

import atexit
import os
import signal
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from queue import LifoQueue
from typing import BinaryIO

from PIL import Image

from strided.dicom import process
from strided.dicom.header import Facts
from strided.dicom.process import ANY, Limits

_MOST_PROCESSES = 4  # that decode at once for this process; it waits meanwhile
_MOST_BYTES = 500_000_000  # of a file
_PACKAGES = ("pydicom", "pylibjpeg", "openjpeg", "rle")
_COMMAND = (sys.executable, "-P", "-m", "strided.dicom.process")
# of Python and the loader of shared libraries
_ENVIRONMENT = (
    *("HOME", "PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONUSERBASE", "PYTHONDONTWRITEBYTECODE"),
    *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"),
)
_HOW = (
    "pip install 'strided[dicom]', or in a service without torch "
    "pip install pydicom pylibjpeg pylibjpeg-openjpeg pylibjpeg-rle"
)
STUDY, PATIENT, IS_CLEAN = "study", "patient", "is_clean"  # of a picture's info
_MODES = {1: "L", 3: "RGB"}
_LONGEST_REASON = 1000  # bytes
_PIECE = 2**20  # bytes
_OUT_OF_TIME = ("SIGXCPU", "SIGALRM")
_FROM_OUTSIDE = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")


def decode_dicom(file: BinaryIO, limits: Limits = ANY) -> Image.Image:
    """Decode to "L" or "RGB", windowed as the file says; ValueError with the reason if refused.

    Its `info` has the UID of the study and the patient's identifier, if there are any, and whether
    the file says that no text is burned in. ImportError says what to install. MemoryError is no
    fault of the file: its process was killed.
    """
    content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError(f"DICOM of more than the {_MOST_BYTES:,} bytes that are read")
    return _pool(limits).decode(content)


def start_decoder(limits: Limits) -> None:
    """Start a process before the first file comes, if DICOM is installed; do not wait for it."""
    with suppress(ImportError):
        _pool(limits).start()


def _pool(limits: Limits) -> "_Pool":
    here = os.getpid(), limits
    return _pools.get(here) or _pools.setdefault(here, _Pool(_MOST_PROCESSES, limits))


class _Pool:
    """Processes that decode, each started when all others are busy; threads may share it."""

    def __init__(self, most: int, limits: Limits) -> None:
        self._limits = limits
        self._places: LifoQueue[_Decoder | None] = LifoQueue()  # the last used is the first
        for _ in range(most):
            self._places.put(None)

    def start(self) -> None:
        """Start the process of one place, unless it has one."""
        decoder = self._places.get()
        try:
            decoder = decoder or _Decoder(self._limits)
        finally:
            self._places.put(decoder)

    def decode(self, content: bytes) -> Image.Image:
        """See decode_dicom; waits for a process that is free."""
        decoder = self._places.get()
        try:
            if decoder is None or not decoder.is_running():
                decoder = _Decoder(self._limits)
            return decoder.decode(content)
        finally:
            self._places.put(decoder)


# For each process its own: a forked one must not write into the pipes of the other.
_pools: dict[tuple[int, Limits], _Pool] = {}


class _Decoder:
    """A process that decodes one file at a time."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        if missing := [name for name in _PACKAGES if find_spec(name) is None]:
            raise ImportError(f"DICOM, which needs more packages ({', '.join(missing)}): {_HOW}")
        self._process = subprocess.Popen(
            (*_COMMAND, *limits.words()),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            close_fds=True,  # the default, on which the promise of docs/security.md rests
            env=_environment(),
            start_new_session=True,  # a terminal's Ctrl-C is for the run alone
        )
        atexit.register(self.end)

    def is_running(self) -> bool:
        """Whether it can be asked; if not, its pipes are closed."""
        if self._process.poll() is None:
            return True
        self.end()
        return False

    def end(self) -> None:
        """End the process at once; it has nothing to lose."""
        atexit.unregister(self.end)
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def decode(self, content: bytes) -> Image.Image:
        """See decode_dicom; ends the process if it does not answer as it should."""
        try:
            channels, size, facts, answer = self._ask(content)
        except (EOFError, BrokenPipeError):
            raise self._failure() from None
        except BaseException:  # such as Ctrl-C: the rest of the answer is still in the pipe
            self.end()
            raise
        if channels == process.REASON:
            raise ValueError(answer.decode())
        image = Image.frombytes(_MODES[channels], size, answer)
        image.info = {STUDY: facts.study, PATIENT: facts.patient, IS_CLEAN: facts.is_clean}
        return image

    def _ask(self, content: bytes) -> tuple[int, tuple[int, int], Facts, bytes]:
        """Channels (none: REASON), width and height, facts, and the pixels or the reason.

        EOFError or BrokenPipeError if the process has ended, ValueError if it does not answer so.
        """
        self._write(process.REQUEST.pack(len(content)))
        self._write(content)
        head = process.ANSWER.unpack(self._read(process.ANSWER.size))
        channels, width, height, is_clean, study, patient, length = head
        expected = width * height * channels
        is_reason = channels == process.REASON and length <= _LONGEST_REASON
        fits = length == expected and width * height <= self._limits.pixels
        is_picture = channels in _MODES and fits
        if not (is_reason or is_picture):
            raise ValueError("damaged DICOM: its decoder went astray")
        uid = self._read(study).decode("ascii")
        facts = Facts(uid, self._read(patient).decode("utf-8", "replace"), is_clean)
        return channels, (width, height), facts, self._read(length)

    def _write(self, content: bytes) -> None:
        assert self._process.stdin is not None
        left = memoryview(content)
        while left:
            left = left[self._process.stdin.write(left) :]

    def _read(self, count: int) -> bytes:
        assert self._process.stdout is not None
        content = bytearray()
        while len(content) < count:
            piece = self._process.stdout.read(min(count - len(content), _PIECE))
            if not piece:
                raise EOFError
            content += piece
        return bytes(content)

    def _failure(self) -> Exception:
        """Why the process has ended."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        code = self._process.poll()
        self.end()
        if code == process.NOT_INSTALLED:
            return ImportError(f"DICOM, but the packages that read it cannot be imported: {_HOW}")
        ending = _ending(code)
        if ending in _FROM_OUTSIDE:
            return MemoryError("the process that decodes DICOM was killed, maybe out of memory")
        if ending in _OUT_OF_TIME:
            return ValueError(
                f"DICOM that takes more than {self._limits.seconds} seconds to decode"
            )
        return ValueError(f"damaged DICOM, which ended its decoder ({ending})")


def _environment() -> dict[str, str]:
    """What Python needs to start and find its packages; nothing else, such as keys of services."""
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    paths = [str(Path(process.__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    own = {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    # OpenBLAS would take memory for each core
    return kept | own | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _ending(code: int | None) -> str:
    """How a process ended: the name of a signal, or its exit code."""
    try:
        return signal.Signals(-(code or 0)).name
    except ValueError:
        return f"exit code {code}"
