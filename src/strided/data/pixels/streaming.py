"""A pipeline that decodes in every epoch, in worker processes: for sets too large to store."""

import hashlib
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from strided.config.own_code import OwnCode, own_code
from strided.data.pixels.checks import Duplicates, named, refuse_broken
from strided.data.pixels.copies import first_copies, pixel_digest
from strided.data.pixels.pipeline import Read
from strided.data.pixels.statistics import Statistics, mean_and_std
from strided.data.preprocessing import Preprocessing
from strided.data.reading.decoding import ImageError
from strided.data.reading.depth import brightness
from strided.data.source import ArrayReader, Source, digest
from strided.data.splits import Splits
from strided.errors import UserError
from strided.system.signals import follow_parent, held_back

log = logging.getLogger(__name__)

# the readable images; their digests, if asked for; why each other place cannot be read
Decoded = tuple[Tensor, bytes, dict[int, str]]

_MEASURED = 2_000  # training images measured in place of all
_MEASURED_AT_ONCE = 50
_LOOKED_AT = 16  # training images, to see whether some have 16 bits
_DEEP_LOOKED_AT = 256  # if so
_READERS = 16  # threads that wait for a disk, maybe over a network


class StreamingPipeline:
    """A Pipeline over the files themselves; it gives the same pixels as a store.

    Broken images are found only when they are read. Duplicates stay unknown, since finding them
    needs all pixels.
    """

    device = torch.device("cpu")

    def __init__(
        self,
        source: Source,
        preprocessing: Preprocessing,
        cache_dir: Path,
        num_workers: int,
        *,
        skip: bool,
    ) -> None:
        self.source = source
        self.decoding = Decoding(source.read, preprocessing, digests=True)
        self.cache_dir = cache_dir
        self.num_workers = num_workers
        self.skip = skip
        self.errors: dict[int, str] = {}
        self.digests = np.zeros(len(source), dtype=np.uint64)  # filled as images are first read
        self.fingerprint = listing_fingerprint(source)
        # if processes come from a server (Python 3.14), it imports this once for all of them
        multiprocessing.set_forkserver_preload(["__main__", __name__])

    def read(self, batches: Sequence[np.ndarray], *, pin_memory: bool = False) -> Iterator[Read]:
        """See Pixels; one process decodes each batch; the processes end with the iteration.

        Raises UserError for broken images unless they may be skipped, and for a batch that has no
        other images.
        """
        if not batches:
            return
        decoded = self._start_workers(batches, pin_memory)
        for number, indices in enumerate(batches, 1):
            images, digests, errors = self._next(decoded)
            places: np.ndarray | slice = slice(None)
            if number == len(batches):
                # Lightning never closes the iterator; this ends the processes before validation
                del decoded
            if errors:
                self._handle_broken(
                    {int(indices[place]): errors[place] for place in errors}, len(indices)
                )
                places = np.setdiff1d(np.arange(len(indices)), list(errors))
            if digests:
                self.digests[indices[places]] = np.frombuffer(digests, dtype="<u8")
            yield images, places

    def _start_workers(self, batches: Sequence[np.ndarray], pin_memory: bool) -> Iterator[Decoded]:
        daemon = multiprocessing.current_process().daemon
        unknown = bool((self.digests[np.concatenate(batches)] == 0).any())  # in the first epoch
        loader = DataLoader(
            replace(self.decoding, digests=unknown),
            batch_size=None,  # each item asked of the data set is a batch already
            sampler=batches,
            # daemon processes, which some launchers of sweeps start, may not start processes
            num_workers=0 if daemon else min(self.num_workers, len(batches)),
            pin_memory=pin_memory,
            worker_init_fn=follow_parent,
            generator=torch.Generator(),  # torch's global generator is left to dropout
        )
        if threading.current_thread() is not threading.main_thread() or os.name == "nt":
            return iter(loader)
        # If a process dies, torch's handler raises wherever the program is, even in a step or
        # while a checkpoint is saved. Without the handler, `_next` finds out.
        before = signal.getsignal(signal.SIGCHLD)
        try:
            with held_back():
                return iter(loader)
        finally:
            signal.signal(signal.SIGCHLD, before)

    def _next(self, decoded: Iterator[Decoded]) -> Decoded:
        try:
            return next(decoded)
        except (RuntimeError, OSError, EOFError) as error:
            # the latter two if it died before its last batch was fetched
            if isinstance(error, RuntimeError) and "DataLoader worker (" not in str(error):
                raise
            raise UserError(
                f"a process that decodes images has died ({error}); expected"
                " memory for all of them. Try a smaller data.num_workers or data.batch_size, or,"
                " in a container, more shared memory (docker run --shm-size=8g)"
            ) from error

    def _handle_broken(self, errors: dict[int, str], images: int) -> None:
        """Stop for broken images, or warn of each once."""
        if not self.skip:
            refuse_broken(named(self.source, errors), f"{images} images of a batch")
        fresh = {index: errors[index] for index in sorted(errors.keys() - self.errors.keys())}
        for path, reason in named(self.source, fresh):
            log.warning("%s cannot be read: skipped (%s)", path, reason)
        self.errors |= fresh
        if len(errors) == images:
            raise UserError(
                f"all {images} images of a batch cannot be read; expected at least one that can."
                " Try removing them, or a larger data.batch_size"
            )

    def picture(self, index: int) -> np.ndarray:
        """See Pipeline."""
        return self.decoding.pixels(index)

    def copies(self) -> np.ndarray | None:
        """See Pipeline; only equal files are known to be copies, since the others are not decoded.

        Images in memory are compared as a store compares them.
        """
        alike = _alike(self.source)
        digests = np.zeros(len(alike), dtype=np.uint64)
        for place, index in enumerate(alike.tolist()):
            with suppress(ImageError):  # met again when it is read, and then handled
                digest_of_image = pixel_digest(self.source.read(index))
                digests[place] = int.from_bytes(digest_of_image[:8], "little")
        alike, digests = alike[digests != 0], digests[digests != 0]
        self.digests[alike] = digests
        numbers = np.arange(len(self.source))
        numbers[alike] = alike[first_copies(digests)]
        return numbers if len(np.unique(digests)) < len(digests) else None

    def duplicates(self, splits: Splits) -> Duplicates | None:
        """See Pipeline."""
        log.info(
            "data.pipeline=streaming decodes the images in every epoch: broken ones are found when"
            " they are read, and the same pixels in two splits only where the files are the same"
        )
        return None

    def brightness(self, indices: np.ndarray) -> list[int]:
        """See Pipeline; of a few images spread over them, of more if one of those has 16 bits."""
        found: list[int] = []
        for most in (_LOOKED_AT, _DEEP_LOOKED_AT):
            places = np.unique(np.linspace(0, len(indices) - 1, most).astype(int))
            found = list(self._brightness_of(indices[places]))
            if not found:
                break
        return found

    def _brightness_of(self, indices: np.ndarray) -> Iterator[int]:
        for index in indices.tolist():
            with suppress(ImageError):  # met again when it is read, and then handled
                value = brightness(self.source.read(index))
                if value is not None:
                    yield value

    def mean_and_std(self, train: np.ndarray, split_hash: str, seed: int) -> Statistics:
        """See Pipeline; measured over a sample."""
        count = min(_MEASURED, len(train))
        if count < len(train):
            log.info("mean and std: of %d of the %d training images", count, len(train))
        generator = np.random.default_rng([seed, 3])  # the splits draw from 0, 1 and 2
        sample = np.sort(generator.choice(train, count, replace=False))
        batches = [sample[at : at + _MEASURED_AT_ONCE] for at in range(0, count, _MEASURED_AT_ONCE)]
        geometry = self.decoding.preprocessing.asdict()
        key = digest(self.source.listing, geometry, split_hash, seed)[:24]
        with suppress(OSError):
            self.cache_dir.mkdir(parents=True, exist_ok=True)
        chunks = (images.numpy() for images, _ in self.read(batches))
        return mean_and_std(chunks, self.cache_dir / f"statistics-{key}.json")


