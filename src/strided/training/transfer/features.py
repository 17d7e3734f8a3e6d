"""Features: the frozen layers' output for each image, computed once and kept for any run.

The network is cut at its first trained unit. That unit's input is kept for each image of the data
set. The layers before it are skipped: every frozen unit returns its input.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from strided.data import BatchAugment, ImageDataModule
from strided.data.pixels.pipeline import ArrayPixels, Read
from strided.data.renderings import rendered
from strided.system.devices import sent
from strided.system.verbosity import shows_bars
from strided.training.task import ClassificationTask
from strided.training.transfer.cut import Cut
from strided.training.transfer.digest import digest_of
from strided.training.transfer.feature_rows import FeatureRows

_FORMAT = 4  # raise it when the same key would give other features
_SAMPLE = 4  # images to test a cut with
_BLOCK = 64  # images that are augmented together, whichever of them are wanted
# Pixels of the images that a CPU takes at once: eight of 224 px. The maps of more do not fit its
# caches, and layers that compute little for each number then wait for memory.
_CPU_PIXELS = 400_000


@dataclass(frozen=True)
class FrozenLayers:
    """The layers before a cut, as a run has them: what gives an image its features.

    `shape` is that of an image's features. `as_input` is what the network does to images first;
    `context` gives the precision that the layers run in, which `arithmetic` describes.
    """

    cut: Cut
    data: ImageDataModule
    shape: tuple[int, ...]
    as_input: Callable[[Tensor], Tensor]
    context: Callable[[], AbstractContextManager[Any]]
    arithmetic: Sequence[str]

    @property
    def device(self) -> torch.device:
        return next(self.cut.net.parameters()).device

    @cached_property
    def key(self) -> list[Any]:
        """Everything that features of plain images depend on; no split, fold, seed or head."""
        data, cut = self.data, self.cut
        images = [data.fingerprint, data.preprocessing.asdict()]
        # the fingerprint covers no pixels in streaming, and no images of data.extra
        if data.pipeline == "streaming" or data.source.extra:
            images.append(data.source.listing)
        own = [cut.parts.entry, digest_of(cut), self.shape, list(self.arithmetic)]
        return [_FORMAT, torch.__version__, *own, *images]

    def of(self, pixels: Tensor) -> np.ndarray:
        """Features (B, ...) of preprocessed pixels (B, C, S, S) on the device."""
        images = self.as_input(self.data.preprocessing.normalise(pixels))
        at_once = len(images)
        if images.device.type == "cpu":
            at_once = max(1, _CPU_PIXELS // math.prod(images.shape[2:]))
        features = [self.cut.features(own) for own in images.split(at_once)]
        found: np.ndarray = torch.cat(features).float().cpu().numpy()
        return found


@dataclass(frozen=True)
class Views:
    """Augmented views of each image: `number` of them, drawn by `seed`."""

    number: int
    augment: BatchAugment
    seed: int


class KeptFeatures(ArrayPixels):
    """The features of a data set's images, as the pixels of a loader: a row an image.

    View v of image i is at v * N + i, of N images in the data set's order. Rows that are not there
    yet are computed when they are read. `seconds` is the time that this took, and `computed` how
    many. `rendering`, one of RENDERINGS, says how plain images are changed first.
    """

    def __init__(
        self, layers: FrozenLayers, views: Views | None = None, rendering: str | None = None
    ) -> None:
        self.layers, self.views, self.rendering = layers, views, rendering
        self.images_each = len(layers.data.source)
        count = self.images_each * (views.number if views else 1)
        self.rows = FeatureRows(features_folder(layers, views, rendering), count, layers.shape)
        self.seconds, self.computed = 0.0, 0
        super().__init__(self.rows.array)

    def require(self, indices: np.ndarray) -> None:
        """Have these rows. Raises UserError for a cache that cannot be used."""
        started = time.perf_counter()
        compute = self._plain if self.views is None else self._augmented
        computed = self.rows.require(indices, compute)
        self.computed += computed
        if computed:
            self.seconds += time.perf_counter() - started

    def read(self, batches: Sequence[np.ndarray], *, pin_memory: bool = False) -> Iterator[Read]:
        """See Pixels."""
        if batches:
            self.require(np.unique(np.concatenate(batches)))
        return super().read(batches, pin_memory=pin_memory)

    def there(self) -> np.ndarray:
        """See ArrayPixels."""
        return self.rows.checked()

    def _plain(self, indices: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        layers, done = self.layers, 0
        loader = layers.data.loader("train", indices, device=layers.device)
        with layers.context():
            for batch in _shown(loader, "features"):
                images = batch.images
                if self.rendering is not None:
                    images = torch.from_numpy(rendered(images.numpy(), self.rendering))
                features = layers.of(sent(images, layers.device))
                yield indices[done : done + len(features)], features
                done += len(features)

    def _augmented(self, indices: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Augment images in blocks of the data set's order: a view depends on no split."""
        assert self.views is not None
        device = self.layers.device
        blocks = self._blocks(indices)
        with self.layers.context():
            for (view, block), wanted in _shown(blocks.items(), "features of augmented images"):
                first = block * _BLOCK
                whole = np.arange(first, min(first + _BLOCK, self.images_each))
                batches = list(self.layers.data.loader("train", whole, device=device))
                pixels = sent(torch.cat([batch.images for batch in batches]), device)
                entropy = np.random.SeedSequence([self.views.seed, view, block])
                generator = torch.Generator().manual_seed(int(entropy.generate_state(1)[0]))
                chosen = torch.from_numpy(np.array(wanted) % self.images_each - first)
                augmented = self.views.augment(pixels, generator)[chosen.to(device)]
                yield np.array(wanted), self.layers.of(augmented)

    def _blocks(self, indices: np.ndarray) -> dict[tuple[int, int], list[int]]:
        """The wanted rows by view and block."""
        blocks: dict[tuple[int, int], list[int]] = {}
        for row in indices.tolist():
            view, image = divmod(row, self.images_each)
            blocks.setdefault((view, image // _BLOCK), []).append(row)
        return blocks


def frozen_layers(
    cut: Cut,
    task: ClassificationTask,
    data: ImageDataModule,
    context: Callable[[], AbstractContextManager[Any]],
    arithmetic: Sequence[str],
) -> FrozenLayers:
    """The layers of a task before a cut, which is tried with a few images. Raises CutError."""
    images = data.loader("train", data.splits["train"][:_SAMPLE], device=task.device)
    sample = next(iter(images)).images.to(task.device)
    shape = cut.check(task.as_input(data.preprocessing.normalise(sample)))
    return FrozenLayers(cut, data, shape, task.as_input, context, arithmetic)


def arithmetic(precision: str, matmul_precision: str | None, device: torch.device) -> list[str]:
    """What `FrozenLayers.arithmetic` says of these settings."""
    return [precision, *([f"{device.type} {matmul_precision}"] if device.type != "cpu" else [])]


def features_folder(
    layers: FrozenLayers, views: Views | None = None, rendering: str | None = None
) -> Path:
    """The folder for the features that exactly these layers make of these images."""
    of_views = [views.number, vars(views.augment), views.seed] if views else []
    changed = [] if rendering is None else [rendering]
    key = json.dumps([*layers.key, of_views, *changed], sort_keys=True)
    return layers.data.cache_dir / f"features-{hashlib.sha256(key.encode()).hexdigest()[:24]}"


def _shown(items: Any, title: str) -> Iterator[Any]:
    from tqdm import tqdm

    yield from tqdm(items, desc=title, leave=False, disable=not shows_bars())
