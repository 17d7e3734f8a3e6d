"""A data set before anything is decoded: names, labels and a way to read one image."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from PIL import Image

from strided.data.reading.labels import label_of
from strided.errors import UserError, one_line

EXTRA = "extra"  # in place of a split: images of data.extra, which only training may see
_SHOWN = 10  # classes in a message


@dataclass(frozen=True)
class Source:
    """The images of one data set, listed but not read.

    paths are relative to the official split's folder (`cat/0001.jpg`); arrays have numbers
    (`00012`). split holds "train", "val", "test" or "" for each image. group, if any, names groups
    whose images are never split. read(index) raises ImageError; it must be picklable, for
    processes that decode. listing changes whenever the files or parameters do: the store of their
    pixels is named after it. ignored counts the files that are not used, by ending. left_out says
    of folders of classes or splits why they are not used. sizes, if there are files, are their
    bytes. subgroups has columns of a table, each with a value for each image, or "". The last
    `extra` images are of data.extra.
    """

    classes: list[str]
    paths: list[str]
    labels: np.ndarray
    split: np.ndarray
    read: Callable[[int], Image.Image]
    listing: str
    ignored: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    native_size: int | None = None
    group: np.ndarray | None = None
    sizes: Sequence[int] | None = None
    subgroups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    extra: int = 0

    def __len__(self) -> int:
        return len(self.paths)

    def without_extra(self) -> Self:
        """The images of the data set itself; `listing` and `read` stay those of all."""
        if not self.extra:
            return self
        own = slice(len(self) - self.extra)
        return replace(
            self,
            paths=self.paths[own],
            labels=self.labels[own],
            split=self.split[own],
            group=None if self.group is None else self.group[own],
            sizes=None if self.sizes is None else self.sizes[own],
            subgroups={name: values[own] for name, values in self.subgroups.items()},
            extra=0,
        )


@dataclass(frozen=True)
class ArrayReader:
    """Reads images that are in memory."""

    images: np.ndarray

    def __call__(self, index: int) -> Image.Image:
        return Image.fromarray(self.images[index])


def array_source(
    images: np.ndarray,
    labels: np.ndarray,
    split: np.ndarray,
    classes: Sequence[str],
    listing: str,
) -> Source:
    """Serve images that are in memory: uint8 (N, S, S) or (N, S, S, 3)."""
    return Source(
        classes=list(classes),
        paths=[f"{index:05d}" for index in range(len(images))],
        labels=labels.astype(np.int64),
        split=split,
        read=ArrayReader(images),
        listing=listing,
        native_size=images.shape[1],
    )


def numbered_as(source: Source, classes: Sequence[str], name: str) -> Source:
    """Number the labels as a network does that knows these classes, some of which may be absent.

    Raises UserError for a class that the network does not know: it would be wrong on each image.
    """
    if source.classes == list(classes):
        return source
    number = {label_of(known): index for index, known in enumerate(classes)}
    if unknown := [label for label in source.classes if label_of(label) not in number]:
        near = {known.casefold(): f" (it has {known})" for known in number}
        told = [label + near.get(label_of(label).casefold(), "") for label in unknown]
        raise UserError(
            f"{name} and the checkpoint have different classes: the checkpoint does not know "
            f"{_some(told)}; expected no others than {_some(classes)}. Try giving them the "
            "checkpoint's names, or leaving their images out: data=csv and a table of the others"
        )
    numbers = np.array([number[label_of(label)] for label in source.classes], dtype=np.int64)
    return replace(source, classes=list(classes), labels=numbers[source.labels])


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(one_line, names[:_SHOWN])) + (", ..." if len(names) > _SHOWN else "")


def digest(*parts: object) -> str:
    """Hex sha256 of the parts' text; different lists of parts have different digests."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()
