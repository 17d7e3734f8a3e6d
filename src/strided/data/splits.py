"""Decide which image is in train, val and test, by labels, groups, copies and split_seed alone."""

import hashlib
from collections.abc import Sequence

import numpy as np

from strided.data.groups import carve_groups, joined
from strided.data.pixels.copies import first_copies
from strided.data.reading.files import as_text
from strided.errors import UserError

Splits = dict[str, np.ndarray]

_SHOWN_CLASSES = 5


def make_splits(
    labels: np.ndarray,
    official: np.ndarray,
    classes: Sequence[str],
    *,
    val_fraction: float,
    test_fraction: float,
    train_fraction: float,
    split_seed: int,
    groups: np.ndarray | None = None,
    copies: np.ndarray | None = None,
) -> Splits:
    """Sorted indices of "train", "val" and, if there is one, "test".

    Official val and test splits stay as they are. If only test is official, val is carved from
    train as a fraction of it; if neither is, both are carved as fractions of all images.
    A val_fraction of 0 leaves "val" empty. train_fraction then keeps a part of train: a smaller
    part lies within a larger one. Images of one group stay together throughout; fractions are then
    met approximately. `copies` has equal numbers for images with the same pixels: no split that is
    carved here has a copy of an image of another one. Without copies, the splits are those of
    copies=None.
    """
    check_fractions(val_fraction, test_fraction, train_fraction)
    splits = {s: np.flatnonzero(official == s) for s in ("val", "test") if np.any(official == s)}
    to_carve = {} if "val" in splits or not val_fraction else {"val": val_fraction}
    if not splits and test_fraction > 0:
        to_carve["test"] = test_fraction
    if not val_fraction:
        splits.setdefault("val", np.arange(0))
    train = np.flatnonzero((official != "val") & (official != "test"))
    if not len(train):  # nothing but images to measure
        return splits
    first = np.arange(len(train)) if copies is None else first_copies(copies[train])
    _check_class_counts(labels[train], first, classes, ["train", *to_carve])
    if groups is None:
        carved = _carve_each(labels[train], first, to_carve, split_seed)
    else:
        generator = np.random.default_rng([split_seed, 0])
        together = joined(groups[train], first)
        carved = carve_groups(labels[train], together, classes, to_carve, generator)
    splits |= {split: train[positions] for split, positions in carved.items()}
    train = splits["train"]
    size = max(round(len(train) * train_fraction), len(np.unique(labels[train])))
    generator = np.random.default_rng([split_seed, 2])
    if groups is None:
        kept = stratified_order(labels[train], generator)[:size]
    else:
        kept = _first_groups(labels[train], groups[train], size, generator)
    splits["train"] = train[kept]
    return {name: np.sort(splits[name]) for name in ("train", "val", "test") if name in splits}


def _carve_each(
    labels: np.ndarray, first: np.ndarray, to_carve: dict[str, float], split_seed: int
) -> Splits:
    """Positions of each split to carve, and of the rest as "train".

    `first` has the place of each image's first copy. An image and its copies are taken together,
    by the label of the first.
    """
    chosen: Splits = {}
    left, weights = np.unique(first), np.bincount(first, minlength=len(first))
    for position, (split, fraction) in enumerate(to_carve.items()):
        spare = len(to_carve) - position  # images of a class kept for train and later splits
        generator = np.random.default_rng([split_seed, position])
        size = round(len(labels) * fraction)
        chosen[split], left = carve(left, labels, weights, size, spare, generator)
    return {split: _with_copies(own, first) for split, own in {**chosen, "train": left}.items()}


