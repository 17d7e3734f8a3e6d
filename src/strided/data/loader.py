"""Whole batches, in an order that can be resumed at any epoch and batch."""

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from strided.data.pixels.pipeline import Pixels
from strided.system.devices import sent


class Batch(NamedTuple):
    """images uint8 (B, C, S, S), labels int64 (B,), and the seed of the batch's augmentation.

    mirrored bool (B,) says which images the augmentation is to mirror; None: it draws them. The
    tensors are on the device where the pixels lie.
    """

    images: Tensor
    labels: Tensor
    seed: int
    mirrored: Tensor | None = None


class BatchLoader:
    """Batches of the images at `indices`: shuffled by (seed, epoch), or in order without a seed.

    Each of world_size processes has the same number of batches: the order repeats its beginning to
    fill them. With `mark_repeated`, repeated images have the label -1. `class_balanced` needs a
    seed; it keeps the number of images, but takes equally many of each class. With `views`, view v
    of image i is at v * len(labels) + i of the pixels; an epoch shows one view of each image, and
    that many epochs show all. `alternating` mirrors a random half of the images in an epoch, and
    the others in the next.
    """

    def __init__(
        self,
        pixels: Pixels,
        labels: np.ndarray,
        indices: np.ndarray,
        batch_size: int,
        *,
        seed: int | None = None,
        drop_last: bool = False,
        class_balanced: bool = False,
        rank: int = 0,
        world_size: int = 1,
        mark_repeated: bool = False,
        pin_memory: bool = False,
        views: int = 1,
        alternating: bool = False,
    ) -> None:
        self.pixels = pixels
        self.labels = labels
        self.indices = indices
        self.batch_size = batch_size
        self.seed = seed
        self.drop_last = drop_last
        self.class_balanced = class_balanced
        self.rank = rank
        self.world_size = world_size
        self.mark_repeated = mark_repeated
        self.pin_memory = pin_memory
        self.views = views
        self.alternating = alternating
        self._epoch = 0
        self._batch = 0  # batches of this epoch served so far
        self._resumed = False

    def __len__(self) -> int:
        share = -(-len(self.indices) // self.world_size)
        return share // self.batch_size if self.drop_last else -(-share // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        # Lightning calls iter() before set_epoch(): read nothing until the first next().
        first = self._batch if self._resumed and self._batch < len(self) else 0
        self._resumed = False
        order = self._order()[: len(self) * self.batch_size]
        labels = self._labels(order).split(self.batch_size)
        shown = self._views_of_epoch(order)
        mirrored = self._mirrored(order)
        starts = range(first * self.batch_size, len(order), self.batch_size)
        batches = self.pixels.read(  # may read ahead of the place
            [shown[start : start + self.batch_size] for start in starts], pin_memory=self.pin_memory
        )
        for number, (images, places) in enumerate(batches, first):
            entropy = [self.seed or 0, self._epoch, number, self.rank]
            seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
            self._batch = number + 1
            of_batch = None if mirrored is None else mirrored[number][places]
            yield Batch(images, labels[number][places], seed, of_batch)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch's order; a place to resume at holds only within its epoch."""
        if epoch != self._epoch:
            self._epoch, self._batch, self._resumed = epoch, 0, False

    @property
    def batch_sampler(self) -> SimpleNamespace:
        """The object on which Lightning calls set_epoch at each epoch's start."""
        return SimpleNamespace(sampler=self)

    def state_dict(self) -> dict[str, int]:
        """The place reached; Lightning keeps it in the checkpoint."""
        return {"epoch": self._epoch, "batch": self._batch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Start the next iteration there, if it is of the same epoch."""
        self._epoch, self._batch, self._resumed = state["epoch"], state["batch"], True

    def _labels(self, order: np.ndarray) -> Tensor:
        """Labels of the whole epoch, sent once to where the pixels lie."""
        labels = self.labels[order]
        if self.mark_repeated:
            places = np.arange(len(order)) * self.world_size + self.rank
            labels[places >= len(self.indices)] = -1
        return self._beside_pixels(torch.from_numpy(labels))

    def _mirrored(self, order: np.ndarray) -> Sequence[Tensor] | None:
        """Which images of each batch are to be mirrored in this epoch."""
        if not self.alternating:
            return None
        first = _turns(2, len(self.labels), self.seed)[order]
        of_epoch = torch.from_numpy((first + self._epoch) % 2 == 1)
        return self._beside_pixels(of_epoch).split(self.batch_size)

    def _beside_pixels(self, of_epoch: Tensor) -> Tensor:
        if self.pin_memory and self.pixels.device.type == "cpu":
            return of_epoch.pin_memory()
        return sent(of_epoch, self.pixels.device)

    def _views_of_epoch(self, indices: np.ndarray) -> np.ndarray:
        if self.views == 1:
            return indices
        first = _turns(self.views, len(self.labels), self.seed)
        return (first[indices] + self._epoch) % self.views * len(self.labels) + indices

    def _order(self) -> np.ndarray:
        order = self.indices
        if self.seed is not None:
            if self.class_balanced:
                order = class_balanced(order, self.labels[order], self.seed, self._epoch)
            order = np.random.default_rng([self.seed, self._epoch]).permutation(order)
        share = -(-len(order) // self.world_size)
        return np.resize(order, share * self.world_size)[self.rank :: self.world_size]


def _turns(number: int, images: int, seed: int | None) -> np.ndarray:
    """Draw in which of `number` epochs each image has its first turn: int64 (images,)."""
    return np.random.default_rng(seed or 0).integers(number, size=images)


def class_balanced(indices: np.ndarray, labels: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """Return as many indices, with equally many (within one) of each class that occurs.

    A class serves its images from shuffled copies of itself, one after the other, across epochs:
    none repeats before all others of its class were seen. Seed and epoch alone decide which part
    of that sequence this epoch takes.
    """
    own = [indices[labels == label] for label in np.unique(labels)]
    draws = np.arange(epoch * len(indices), (epoch + 1) * len(indices))  # of the whole run
    positions, class_of_draw = np.divmod(draws, len(own))
    return np.concatenate(
        [_copies(images, positions[class_of_draw == c], [seed, c]) for c, images in enumerate(own)]
    )


def _copies(images: np.ndarray, positions: np.ndarray, entropy: list[int]) -> np.ndarray:
    """Take the images at consecutive places of an endless row of shuffled copies of `images`."""
    first, last = positions[0] // len(images), positions[-1] // len(images)
    copies = [
        np.random.default_rng([*entropy, copy]).permutation(images)
        for copy in range(first, last + 1)
    ]
    return np.concatenate(copies)[positions - first * len(images)]
