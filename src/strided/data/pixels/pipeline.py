"""Sources of a data module's pixels: a store here; `streaming` decodes them every epoch."""

import logging
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from lightning.pytorch import Trainer
from torch import Tensor

from strided.data.pixels.checks import Duplicates, duplicates_across, named, refuse_broken
from strided.data.pixels.copies import short
from strided.data.pixels.statistics import Statistics, mean_and_std
from strided.data.pixels.store import fingerprint_of, open_store
from strided.data.preprocessing import Preprocessing
from strided.data.reading.decoding import ImageError
from strided.data.source import Source
from strided.data.splits import Splits
from strided.errors import UserError

log = logging.getLogger(__name__)

Read = tuple[Tensor, np.ndarray | slice]
Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 2  # batches
_WORTH_A_THREAD = 1_000_000  # bytes of a batch: a smaller one is read before a thread wakes up
_MEASURED_AT_ONCE = 16_000_000  # bytes of images


class Pixels(Protocol):
    """What a BatchLoader needs."""

    device: torch.device  # of the images that it gives

    def read(self, batches: Sequence[np.ndarray], *, pin_memory: bool = False) -> Iterator[Read]:
        """Yield uint8 images (B, C, S, S) for each array of indices, and their places in it.

        A missing place means an image that cannot be read and may be skipped.
        """


class Pipeline(Pixels, Protocol):
    """All that a data module needs from the pixels of its source, prepared for one network."""

    errors: dict[int, str]  # index to the reason it cannot be read; found so far
    fingerprint: str  # of the data set's own images; the same on any machine
    digests: np.ndarray  # uint64 (N,), of the pixels of each image; 0 if it was not read (yet)

    def picture(self, index: int) -> np.ndarray:
        """uint8 (C, S, S) of one image."""

    def copies(self) -> np.ndarray | None:
        """(N,): equal numbers for images with the same pixels, as far as that is known before.

        None if no two images are known to be copies.
        """

    def duplicates(self, splits: Splits) -> Duplicates | None:
        """Images with the same pixels in two splits; None if the pixels were not compared."""

    def brightness(self, indices: np.ndarray) -> list[int]:
        """The `brightness` of those of these images that have 16 bits, or of a sample of them."""

    def mean_and_std(self, train: np.ndarray, split_hash: str, seed: int) -> Statistics:
        """Mean and std of each channel of the training images, or of a sample drawn by `seed`.

        The scale is the one where white is 1. split_hash identifies the split in a cache.
        """