@dataclass(frozen=True)
class Decoding(Dataset[Decoded]):
    """What a decoding process is given; `digests` of pixels that are known need not be taken."""

    own: list[OwnCode] = field(default_factory=own_code, kw_only=True)  # before what needs it
    read: Callable[[int], Image.Image]
    preprocessing: Preprocessing
    digests: bool

    def __getitem__(self, indices: np.ndarray) -> Decoded:
        """uint8 (B, C, S, S) of the readable images; the reason for each other place."""
        pixels, digests, errors = [], b"", {}
        for place, index in enumerate(indices.tolist()):
            try:
                image = self.read(index)
                pixels.append(self.preprocessing.pixels(image))
                if self.digests:
                    digests += pixel_digest(image)[:8]
            except ImageError as error:
                errors[place] = str(error)
        return torch.from_numpy(np.stack(pixels)) if pixels else torch.empty(0), digests, errors

    def pixels(self, index: int) -> np.ndarray:
        """uint8 (C, S, S); raises ImageError."""
        return self.preprocessing.pixels(self.read(index))


def _alike(source: Source) -> np.ndarray:
    """Indices of the images that may be copies of another one, as far as nothing is decoded."""
    if isinstance(source.read, ArrayReader):
        return np.arange(len(source))
    mark = getattr(source.read, "mark", None)
    if source.sizes is None or mark is None:
        return np.arange(0)
    sizes = np.asarray(source.sizes)
    alike = np.flatnonzero(_repeated(sizes))
    with ThreadPoolExecutor(_READERS) as pool:
        marks = np.fromiter(pool.map(mark, alike.tolist()), np.int64, len(alike))
    return alike[_repeated(np.stack([sizes[alike], marks], axis=1))]


def _repeated(rows: np.ndarray) -> np.ndarray:
    """bool (N,): whether a row, or a number, occurs more than once."""
    _, number, counts = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    repeated: np.ndarray = counts[number.reshape(-1)] > 1
    return repeated


def listing_fingerprint(source: Source) -> str:
    """Hash of classes, names, labels and sizes of the files: the same on any machine.

    Nothing is decoded, and a zip has the same hash as its unpacked folder.
    """
    content = hashlib.sha256(digest(source.classes, source.paths, source.native_size).encode())
    content.update(source.labels.tobytes())
    content.update(np.asarray(source.sizes or (), dtype=np.int64).tobytes())
    return f"listing:{content.hexdigest()}"
