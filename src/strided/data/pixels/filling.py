"""Decode the images of a source into memory-mapped arrays, in one process per core.

Threads would not do: tiny images spend their time in Python, where threads wait for each other.
"""

import errno
import hashlib
import os
import time
import zlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import current_process, get_start_method
from pathlib import Path
from typing import NamedTuple

import numpy as np

from strided.config.own_code import OwnCode, own_code
from strided.data.pixels.copies import DIGEST_BYTES, pixel_digest
from strided.data.preprocessing import Preprocessing
from strided.data.reading.decoding import ImageError
from strided.data.reading.depth import brightness
from strided.data.reading.files import Reader
from strided.errors import UserError
from strided.system.signals import follow_parent, held_back

CHUNK = 128  # images in a task: Ctrl-C waits for one, and kill -9 loses one per process

# Processes pay off from these seconds of work on; unless forked, each imports everything.
_WORTH_A_FORK = 1.0
_WORTH_A_START = 20.0

# Errors that lie in the file itself; any other error may be temporary.
_OF_THE_FILE = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ELOOP)


@dataclass(frozen=True)
class Job:
    """What to decode, and the folder of images.npy and digests.npy to write to."""

    own: list[OwnCode] = field(default_factory=own_code, kw_only=True)  # before what needs it
    read: Reader
    preprocessing: Preprocessing
    folder: Path


class Task(NamedTuple):
    """A chunk to fill; with `checksum`, a chunk to fill only if its content differs."""

    chunk: int
    checksum: str | None


class FilledChunk(NamedTuple):
    """A finished chunk: the number of images, their checksum, and why some are unreadable.

    errors is None if the chunk was there already, as its checksum says. crc32 has a sum of the
    pixels of each image, uint32. bright has the `brightness` of each image of 16 bits.
    """

    chunk: int
    num_images: int
    checksum: str
    errors: dict[int, str] | None
    crc32: np.ndarray
    bright: dict[int, int]


class Filler:
    """Fills or checks one chunk at a time."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.images, self.digests = open_arrays(job.folder, "r+")

    def __call__(self, task: Task) -> FilledChunk:
        chosen = slice(task.chunk * CHUNK, min((task.chunk + 1) * CHUNK, len(self.images)))
        count = chosen.stop - chosen.start
        if task.checksum is not None and self._checksum(chosen) == task.checksum:
            return FilledChunk(task.chunk, count, task.checksum, None, self._crc32(chosen), {})
        errors, bright = {}, {}
        for index in range(chosen.start, chosen.stop):
            try:
                image = self.job.read(index)
                self.images[index] = self.job.preprocessing.pixels(image)
                self.digests[index] = np.frombuffer(pixel_digest(image), dtype=np.uint8)
                if (value := brightness(image)) is not None:
                    bright[index] = value
            except ImageError as error:
                _refuse_passing_fault(error)
                self.images[index], self.digests[index] = 0, 0
                errors[index] = str(error)
        sums = self._crc32(chosen)
        return FilledChunk(task.chunk, count, self._checksum(chosen), errors, sums, bright)

    def _checksum(self, chosen: slice) -> str:
        content = hashlib.blake2b(self.images[chosen].data, digest_size=8)
        content.update(self.digests[chosen].data)
        return content.hexdigest()

    def _crc32(self, chosen: slice) -> np.ndarray:
        return np.array([zlib.crc32(pixels) for pixels in self.images[chosen]], dtype=np.uint32)


def _refuse_passing_fault(error: ImageError) -> None:
    """Raise UserError for a fault of disk, memory or a missing package.

    Kept as the image's fault, it would stay.
    """
    cause = error.__cause__
    if isinstance(cause, ImportError):
        raise UserError(
            f"an image cannot be read for now: it is {error}; expected the packages for its format."
            " Try installing them so, and the same command once more"
        ) from error
    of_disk = isinstance(cause, OSError) and cause.errno not in (None, *_OF_THE_FILE)
    if of_disk or isinstance(cause, MemoryError):
        raise UserError(
            f"an image could not be read for now: {error}; expected a disk and memory that work."
            " What was decoded is kept. Try the same command once more"
        ) from error


def open_arrays(folder: Path, mode: str) -> tuple[np.ndarray, np.ndarray]:
    """Map images and digests; raises ValueError or OSError for incomplete files."""
    arrays = []
    for name in ("images.npy", "digests.npy"):
        array = np.lib.format.open_memmap(folder / name, mode=mode)
        length, expected = os.path.getsize(folder / name), array.offset + array.nbytes
        if length != expected:
            raise ValueError(f"{name} has {length:,} bytes, not {expected:,}")
        arrays.append(array)
    images, digests = arrays
    if images.dtype != np.uint8 or digests.dtype != np.uint8:
        raise ValueError("not of bytes")
    if not images.flags.c_contiguous or digests.shape != (len(images), DIGEST_BYTES):
        raise ValueError("arrays of another shape")
    return images, digests


def fill(job: Job, tasks: Sequence[Task], num_workers: int) -> Generator[FilledChunk, None, None]:
    """Do all tasks, in any order; uses only this process if others would not pay off."""
    filler = Filler(job)
    started = time.perf_counter()
    for task in tasks[:1]:
        yield filler(task)
    seconds = (time.perf_counter() - started) * (len(tasks) - 1)
    worth = _WORTH_A_FORK if get_start_method() == "fork" else _WORTH_A_START
    # daemon processes, which some launchers of sweeps start, may not start processes
    if num_workers == 1 or seconds < worth or current_process().daemon:
        yield from map(filler, tasks[1:])
    else:
        yield from _in_processes(job, tasks[1:], num_workers)


def _in_processes(job: Job, tasks: Iterable[Task], num_workers: int) -> Iterator[FilledChunk]:
    pool = ProcessPoolExecutor(num_workers, initializer=_start, initargs=(job,))
    remaining = iter(tasks)
    pending: set[Future[FilledChunk]] = set()
    try:
        while True:
            for task in islice(remaining, 2 * num_workers - len(pending)):
                with held_back():  # the first submit starts the processes
                    pending.add(pool.submit(_fill, task))
            if not pending:
                break
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    except BrokenProcessPool as error:
        raise UserError(
            "a process that decodes images was killed, maybe out of memory or out of space in"
            " data.cache_dir; expected it to end by itself. What was decoded is kept. Try the same"
            " command once more, with data.num_workers=1"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_filler: Filler  # of a decoding process


def _start(job: Job) -> None:
    global _filler
    follow_parent()
    _filler = Filler(job)


def _fill(task: Task) -> FilledChunk:
    return _filler(task)
