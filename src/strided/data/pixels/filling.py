"""Decode the images of a source into memory-mapped arrays, in as many processes as there are cores.

Processes, not threads: tiny images spend their time in Python, where threads wait for each other.
"""

import errno
import hashlib
import os
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from multiprocessing import current_process, get_start_method
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from strided.data.preprocessing import Preprocessing
from strided.data.reading.decoding import ImageError
from strided.data.reading.files import Reader
from strided.errors import UserError
from strided.system.signals import follow_parent, held_back

CHUNK = 128  # images in a task: what Ctrl-C waits for, and what a kill -9 loses of each process

# Seconds of work from which processes are worth their start; unless forked they import it all.
_WORTH_A_FORK = 1.0
_WORTH_A_START = 20.0

# What the system says of a file that is as it is; any other error may pass.
_OF_THE_FILE = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ELOOP)


@dataclass(frozen=True)
class Job:
    """What there is to decode, and the folder of images.npy and digests.npy to write it to."""

    read: Reader
    preprocessing: Preprocessing
    folder: Path


class Task(NamedTuple):
    """A chunk to fill, or only to check where `checksum` is that of what should be there."""

    chunk: int
    checksum: str | None


class Filled(NamedTuple):
    """A chunk with its images: how many, their checksum, and the reasons of those unreadable.

    errors is None where the chunk was there already, as its checksum says.
    """

    chunk: int
    num_images: int
    checksum: str
    errors: dict[int, str] | None


class Filler:
    """Fills or checks one chunk after the other."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.images, self.digests = open_arrays(job.folder, "r+")

    def __call__(self, task: Task) -> Filled:
        chosen = slice(task.chunk * CHUNK, min((task.chunk + 1) * CHUNK, len(self.images)))
        count = chosen.stop - chosen.start
        if task.checksum is not None and self._checksum(chosen) == task.checksum:
            return Filled(task.chunk, count, task.checksum, None)
        errors = {}
        for index in range(chosen.start, chosen.stop):
            try:
                image = self.job.read(index)
                self.images[index] = self.job.preprocessing.pixels(image)
                self.digests[index] = np.frombuffer(_pixel_digest(image), dtype=np.uint8)
            except ImageError as error:
                _refuse_passing_fault(error)
                self.images[index], self.digests[index] = 0, 0
                errors[index] = str(error)
        return Filled(task.chunk, count, self._checksum(chosen), errors)

    def _checksum(self, chosen: slice) -> str:
        content = hashlib.blake2b(self.images[chosen].data, digest_size=8)
        content.update(self.digests[chosen].data)
        return content.hexdigest()


def _refuse_passing_fault(error: ImageError) -> None:
    """A fault of the disk or of memory is none of the image: kept, it would be so for ever."""
    cause = error.__cause__
    of_disk = isinstance(cause, OSError) and cause.errno not in (None, *_OF_THE_FILE)
    if of_disk or isinstance(cause, MemoryError):
        raise UserError(
            f"an image could not be read for now: {error}; expected a disk and memory that work."
            " What was decoded is kept. Try the same command once more"
        ) from error


def open_arrays(folder: Path, mode: str) -> tuple[np.ndarray, np.ndarray]:
    """Map images and digests; ValueError or OSError for files that are not whole."""
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
    if not images.flags.c_contiguous or digests.shape != (len(images), 16):
        raise ValueError("arrays of another shape")
    return images, digests


def fill(job: Job, tasks: Sequence[Task], num_workers: int) -> Generator[Filled, None, None]:
    """Do all tasks, in any order; in this process alone where others would not be worth it."""
    filler = Filler(job)
    started = time.perf_counter()
    for task in tasks[:1]:
        yield filler(task)
    seconds = (time.perf_counter() - started) * (len(tasks) - 1)
    worth = _WORTH_A_FORK if get_start_method() == "fork" else _WORTH_A_START
    # a daemon, as some launchers of sweeps start, may not have processes of its own
    if num_workers == 1 or seconds < worth or current_process().daemon:
        yield from map(filler, tasks[1:])
    else:
        yield from _in_processes(job, tasks[1:], num_workers)


def _in_processes(job: Job, tasks: Iterable[Task], num_workers: int) -> Iterator[Filled]:
    pool = ProcessPoolExecutor(num_workers, initializer=_start, initargs=(job,))
    remaining = iter(tasks)
    pending: set[Future[Filled]] = set()
    try:
        while True:
            for task in islice(remaining, 2 * num_workers - len(pending)):
                with held_back():  # the first starts the processes
                    pending.add(pool.submit(_fill, task))
            if not pending:
                break
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    except BrokenProcessPool as error:
        raise UserError(
            "a process that decodes images was killed, maybe for want of memory or of space in"
            " data.cache_dir; expected it to end by itself. What was decoded is kept. Try the same"
            " command once more, with data.num_workers=1"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_filler: Filler  # of a process that decodes


def _start(job: Job) -> None:
    global _filler
    follow_parent()
    _filler = Filler(job)


def _fill(task: Task) -> Filled:
    return _filler(task)


def _pixel_digest(image: Image.Image) -> bytes:
    header = f"{image.mode} {image.size}".encode()
    return hashlib.blake2b(header + image.tobytes(), digest_size=16).digest()