class ArrayPixels:
    """Pixels of an array uint8 (N, C, S, S), or features, in memory or a memory map."""

    device = torch.device("cpu")

    def __init__(self, images: np.ndarray) -> None:
        self.images = np.asarray(images)  # a plain view: slicing a memmap object is slower

    def read(self, batches: Sequence[np.ndarray], *, pin_memory: bool = False) -> Iterator[Read]:
        """See Pixels; large batches are read while the ones before are in use."""

        one = torch.from_numpy(np.empty_like(self.images[:1]))

        def take(indices: np.ndarray) -> Read:
            if not pin_memory:
                return torch.from_numpy(self.take(indices)), slice(None)
            images = one.new_empty((len(indices), *one.shape[1:]), pin_memory=True)
            self.take(indices, out=images.numpy())
            return images, slice(None)

        largest = max(map(len, batches), default=0) * self.images[:1].nbytes
        if pin_memory or largest >= _WORTH_A_THREAD:
            return read_ahead(take, batches)
        return map(take, batches)

    def there(self) -> np.ndarray:
        """Indices of the images that the array holds."""
        return np.arange(len(self.images))

    def take(self, indices: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """A copy of the images at these places; if `out` is given, in it."""
        # with mode="raise" numpy writes to memory of its own first, and then to `out`
        images: np.ndarray = np.take(
            self.images, indices, axis=0, out=out, mode="raise" if out is None else "clip"
        )
        return images


class StorePipeline(ArrayPixels):
    """A Pipeline over a store that holds every decoded image.

    Raises BrokenImagesError for images that cannot be read, unless they may be skipped.
    """

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
        self.preprocessing = preprocessing
        self.store = open_store(source, preprocessing, cache_dir, num_workers)
        self._checked = np.zeros(len(source), dtype=bool)
        self._damage_told = False
        super().__init__(self.store.images)
        self.errors = self.store.errors
        self.fingerprint = self.store.fingerprint
        if source.extra:
            own = source.without_extra()
            self.fingerprint = fingerprint_of(own, self.store.digests[: len(own)])
        self.digests = short(self.store.digests)
        if self.errors and not skip:
            refuse_broken(named(source, self.errors), f"{len(source)} images")
        if self.errors:
            log.warning("%d of %d images cannot be read: skipped", len(self.errors), len(source))

    def take(self, indices: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """See ArrayPixels; each image is checked when it is first read.

        One that has changed on the disk is decoded again. Raises UserError if that does not give
        what was decoded before.
        """
        images = super().take(indices, out)
        checked = self._checked[indices]
        if checked.all():
            return images
        for place in np.flatnonzero(~checked).tolist():
            index = int(indices[place])
            if zlib.crc32(images[place].data) != self.store.crc32[index]:
                images[place] = self._decoded_again(index)
        self._checked[indices] = True
        return images

    def _decoded_again(self, index: int) -> np.ndarray:
        folder, path = self.store.folder, self.source.paths[index]
        if not self._damage_told:
            log.warning(
                "decoded images in %s have changed on the disk, %s is the first: decoded again",
                folder,
                path,
            )
        self._damage_told = True
        with suppress(ImageError):
            pixels = self.preprocessing.pixels(self.source.read(index))
            if zlib.crc32(pixels.data) == self.store.crc32[index]:
                with suppress(OSError):  # another user's
                    np.lib.format.open_memmap(folder / "images.npy", mode="r+")[index] = pixels
                return pixels
        raise UserError(
            f"{folder} holds other pixels of {path} than were decoded, and its file does not give "
            f"these again; expected what was written there. Try deleting {folder}: the next run "
            "decodes all images again"
        )

    def picture(self, index: int) -> np.ndarray:
        """See Pipeline."""
        pixels: np.ndarray = self.take(np.array([index]))[0]
        return pixels

    def copies(self) -> np.ndarray | None:
        """See Pipeline; all of them are known."""
        return self.digests

    def duplicates(self, splits: Splits) -> Duplicates | None:
        """See Pipeline; uses the digests that decoding computed."""
        return duplicates_across(self.source, self.digests, splits)

    def brightness(self, indices: np.ndarray) -> list[int]:
        """See Pipeline."""
        known = self.store.bright
        return [known[index] for index in indices.tolist() if index in known] if known else []

    def mean_and_std(self, train: np.ndarray, split_hash: str, seed: int) -> Statistics:
        """See Pipeline; measured once over all of them."""
        step = max(1, _MEASURED_AT_ONCE // self.images[:1].nbytes)
        chunks = (self.take(train[at : at + step]) for at in range(0, len(train), step))
        return mean_and_std(chunks, self.store.folder / f"statistics-{split_hash}.json")


def read_ahead(read: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`map(read, items)`, a few items ahead in a thread, which ends with the iteration.

    The thread waits for the disk when a page of a memory map is read first, and for the copy
    into memory that a GPU can read directly.
    """
    thread = ThreadPoolExecutor(1, "read_ahead")
    remaining = iter(items)
    ahead: deque[Future[Result]] = deque()
    try:
        while True:
            for item in islice(remaining, _AHEAD + 1 - len(ahead)):
                ahead.append(thread.submit(read, item))
            if not ahead:
                return
            yield ahead.popleft().result()
    finally:
        thread.shutdown(cancel_futures=True)


def pins_memory(asked: bool | None, trainer: Trainer | None) -> bool:
    """Whether batches are in memory that a GPU can read directly; None: if training is on a GPU.

    Raises UserError if that is asked for without a GPU.
    """
    if asked and not torch.cuda.is_available():
        raise UserError(
            "data.pin_memory=true, but torch sees no GPU here; expected one, which fetches the"
            " batches. Try data.pin_memory=null"
        )
    if asked is None:
        return trainer is not None and trainer.strategy.root_device.type == "cuda"
    return asked
