"""The card of a data set: its classes, sizes, splits and faults."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from strided.data import ImageDataModule
from strided.data.groups import torn
from strided.data.reading.decoding import ImageError
from strided.data.reading.files import as_text
from strided.data.reading.pictures import counted
from strided.data.splits import without_images

_MEASURED = 64  # images whose size is measured
_SHOWN_PAIRS = 5


def data_card(data: ImageDataModule) -> dict[str, Any]:
    """Describe the images of a run.

    `counts` has a row for each class, with its images in each split.
    """
    labels = data.source.labels
    counts = {
        split: np.bincount(labels[indices], minlength=len(data.classes)).tolist()
        for split, indices in data.splits.items()
    }
    return {
        "name": data.name,
        "splits": list(counts),
        "counts": [
            (as_text(name), [counts[split][k] for split in counts])
            for k, name in enumerate(data.classes)
        ],
        "missing": without_images(data.splits, labels, data.classes),
        "sizes": image_sizes(data),
        "fold": _fold(data),
        "groups": _groups(data),
        "skipped": len(data.skipped),
        "ignored": counted(data.source.ignored) or "0",
        "left_out": [f"{as_text(name)}: {why}" for name, why in data.source.left_out.items()],
        "duplicates": None if data.duplicates is None else len(data.duplicates),
        "pairs": [
            f"{there}/{as_text(one)} = {here}/{as_text(other)}"
            for one, there, other, here in (data.duplicates or [])[:_SHOWN_PAIRS]
        ],
    }


def _fold(data: ImageDataModule) -> str | None:
    rule = data.rule
    return None if rule.num_folds is None else f"fold {rule.fold} of 0 to {rule.num_folds - 1}"


def _groups(data: ImageDataModule) -> str | None:
    groups = data.source.group
    if groups is None:
        return None
    split_of = np.concatenate([np.full(len(own), name) for name, own in data.splits.items()])
    divided = len(torn(groups[np.concatenate(list(data.splits.values()))], split_of))
    return (
        f"{len(np.unique(groups)):,}, {f'{divided:,}' if divided else 'none'} of them in two splits"
    )


def image_sizes(data: ImageDataModule) -> str:
    """The sizes of the files in pixels: of all, or the range of a sample."""
    if data.native_size:
        return f"{data.native_size} x {data.native_size} pixels, all of them"
    indices = np.concatenate([data.spread(split, _MEASURED // 2) for split in data.splits])
    sizes = [size for index in indices.tolist() if (size := _size(data, index))]
    if not sizes:
        return "unknown"
    widths, heights = (sorted(side) for side in zip(*sizes, strict=True))
    return (
        f"{_range(widths)} x {_range(heights)} pixels, median {widths[len(widths) // 2]} x "
        f"{heights[len(heights) // 2]} ({len(sizes)} images measured)"
    )


def _size(data: ImageDataModule, index: int) -> tuple[int, int] | None:
    try:
        return data.source.read(index).size
    except ImageError:
        return None


def _range(sides: Sequence[int]) -> str:
    return str(sides[0]) if sides[0] == sides[-1] else f"{sides[0]} to {sides[-1]}"