def _with_copies(chosen: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The places of the chosen images, each followed by its copies."""
    rank = np.full(len(first), -1)
    rank[chosen] = np.arange(len(chosen))
    found = np.flatnonzero(rank[first] >= 0)
    return found[np.argsort(rank[first[found]], kind="stable")]


def _first_groups(
    labels: np.ndarray, groups: np.ndarray, size: int, generator: np.random.Generator
) -> np.ndarray:
    """Positions of the first groups, in random order, that hold `size` images and every class.

    Every prefix of the order has the classes in proportion, within the groups' uneven sizes.
    """
    _, first, group_of = np.unique(groups, return_index=True, return_inverse=True)
    order = stratified_order(labels[first], generator)  # a group counts as its first image
    rank = np.argsort(order)[group_of]
    by_rank = np.argsort(rank, kind="stable")
    _, seen = np.unique(labels[by_rank], return_index=True)
    last = rank[by_rank[max(size - 1, seen.max())]]
    return np.flatnonzero(rank <= last)


def carve(
    indices: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    size: int,
    spare: int,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Take images of a total weight of `size` in proportion to the classes: (taken, left).

    An image weighs as many as it has copies, itself among them. Every class gives at least one
    image and keeps at least `spare`, even if `size` is then missed.
    """
    own = weights[indices]
    order = stratified_order(labels[indices], generator, last=spare, weights=own)
    num_classes = len(np.unique(labels[indices]))
    count = int(np.searchsorted(np.cumsum(own[order]), size, side="right"))
    count = min(max(count, num_classes), len(indices) - spare * num_classes)
    return indices[order[:count]], indices[order[count:]]


def stratified_order(
    labels: np.ndarray,
    generator: np.random.Generator,
    last: int = 0,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """A random order in which every prefix has the classes in proportion, within one image.

    One image of each class comes before all others, the `last` ones of each class after them. With
    weights, the heavy images of a class come after its light ones: a picture with a thousand
    copies then stays in train, where no copy counts as another success.
    """
    weights = np.ones(len(labels), dtype=np.int64) if weights is None else weights
    quantile = np.empty(len(labels))
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        members = members[np.argsort(weights[members], kind="stable")]
        ends = np.cumsum(weights[members])
        quantile[members] = (ends - weights[members] / 2) / ends[-1]
        quantile[members[len(members) - last :]] = 2.0
        quantile[members[0]] = 0.0
    return np.argsort(quantile, kind="stable")


def without_images(splits: Splits, labels: np.ndarray, classes: Sequence[str]) -> list[str]:
    """Sentences on the splits that lack some of the classes; `labels` are of all images."""
    found = []
    for split, indices in splits.items():
        if not len(indices):
            continue  # as asked for
        missing = np.setdiff1d(np.arange(len(classes)), labels[indices])
        names = [as_text(classes[label]) for label in missing[:_SHOWN_CLASSES]]
        if names:
            more = ", ..." if len(missing) > len(names) else ""
            found.append(
                f"{split} has no image of {len(missing)} of the {len(classes)} classes "
                f"({', '.join(names)}{more}), so its results say nothing about them"
            )
    return found


def split_hash(splits: Splits, ids: Sequence[str]) -> str:
    """16 hex digits that change when any image changes its split."""
    content = hashlib.sha256()
    for split, indices in splits.items():
        content.update(repr((split, sorted(ids[index] for index in indices))).encode())
    return content.hexdigest()[:16]


def check_fractions(val_fraction: float, test_fraction: float, train_fraction: float) -> None:
    """Raise UserError for fractions that leave no training images (0: none of that split)."""
    if not 0 <= val_fraction < 1:
        raise UserError(
            f"data.val_fraction={val_fraction}; expected 0 <= val_fraction < 1. Try "
            "data.val_fraction=0.1"
        )
    if not 0 <= test_fraction < 1:
        raise UserError(
            f"data.test_fraction={test_fraction}; expected 0 <= test_fraction < 1."
            " Try data.test_fraction=0.2"
        )
    if val_fraction + test_fraction >= 1:
        raise UserError(
            f"data.val_fraction={val_fraction} and data.test_fraction={test_fraction} leave no"
            " training images; expected a sum below 1."
            " Try data.val_fraction=0.1 data.test_fraction=0.2"
        )
    if not 0 < train_fraction <= 1:
        raise UserError(
            f"data.train_fraction={train_fraction}; expected 0 < train_fraction <= 1, the part of"
            " the training split to use. Try data.train_fraction=0.1"
        )


def _check_class_counts(
    labels: np.ndarray, first: np.ndarray, classes: Sequence[str], needed: list[str]
) -> None:
    counts = np.bincount(labels[np.unique(first)], minlength=len(classes))
    scarce = int(counts.argmin())
    if counts[scarce] < len(needed):
        copied = counts[scarce] < (labels == scarce).sum()
        raise UserError(
            f"class {as_text(classes[scarce])} has {counts[scarce]} readable images"
            f"{', other than copies of the same pixels' if copied else ''}; expected at least"
            f" {len(needed)}, one each for {', '.join(needed)}. Try adding images to it,"
            " removing the class, or, to measure a trained network on all, a split test of its own"
        )
