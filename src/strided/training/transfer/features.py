"""Features: the frozen layers' output for each image, computed once and kept for stages.

The network is cut at its first trained unit. That unit's input is kept for each image. The layers
before it are skipped: every frozen unit returns its input.
"""

import hashlib
import json
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from strided.data import BatchAugment, ImageDataModule
from strided.system.built_once import open_or_build, reserve
from strided.system.devices import sent
from strided.training.transfer.cut import Cut

_FORMAT = 2  # raise it when the same key would give other features


@dataclass(frozen=True)
class Features:
    """float32 arrays mapped from `folder`: train (V, N, ...) for V views, val (1, M, ...)."""

    folder: Path
    train: np.ndarray
    val: np.ndarray
    seconds: float  # time to compute them

    @property
    def bytes(self) -> int:
        """Size on the disk."""
        return int(self.train.nbytes + self.val.nbytes)


@dataclass(frozen=True)
class Views:
    """How the frozen layers see images: `number` times each, augmented if more than once.

    `as_input` is what the network does to images first; `context` is the `precision` it runs in.
    """

    data: ImageDataModule
    augment: BatchAugment
    number: int
    seed: int
    precision: str
    as_input: Callable[[Tensor], Tensor]
    context: Callable[[], AbstractContextManager[Any]]

    def key(self) -> list[Any]:
        """Everything that the images and their features depend on, except the network."""
        data = self.data
        own = [data.fingerprint, data.split_hashes, data.preprocessing.asdict(), self.precision]
        if data.pipeline == "streaming":  # its fingerprint does not cover pixels
            own.append(data.source.listing)
        return own if self.number == 1 else [*own, vars(self.augment), self.seed, data.batch_size]

    def batches(self, split: str, view: int, device: torch.device) -> Iterator[Tensor]:
        """Normalised images of a split in order, as the network takes them."""
        from tqdm import tqdm

        loader = self.data.loader(split, device=device)
        title = f"features of {split}" + (f", view {view + 1}/{self.number}" if view else "")
        quiet = not sys.stderr.isatty()
        for number, batch in enumerate(tqdm(loader, desc=title, leave=False, disable=quiet)):
            images = sent(batch.images, device)
            if split == "train" and self.number > 1:
                entropy = np.random.SeedSequence([self.seed, view, number])
                generator = torch.Generator().manual_seed(int(entropy.generate_state(1)[0]))
                images = self.augment(images, generator)
            yield self.as_input(self.data.preprocessing.normalise(images))


def features_folder(cut: Cut, shape: tuple[int, ...], views: Views) -> Path:
    """The folder for the features that exactly this network makes of these views."""
    own = [cut.parts.entry, _digest(cut), _shapes(shape, views), views.key()]
    key = json.dumps([_FORMAT, torch.__version__, *own], sort_keys=True)
    return views.data.cache_dir / f"features-{hashlib.sha256(key.encode()).hexdigest()[:24]}"


def _shapes(shape: tuple[int, ...], views: Views) -> dict[str, tuple[int, ...]]:
    train, val = (len(views.data.readable(split)) for split in ("train", "val"))
    return {"train": (views.number, train, *shape), "val": (1, val, *shape)}


def open_features(folder: Path, cut: Cut, shape: tuple[int, ...], views: Views) -> Features:
    """Open the features, of `shape` an image, of training and validation images.

    They are computed first if they do not exist. Raises UserError for a cache that cannot be used.
    """
    shapes = _shapes(shape, views)

    def build(folder: Path) -> None:
        started = time.perf_counter()
        for file in folder.iterdir():  # of a stopped build
            file.unlink()
        arrays = {
            split: reserve(folder / f"{split}.npy", own, np.float32)
            for split, own in shapes.items()
        }
        for split, array in arrays.items():
            for view in range(len(array)):
                _compute(cut, views, split, view, array[view])
            array.flush()
        seconds = round(time.perf_counter() - started, 3)
        meta = {"seconds": seconds, "checksums": {s: _checksum(folder, s) for s in arrays}}
        (folder / "meta.json").write_text(json.dumps({**meta, "checksum": _meta_checksum(meta)}))

    return open_or_build(folder, lambda built: _load(built, shapes), build, "features")


def _compute(cut: Cut, views: Views, split: str, view: int, row: np.ndarray) -> None:
    device = next(cut.net.parameters()).device
    done = 0
    with views.context():
        for images in views.batches(split, view, device):
            features = cut.features(images).float().cpu().numpy()
            row[done : done + len(features)] = features
            done += len(features)
    if done != len(row):
        raise OSError(f"{len(row) - done} images of {split} could not be read")


def _digest(cut: Cut) -> str:
    """Hash everything untrained: its kind, its settings and its weights.

    Parts that belong to no unit count too, such as position embeddings and how the network pools.
    """
    trained = {id(module) for unit in cut.parts.trained for module in unit.modules()}
    content = hashlib.sha256()
    for name, module in cut.net.named_modules():
        if id(module) in trained:
            continue
        settings = [
            (k, v) for k, v in vars(module).items() if isinstance(v, bool | str | int | float)
        ]
        known = sorted(item for item in settings if item[0] != "training")
        content.update(repr((name, type(module), module.extra_repr(), known)).encode())
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for part, tensor in own:
            content.update(part.encode())
            content.update(tensor.detach().float().cpu().contiguous().numpy().data)
    return content.hexdigest()


def _load(folder: Path, shapes: dict[str, tuple[int, ...]]) -> Features:
    """Load features; FileNotFoundError if there are none, OSError or ValueError if damaged.

    Every byte is read and checked: a flipped bit would show in training only, as a loss that is not
    a number or, worse, not at all.
    """
    if not folder.exists():
        raise FileNotFoundError(folder)
    try:
        meta = json.loads((folder / "meta.json").read_text())
        whole = meta.pop("checksum") == _meta_checksum(meta)
        for split, checksum in meta["checksums"].items():
            whole &= _checksum(folder, split) == checksum
        if not whole:
            raise ValueError("not the bytes that were written")
        arrays = {split: np.load(folder / f"{split}.npy", mmap_mode="r") for split in shapes}
        seconds = float(meta["seconds"])
    except (FileNotFoundError, AttributeError, KeyError, TypeError, EOFError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    for split, shape in shapes.items():
        if arrays[split].shape != shape:
            raise ValueError(f"features of shape {arrays[split].shape}, not {shape}")
    return Features(folder, arrays["train"], arrays["val"], seconds)


def _checksum(folder: Path, split: str) -> int:
    """CRC-32 of a split's file, header and numbers."""
    return zlib.crc32(np.memmap(folder / f"{split}.npy", np.uint8, "r").data)


def _meta_checksum(meta: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(meta, sort_keys=True).encode())
