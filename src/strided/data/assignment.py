"""Which image of a data set is in which split, and the hashes that tell when that changes."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np

from strided.config.unused import refuse_typed
from strided.data.folds import check_folds, fold_of_each
from strided.data.groups import joined, torn
from strided.data.pixels.copies import first_copies
from strided.data.source import Source
from strided.data.splits import Splits, check_fractions, make_splits, split_hash
from strided.errors import UserError, one_line

log = logging.getLogger(__name__)

_SHOWN_GROUPS = 3


@dataclass(frozen=True)
class SplitRule:
    """What decides a split beside the images: the data's keys of these names."""

    val_fraction: float
    test_fraction: float
    train_fraction: float
    split_seed: int
    num_folds: int | None = None  # None: no folds, and `fold` is None too
    fold: int | None = None

    def __post_init__(self) -> None:
        check_folds(self.num_folds, self.fold)
        test_fraction = self.test_fraction if self.num_folds is None else 0.0
        check_fractions(self.val_fraction, test_fraction, self.train_fraction)

    def given(self, source: Source) -> np.ndarray:
        """The splits that the data set itself gives and that stay: "" for an image without one.

        Folds leave nothing but test as it is.
        """
        if self.num_folds is None:
            return source.split
        return np.where(source.split == "test", "test", "")

    def refuse_unused(self, official: np.ndarray) -> None:
        """Raise UserError for typed keys of a split that the data set gives itself."""
        if self.num_folds is not None:
            return
        given = [split for split in ("val", "test") if np.any(official == split)]
        if not given:
            return
        why = f"the data set has its own {' and '.join(given)} split{'s' * (len(given) > 1)}"
        instead = "data.train_fraction=... for fewer training images"
        refuse_typed("data.test_fraction", why, instead)
        if "val" in given:
            refuse_typed("data.val_fraction", why, instead)
            if self.train_fraction == 1:
                refuse_typed("data.split_seed", f"{why}, and nothing is drawn", instead)


@dataclass(frozen=True)
class Assignment:
    """The indices of the images of each split.

    `hash` is of all splits, `hashes` has one for each. `partition_hash`, with folds, is of all of
    them: the same in the run of each.
    """

    splits: Splits
    hash: str
    hashes: dict[str, str]
    partition_hash: str | None = None

    @classmethod
    def of(cls, splits: Splits, source: Source, folds: Splits | None = None) -> Self:
        """Hash the splits of a source's images, and the folds behind them."""
        ids = [f"{s}/{p}" for s, p in zip(source.split, source.paths, strict=True)]
        hashes = {split: split_hash({split: own}, ids) for split, own in splits.items()}
        partition = None if folds is None else split_hash(folds, ids)
        return cls(splits, split_hash(splits, ids), hashes, partition)

    def is_as(self, known: Mapping[str, str]) -> bool:
        """Whether val and test are those of a run with these hashes; train may be a part of it."""
        return all(known.get(s) == own for s, own in self.hashes.items() if s != "train")


def assign(
    source: Source,
    readable: np.ndarray,
    copies: np.ndarray | None,
    rule: SplitRule,
    *,
    some_absent: bool = False,
    known: Mapping[str, str] | None = None,
) -> Assignment:
    """Assign the readable images (indices of the source) to splits; see `make_splits`.

    `copies` numbers all images of the source. `some_absent`: its classes may lack images. `known`
    are the hashes of an earlier run: its images are assigned and hashed as its version did.
    """
    assigned = _assign(source, readable, copies, rule, some_absent)
    if not known or assigned.is_as(known):
        return assigned
    for as_then, copies_then in _as_earlier(source, copies):
        earlier = _assign(as_then, readable, copies_then, rule, some_absent)
        if earlier.is_as(known):
            return earlier
    return assigned


def _as_earlier(
    source: Source, copies: np.ndarray | None
) -> Iterator[tuple[Source, np.ndarray | None]]:
    """How earlier versions read the same images: copies apart, or `train/` alone as a split."""
    if copies is not None:
        yield source, None
    if not source.split.any():
        as_train = replace(source, split=np.full(len(source), "train"))
        yield as_train, copies
        if copies is not None:
            yield as_train, None


def _assign(
    source: Source,
    readable: np.ndarray,
    copies: np.ndarray | None,
    rule: SplitRule,
    some_absent: bool,
) -> Assignment:
    given = rule.given(source)
    if rule.num_folds is not None:
        readable = readable[given[readable] != "test"]
    labels, classes = source.labels[readable], source.classes
    if some_absent:
        present, labels = np.unique(labels, return_inverse=True)
        classes = [classes[label] for label in present]
    groups = None if source.group is None else source.group[readable]
    copies = None if copies is None else copies[readable]
    folds = None
    if rule.num_folds is not None:
        first = np.arange(len(labels)) if copies is None else first_copies(copies)
        fold_of = fold_of_each(
            labels,
            first if groups is None else joined(groups, first),
            classes,
            rule.num_folds,
            np.random.default_rng([rule.split_seed, 3]),
            "readable images of different pixels" if groups is None else "groups",
        )
        folds = {f"fold {k}": readable[fold_of == k] for k in range(rule.num_folds)}
        given = given.astype("<U5")
        given[readable[fold_of == rule.fold]] = "test"
    splits = make_splits(
        labels,
        given[readable],
        classes,
        val_fraction=rule.val_fraction,
        test_fraction=rule.test_fraction,
        train_fraction=rule.train_fraction,
        split_seed=rule.split_seed,
        groups=groups,
        copies=copies,
    )
    return Assignment.of({split: readable[own] for split, own in splits.items()}, source, folds)


def report_torn_groups(
    source: Source, given: np.ndarray, policy: Literal["refuse", "allow"]
) -> None:
    """Raise UserError, or warn, of groups that the data set's own splits divide."""
    divided = [] if source.group is None else torn(source.group, given)
    if not divided:
        return
    more = ", ..." if len(divided) > _SHOWN_GROUPS else ""
    found = (
        f"{len(divided)} groups are in more than one split of the table "
        f"({', '.join(map(one_line, divided[:_SHOWN_GROUPS]))}{more}), so val and test do not "
        "measure new groups"
    )
    if policy == "allow":
        log.warning("%s", found)
        return
    raise UserError(
        f"{found}; expected each group in one split. Try data.split_column=null, which makes "
        "splits of whole groups, or data.torn_groups=allow to take them as they are"
    )
