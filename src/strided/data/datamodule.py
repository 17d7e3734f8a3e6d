"""The LightningDataModule that all data sets share: decode once, split, measure, serve batches."""

import logging
import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from strided.config.unused import refuse_typed
from strided.data.assignment import SplitRule, assign, report_torn_groups
from strided.data.augment import BatchAugment
from strided.data.equalize import Equalize
from strided.data.extra import admitted, check_extra, with_extra
from strided.data.pixels.checks import Duplicates, channels_of, named
from strided.data.pixels.pipeline import Pipeline, StorePipeline
from strided.data.pixels.store import default_cache_dir
from strided.data.pixels.streaming import StreamingPipeline, listing_fingerprint
from strided.data.preprocessing import (
    Interpolation,
    Preprocessing,
    Resize,
    check_at_least,
    check_input_format,
    check_normalisation,
    check_one_of,
)
from strided.data.reading.depth import WHITE, clipped, white_of
from strided.data.serving import ServingDataModule
from strided.data.source import EXTRA, Source, numbered_as
from strided.system.machine import cores

log = logging.getLogger(__name__)

# The `unread` of a data set that needs no files of the user's.
NO_FILES = {
    "root": ("this data set reads no files of yours", "data=image_folder beside it"),
    "on_error": ("this data set has no files that could be broken", "data=image_folder beside it"),
}


