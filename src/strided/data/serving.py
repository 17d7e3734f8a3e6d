"""The serving half of a data module: batches of its splits, and the place reached in an epoch."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from strided.data.augment import BatchAugment
from strided.data.geometry import shrunk
from strided.data.loader import Batch, BatchLoader
from strided.data.pixels.pipeline import ArrayPixels, Pipeline, Pixels, pins_memory
from strided.data.pixels.resident import resident
from strided.data.preprocessing import Preprocessing
from strided.data.source import Source
from strided.data.splits import Splits
from strided.errors import UserError


class ServingDataModule(LightningDataModule, ABC):
    """Serves what a subclass lists, decodes and splits: `ImageDataModule`."""

    splits: Splits

    def __init__(
        self,
        batch_size: int,
        pin_memory: bool | None,
        resident: Literal["auto"] | bool,
        drop_last: bool,
        sampler: Literal["class_balanced"] | None,
    ) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.pin_memory = pin_memory
        self.resident = resident
        self.drop_last = drop_last
        self.sampler = sampler
        self._train_loader: BatchLoader | None = None
        self._resume_at: dict[str, int] | None = None
        self._augment: BatchAugment | None = None
        self._seed = 0
        self.training_size: int | None = None  # of images in training; None: the data's
        self._features: Mapping[str, ArrayPixels] | None = None
        self._resident: dict[str, Pixels] = {}

    @property
    @abstractmethod
    def source(self) -> Source:
        """The listed images."""

    @property
    @abstractmethod
    def preprocessing(self) -> Preprocessing:
        """How an image becomes the network's input."""

    @abstractmethod
    def _open(self) -> Pipeline:
        """The decoded images."""

    def serve(self, features: Mapping[str, ArrayPixels] | None) -> None:
        """Train and validate on features of images, by split; None returns to the images.

        They are (V * N, ...): V views of all N images of the data set, in its order.
        """
        self._features = features

    @contextmanager
    def on_device(self, device: torch.device) -> Iterator[bool]:
        """Train and validate inside the block from pixels on the device, as data.resident says.

        Order and pixels stay the same. Yields whether they are there. Raises UserError if they
        should be, and cannot.
        """
        given = {split: self._pixels(split) for split in ("train", "val")}
        with resident(given, self.resident, device) as self._resident:
            try:
                yield bool(self._resident)
            finally:
                self._resident = {}

    def train_dataloader(self) -> BatchLoader:
        """Batches shuffled by (seed, epoch); by the seed alone if a few are to be overfitted."""
        overfitting = self.trainer is not None and getattr(self.trainer, "overfit_batches", 0) > 0
        share = -(-len(self.splits["train"]) // self._world()[1])
        # Batch normalisation cannot train on one image: leave out one, another in each epoch.
        drop_last = self.drop_last or share % self.batch_size == 1
        self._train_loader = self._loader(
            "train",
            seed=None if overfitting else self._seed,
            drop_last=drop_last and share >= self.batch_size,
        )
        if overfitting:  # the images of a folder are in the order of their classes
            generator = np.random.default_rng(self._seed)
            self._train_loader.indices = generator.permutation(self._train_loader.indices)
        if self._resume_at is not None:
            self._train_loader.load_state_dict(self._resume_at)
            self._resume_at = None
        return self._train_loader

    def state_dict(self) -> dict[str, Any]:
        """The place reached in the epoch.

        Lightning keeps it too, but does not restore it if the schedule asked for the number of
        steps first, since that builds the loader.
        """
        if self._train_loader is None:
            return {}
        place = self._train_loader.state_dict()
        inside = 0 < place["batch"] < len(self._train_loader)
        return {"loader": place, "inside_epoch_of": self._world()[1] if inside else None}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue there with the next train_dataloader.

        Raises UserError inside an epoch whose batches were shared by another number of processes.
        """
        processes = state_dict.get("inside_epoch_of")
        if processes not in (None, self._world()[1]):
            raise UserError(
                f"this run stopped inside an epoch that {processes} processes shared, and "
                f"now {self._world()[1]} run it; expected the same number until that epoch ends. "
                f"Try trainer.devices={processes}"
            )
        self._resume_at = state_dict.get("loader")

    def val_dataloader(self) -> BatchLoader:
        """Batches in order; each process has its share.

        If trainer.limit_val_batches takes the first ones, these are spread over the split.
        """
        loader = self._loader("val", seed=None, drop_last=False, mark_repeated=True)
        limit = getattr(self.trainer, "limit_val_batches", None)
        first = self.limited("val", limit, self._world()[1])
        loader.indices = np.concatenate([first, np.setdiff1d(loader.indices, first)])
        return loader

    def loader(
        self,
        split: str,
        indices: np.ndarray | None = None,
        *,
        device: torch.device | None = None,
        features: ArrayPixels | None = None,
    ) -> BatchLoader:
        """Serve all of a split's images in order, or the ones at `indices` of the source.

        They are in the computer's memory; `device` is the one that they will be sent to. With
        `features` of all images, these are served in their place.
        """
        chosen = self.splits[split] if indices is None else indices
        pin_memory = device is not None and device.type == "cuda" and self.pin_memory is not False
        return BatchLoader(
            features or self._open(),
            self.source.labels,
            chosen,
            self.batch_size,
            pin_memory=pin_memory,
        )

    def limited(self, split: str, limit: int | float | None, processes: int = 1) -> np.ndarray:
        """Indices of so many batches, or of so large a part of them, spread over the whole split.

        The images of a folder are in the order of their classes: the first would be of few.
        """
        size = processes * self.batch_size
        batches = -(-len(self.splits[split]) // size)
        if limit is not None:
            batches = limit if isinstance(limit, int) else max(1, int(batches * limit))
        return self.spread(split, batches * size)

    def spread(self, split: str, most: int) -> np.ndarray:
        """Indices, for `loader`, of at most `most` images spread over the whole split."""
        indices = self.splits[split]
        places = np.linspace(0, len(indices) - 1, min(most, len(indices)))
        chosen: np.ndarray = indices[places.round().astype(int)]
        return chosen

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Send images and labels; an NVIDIA GPU copies pinned memory while the program goes on.

        Apple's may begin before all of it has arrived, so that Lightning waits for it too.
        """
        images, labels, seed, mirrored = batch
        ahead = device.type == "cuda"
        if mirrored is not None:
            mirrored = mirrored.to(device, non_blocking=ahead)
        images = images.to(device, non_blocking=ahead)
        return Batch(images, labels.to(device, non_blocking=ahead), seed, mirrored)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> tuple[Tensor, Tensor]:
        """Augment (only in training) and normalise on the model's device."""
        images, labels, seed, mirrored = batch
        if self._features is not None:
            return images, labels
        if self._augment is not None and self.trainer is not None and self.trainer.training:
            generator = torch.Generator().manual_seed(seed)
            images = self._augment.with_mirrored(images, mirrored, generator)
            images, labels = self._augment.mix(images, labels, len(self.source.classes), generator)
            if self.training_size is not None:
                images = shrunk(images, self.training_size)
        network = self.trainer.lightning_module if self.trainer is not None else None
        memory_format = getattr(network, "memory_format", torch.contiguous_format)
        return self.preprocessing.normalise(images, memory_format), labels

    def _loader(
        self, split: str, seed: int | None, drop_last: bool, mark_repeated: bool = False
    ) -> BatchLoader:
        rank, world_size = self._world()
        features = (self._features or {}).get(split)
        return BatchLoader(
            self._resident.get(split) or self._pixels(split),
            self.source.labels,
            self.splits[split],
            self.batch_size,
            seed=seed,
            drop_last=drop_last,
            class_balanced=self.sampler is not None,
            rank=rank,
            world_size=world_size,
            mark_repeated=mark_repeated,
            pin_memory=pins_memory(self.pin_memory, self.trainer),
            views=len(features.images) // len(self.source) if features else 1,
            alternating=split == "train" and not features and self._alternates,
        )

    def _pixels(self, split: str) -> Pixels:
        """What a loader of a split reads: one store of all images, or features of them."""
        return self._open() if self._features is None else self._features[split]

    @property
    def _alternates(self) -> bool:
        return self._augment is not None and self._augment.alternates

    def _world(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
