"""Which image of a data set is in which split, and the hashes that tell when that changes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from strided.config.unused import refuse_typed
from strided.data.source import Source
from strided.data.splits import Splits, check_fractions, make_splits, split_hash


@dataclass(frozen=True)
class SplitRule:
    """What decides a split beside the images: the data's keys of these names."""

    val_fraction: float
    test_fraction: float
    train_fraction: float
    split_seed: int

    def __post_init__(self) -> None:
        check_fractions(self.val_fraction, self.test_fraction, self.train_fraction)

    def refuse_unused(self, official: np.ndarray) -> None:
        """Raise UserError for typed keys of a split that the data set gives itself."""
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

    `hash` is of all splits, `hashes` has one for each.
    """

    splits: Splits
    hash: str
    hashes: dict[str, str]

    @classmethod
    def of(cls, splits: Splits, source: Source) -> Self:
        """Hash the splits of a source's images."""
        ids = [f"{s}/{p}" for s, p in zip(source.split, source.paths, strict=True)]
        hashes = {split: split_hash({split: own}, ids) for split, own in splits.items()}
        return cls(splits, split_hash(splits, ids), hashes)

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
    are the hashes of an earlier run, from which it follows whether copies were kept together then.
    """
    kept_together = _assign(source, readable, copies, rule, some_absent)
    if copies is None or not known or kept_together.is_as(known):
        return kept_together
    apart = _assign(source, readable, None, rule, some_absent)
    return apart if apart.is_as(known) else kept_together


def _assign(
    source: Source,
    readable: np.ndarray,
    copies: np.ndarray | None,
    rule: SplitRule,
    some_absent: bool,
) -> Assignment:
    labels, classes = source.labels[readable], source.classes
    if some_absent:
        present, labels = np.unique(labels, return_inverse=True)
        classes = [classes[label] for label in present]
    splits = make_splits(
        labels,
        source.split[readable],
        classes,
        val_fraction=rule.val_fraction,
        test_fraction=rule.test_fraction,
        train_fraction=rule.train_fraction,
        split_seed=rule.split_seed,
        groups=None if source.group is None else source.group[readable],
        copies=None if copies is None else copies[readable],
    )
    return Assignment.of({split: readable[own] for split, own in splits.items()}, source)