class ImageDataModule(ServingDataModule):
    """A data set is a subclass whose `make_source` says where its images are.

    Where null means decided, the model's pretrained weights decide, else the numbers published for
    the data set, else the images. After `use` and `setup`, batches reach the model as float32
    (B, C, S, S), augmented and normalised on its device. Labels are int64 (B,), or float32 (B, K)
    after mixup or cutmix.

    Args:
        root: The folder that holds the data, or is to; the .zip too, of your own images.
        extra: A table of labelled images, path,label[,group], that join the training split only.
        batch_size: Images in a batch; with several processes, in each one's.
        image_size: Side of the network's input in pixels; null: decided.
        channels: 1 for grey, 3 for colour; null: decided.
        resize: How an image becomes a square: crop its middle, squash, or pad with black; null:
            decided.
        crop_fraction: The part of the side that a crop keeps, 0.01 to 1; null: decided.
        interpolation: How pixels are resampled; null: decided.
        equalize: Spread grey levels: histogram over the image, clahe tile by tile; null: not.
        mean: Subtracted from pixels of 0 to 1, a number for each channel; null: decided.
        std: Divides them after that, a number for each channel; null: decided.
        val_fraction: Part of the images to validate on, where the data set has no such split.
        test_fraction: Part of the images to test on, where the data set has no such split.
        num_folds: Deal the images, but for the data set's own test split, into so many folds.
        fold: The number of the fold, from 0, that is the test split of this run.
        train_fraction: Part of the training images to use, above 0 to 1: what do more images give?
        split_seed: Decides which images are split off; `seed` does not.
        num_workers: Processes that decode images; null: one for each core.
        cache_dir: Holds the decoded images of all runs; null: ~/.cache/strided, or XDG_CACHE_HOME.
        pipeline: Decode all images once into a file, or anew in each epoch where the disk is small.
        pin_memory: Put batches where a GPU fetches them by itself; null: if there is one.
        resident: Keep the pixels on the GPU while training; auto: where they fit.
        on_error: Stop at a broken image, or skip it and say so.
        horizontal_flip: Whether a mirror image keeps its class; the augmentations read it.
        drop_last: Leave out the last batch of an epoch if it is not full.
        sampler: Draw equally many images of each class, as many as usual; null: each image once.
        external: Other images, a folder or a glob, to look for near copies in (shortcuts=true).
        intended_use: What a model of these data is for, and what not, as its card says.
    """

    name: str
    published_mean: ClassVar[tuple[float, ...] | None] = None
    published_std: ClassVar[tuple[float, ...] | None] = None
    default_image_size: ClassVar[int | None] = None
    default_channels: ClassVar[int | None] = None
    # arguments that the data set does not read, so that nobody may type them: why, what instead
    unread: ClassVar[Mapping[str, tuple[str, str]]] = {}
    torn_groups: Literal["refuse", "allow"] = "refuse"  # by splits that the data set gives

    split_hash: str
    split_hashes: dict[str, str]  # one for each split
    partition_hash: str | None  # of all folds
    copies: np.ndarray | None  # equal numbers (N,) for images that splits know to be copies
    duplicates: Duplicates | None  # None if the pixels were not compared
    added: dict[str, int] | None = None  # what became of the images of data.extra

    def __init__(
        self,
        *,
        root: str = "data",
        extra: str | None = None,
        batch_size: int = 64,
        image_size: int | None = None,
        channels: int | None = None,
        resize: Resize | None = None,
        crop_fraction: float | None = None,
        interpolation: Interpolation | None = None,
        equalize: Equalize | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.2,
        train_fraction: float = 1.0,
        split_seed: int = 0,
        num_folds: int | None = None,
        fold: int | None = None,
        num_workers: int | None = None,
        cache_dir: str | None = None,
        pipeline: Literal["store", "streaming"] = "store",
        pin_memory: bool | None = None,
        resident: Literal["auto"] | bool = "auto",
        on_error: Literal["stop", "skip"] = "stop",
        horizontal_flip: bool = True,
        drop_last: bool = False,
        sampler: Literal["class_balanced"] | None = None,
        external: str | None = None,
        intended_use: str | None = None,
    ) -> None:
        super().__init__(batch_size, pin_memory, resident, drop_last, sampler)
        check_at_least("batch_size", batch_size, 1)
        check_at_least("split_seed", split_seed, 0)
        check_at_least("num_workers", num_workers, 1, most=max(64, 4 * cores()))
        check_input_format(channels, image_size, resize, crop_fraction)
        check_one_of("interpolation", interpolation, get_args(Interpolation))
        check_one_of("equalize", equalize, get_args(Equalize))
        check_one_of("on_error", on_error, ("stop", "skip"))
        check_one_of("pipeline", pipeline, ("store", "streaming"))
        check_extra(extra, pipeline)
        check_one_of("resident", resident, ("auto", True, False))
        check_one_of("sampler", sampler, ("class_balanced",))
        self.mean = None if mean is None else tuple(mean)
        self.std = None if std is None else tuple(std)
        check_normalisation(self.mean, self.std, channels)
        self.root = Path(os.path.expanduser(root))
        self.extra = None if extra is None else Path(os.path.expanduser(extra))
        self.name = self.name or self.root.resolve().stem
        self.image_size = image_size
        self._channels = channels
        self.resize = resize
        self.crop_fraction = crop_fraction
        self.interpolation = interpolation
        self.equalize = equalize
        self.rule = SplitRule(
            val_fraction, test_fraction, train_fraction, split_seed, num_folds, fold
        )
        self.num_workers = num_workers or cores()
        self.cache_dir = Path(os.path.expanduser(cache_dir)) if cache_dir else default_cache_dir()
        self.pipeline = pipeline
        self.on_error = on_error
        self.horizontal_flip = horizontal_flip
        self.external = external
        self.intended_use = intended_use  # the card reads the config
        self._pipeline: Pipeline | None = None
        self._preprocessing: Preprocessing | None = None
        self._known_hashes: dict[str, str] = {}
        self._limit: int | None = None
        self.known_classes: list[str] | None = None
        self._ready = False

    @abstractmethod
    def make_source(self) -> Source:
        """List the images without decoding any."""

    @cached_property
    def source(self) -> Source:
        """The listed images; downloads them first if the data set can."""
        source = self.make_source()
        if self.known_classes is not None:
            return numbered_as(source, self.known_classes, self.name)
        return source if self.extra is None else with_extra(source, self.extra)

    @property
    def classes(self) -> list[str]:
        return self.source.classes

    @property
    def native_size(self) -> int | None:
        """Side in pixels if all images of the data set are squares of one size, else None."""
        return self.source.native_size

    @cached_property
    def channels(self) -> int:
        """1 or 3: as asked for or known, else as a sample of the images shows."""
        return self._channels or self.default_channels or channels_of(self.source.without_extra())

    @property
    def preprocessing(self) -> Preprocessing:
        """The preprocessing given to `use`, with mean and std once `setup` is done."""
        assert self._preprocessing is not None, "call use() first"
        return self._preprocessing

    @property
    def augmentation(self) -> BatchAugment:
        """The augmentation given to `use`."""
        return self._augment or BatchAugment()

    @property
    def fingerprint(self) -> str:
        """Hash of classes, labels, names and pixels, or of the listing: the same on any machine.

        Of the data set itself, without data.extra.
        """
        return self._open().fingerprint

    @cached_property
    def listing_fingerprint(self) -> str:
        """Hash of classes, labels, names and sizes of the files; needs no decoding."""
        return listing_fingerprint(self.source.without_extra())

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """(path, reason) of the unreadable images found so far."""
        return named(self.source, self._open().errors)

    def split_keys(self) -> dict[str, Any]:
        """The keys that decide val and test, with their values."""
        own = asdict(self.rule)
        del own["train_fraction"]  # of the images that they leave
        return own

    def gives(self, split: str) -> bool:
        """Whether a split comes with the data set, and is not made here."""
        return self.rule.num_folds is None and split in self.source.split

    def fold_facts(self) -> dict[str, Any]:
        """What results.json says of the fold; empty without folds. `setup` comes first."""
        if self.rule.num_folds is None:
            return {}
        facts = {"fold": self.rule.fold, "num_folds": self.rule.num_folds}
        return {**facts, "partition_hash": self.partition_hash}

    def forget_folds(self) -> None:
        """Split as without folds: these are not the images that were dealt into them."""
        self.rule = replace(self.rule, num_folds=None, fold=None)

    def use(
        self,
        preprocessing: Preprocessing,
        augment: BatchAugment | None = None,
        seed: int = 0,
        split_hashes: dict[str, str] | None = None,
        limit: int | None = None,
    ) -> None:
        """Set the input for one model; seed gives the order and augmentation of training.

        `split_hashes` of an earlier run tell how it kept copies of an image together, or did not.
        An epoch of `limit` batches is no reason to measure more images, if each has to be decoded.
        """
        self._preprocessing, self._augment, self._seed = preprocessing, augment, seed
        self._known_hashes = split_hashes or {}
        self._limit = limit
        self._pipeline, self._ready = None, False

    def measure(self, classes: Sequence[str]) -> None:
        """Serve a trained network, which knows these classes: no others, but some may be absent.

        To be called before anything is listed. A train split is not needed either.
        """
        self.known_classes = list(classes)

    def prepare_data(self) -> None:
        """Decode on one process of each machine, before the others open the result."""
        self._open()

    def setup(self, stage: str | None = None) -> None:
        """Open or build the store, look for duplicates, split and measure."""
        if self._ready:
            return
        if self._preprocessing is not None and self._preprocessing.resize == "pad":
            refuse_typed("data.crop_fraction", "images are padded here", "data.resize=crop")
        self.rule.refuse_unused(self.source.split)
        begun = self.known_classes is not None or self._known_hashes  # the splits of a run
        policy = "allow" if begun else self.torn_groups
        own = self.source.without_extra()
        report_torn_groups(own, self.rule.given(own), policy)
        pipeline = self._open()
        self._split(pipeline)
        self.duplicates = pipeline.duplicates(self.splits)
        pipeline = self._with_white(pipeline)
        if self.preprocessing.mean is None:
            train, key = self.splits["train"], self.split_hash
            if self._limit and self.pipeline == "streaming":
                most = self._limit * self.batch_size
                train, key = self.spread("train", most), f"{key}-{most}"
            mean, std = pipeline.mean_and_std(train, key, self.rule.split_seed)
            self._preprocessing = replace(self.preprocessing, mean=mean, std=std)
        self._ready = True

    def _with_white(self, pipeline: Pipeline) -> Pipeline:
        """Decide what is white in 16-bit images, unless it is known; tell of brighter images.

        Splits and digests do not depend on it, since digests are of the 16 bits.
        """
        if self.preprocessing.white is None:
            found = pipeline.brightness(self.splits["train"])
            white = white_of(found) if found else WHITE
            self._preprocessing = replace(self.preprocessing, white=white)
            if found:
                log.info("16-bit images: %d is white, as the training images show", white)
            if white < WHITE:
                self._pipeline = None
                pipeline = self._open()
        white = self.preprocessing.white or WHITE
        others = np.concatenate(list(self.splits.values())) if white < WHITE else np.arange(0)
        values = pipeline.brightness(others) if len(others) else []
        if brighter := [value for value in values if value > white]:
            log.warning("%s", clipped(len(brighter), len(others), max(brighter), white))
        return pipeline

    def readable(self, split: str) -> np.ndarray:
        """Indices of a split's readable images, in the order that `loader` serves them.

        data.pipeline=streaming leaves out only the broken images found so far.
        """
        indices = self.splits[split]
        return indices[~np.isin(indices, list(self._open().errors))]

    def paths(self, split: str) -> list[str]:
        """Names of a split's readable images."""
        return [self._names[index] for index in self.readable(split)]

    def belongings(self, split: str) -> list[tuple[str, dict[str, str]]]:
        """For each readable image of a split: the number of its group, and its subgroups.

        "" without groups. A number is the same for every split of a table, and tells no name.
        """
        source, places = self.source, self.readable(split).tolist()
        if source.group is None:
            groups = [""] * len(places)
        else:
            groups = np.unique(source.group, return_inverse=True)[1][places].astype(str).tolist()
        columns = source.subgroups.items()
        subgroups = [{name: values[place] for name, values in columns} for place in places]
        return list(zip(groups, subgroups, strict=True))

    @cached_property
    def _names(self) -> list[str]:
        """The images' paths; with the split's folder where folds mix the images of several."""
        source = self.source
        folded = {*source.split.tolist()} - {"test", EXTRA} if self.rule.num_folds else set()
        if len(folded) < 2:
            return source.paths
        pairs = zip(source.split, source.paths, strict=True)
        return [f"{split}/{path}" if split else path for split, path in pairs]

    def metadata(self) -> Mapping[str, Sequence[str]]:
        """What else is known of each image of the data set, by column; nothing without a table."""
        return {}

    def digests(self, split: str) -> np.ndarray:
        """uint64 digests of the pixels of a split's readable images, before any resizing.

        data.pipeline=streaming has 0 for an image that was not read yet.
        """
        found: np.ndarray = self._open().digests[self.readable(split)]
        return found

    @property
    def is_read(self) -> bool:
        """Whether the pixels of all images to train and validate on are known."""
        return all(self.digests(split).all() for split in ("train", "val"))

    @property
    def serves_features(self) -> bool:
        """Whether `serve` was given features, so that no image need be read."""
        return self._features is not None

    def labels(self, split: str) -> np.ndarray:
        """int64 labels of a split's readable images."""
        return self.source.labels[self.readable(split)]

    def picture(self, split: str, position: int) -> np.ndarray:
        """uint8 (S, S, 3) of a readable image as the network is given it, before normalisation."""
        pixels = self._open().picture(self.readable(split)[position])
        return np.broadcast_to(pixels, (3, *pixels.shape[1:])).transpose(1, 2, 0)  # grey: 3 times

    def unreadable(self, split: str) -> list[tuple[str, int, str]]:
        """(path, label, reason) of a split's broken images.

        A store finds broken images before the split. They then belong to a split that comes with
        the data set, and to no split that is made here.
        """
        source = self.source
        made = {index: name for name, own in self.splits.items() for index in own.tolist()}
        given = source.split if self.rule.num_folds is None else np.full(len(source), "")
        return [
            (self._names[index], int(source.labels[index]), reason)
            for index, reason in sorted(self._open().errors.items())
            if made.get(index, given[index]) == split
        ]

    def _open(self) -> Pipeline:
        if self._pipeline is None:
            kind = StorePipeline if self.pipeline == "store" else StreamingPipeline
            self._pipeline = kind(
                self.source,
                self.preprocessing,
                self.cache_dir,
                self.num_workers,
                skip=self.on_error == "skip",
            )
        return self._pipeline

    def _split(self, pipeline: Pipeline) -> None:
        self.copies = pipeline.copies()
        own = self.source.without_extra()
        assigned = assign(
            own,
            np.setdiff1d(np.arange(len(own)), list(pipeline.errors)),
            self.copies,
            self.rule,
            some_absent=self.known_classes is not None,
            known=self._known_hashes,
        )
        if self.source.extra:
            assert self.copies is not None, "a store knows the pixels"
            assigned, self.added = admitted(
                assigned, self.source, self.copies, list(pipeline.errors)
            )
        self.splits = assigned.splits
        self.split_hash, self.split_hashes = assigned.hash, assigned.hashes
        self.partition_hash = assigned.partition_hash
