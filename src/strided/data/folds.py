"""Folds: all images in parts of one size, each of which is the test split of another run."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from strided.data.reading.files import as_text
from strided.errors import UserError


def check_folds(num_folds: int | None, fold: int | None) -> None:
    """Raise UserError unless both are given and fit, or neither is."""
    if num_folds is None and fold is None:
        return
    if num_folds is None:
        raise UserError(
            f"data.fold={fold} without data.num_folds; expected the number of folds beside it. "
            "Try data.num_folds=5"
        )
    if num_folds < 2:
        raise UserError(
            f"data.num_folds={num_folds}; expected 2 or more: one is tested, the others are "
            "trained on. Try data.num_folds=5"
        )
    if fold is None or not 0 <= fold < num_folds:
        given = "no data.fold" if fold is None else f"data.fold={fold}"
        raise UserError(
            f"data.num_folds={num_folds} with {given}; expected the fold to test, 0 to "
            f'{num_folds - 1}. Try data.fold=0, or -m "data.fold=range({num_folds})" for all'
        )


def fold_of_each(
    labels: np.ndarray,
    together: np.ndarray,
    classes: Sequence[str],
    num_folds: int,
    generator: np.random.Generator,
    unit: str = "groups",
) -> np.ndarray:
    """The fold (0 to num_folds - 1) of each image (N,).

    `together` has equal numbers for images that must not be divided, because they are of one group
    or have the same pixels; `unit` is what a message calls them. Every fold gets some of every
    class first. Then the largest go where they leave the classes closest to equal parts (the sum
    of count^2 / total over folds and classes, Pearson's chi-square up to a constant), and then the
    sizes. If no two images belong together, the counts of a class differ by at most one between
    folds, and so do the sizes. Raises UserError if a class has too few.
    """
    if not len(labels):
        raise UserError(
            f"data.num_folds={num_folds}, but all readable images are of the data set's own test "
            "split, which is in no fold; expected others beside it. Try without data.num_folds and "
            "data.fold"
        )
    _, unit_of = np.unique(together, return_inverse=True)
    units = _units(unit_of, labels)
    _check_enough(units, classes, num_folds, unit)
    _, first = np.unique(unit_of, return_index=True)
    drawn = generator.permutation(len(units))
    order = np.lexsort((drawn, labels[first], -np.bincount(unit_of))).tolist()
    deal = _Deal(units, len(classes), num_folds)
    deal.one_of_each_class(order, classes, unit)
    for number in order:
        if deal.fold_of[number] < 0:
            deal.place(number, min(range(num_folds), key=lambda fold: deal.cost(number, fold)))
    return np.array(deal.fold_of)[unit_of]


Unit = list[tuple[int, int]]  # (class, images of it)


def _units(unit_of: np.ndarray, labels: np.ndarray) -> list[Unit]:
    units: list[Unit] = [[] for _ in range(int(unit_of.max()) + 1)]
    pairs, counts = np.unique(np.stack([unit_of, labels]), axis=1, return_counts=True)
    for number, label, count in zip(*pairs.tolist(), counts.tolist(), strict=True):
        units[number].append((label, count))
    return units


def _check_enough(units: list[Unit], classes: Sequence[str], num_folds: int, unit: str) -> None:
    """Raise UserError for a class too small for the folds; with two, the rest is train and val."""
    having = np.bincount([label for own in units for label, _ in own], minlength=len(classes))
    scarce = int(having.argmin())
    least = num_folds if num_folds > 2 else 4
    if having[scarce] < least:
        fewer = f"data.num_folds={having[scarce]}, " if having[scarce] > 2 else ""
        raise UserError(
            f"data.num_folds={num_folds}, but class {as_text(classes[scarce])} has "
            f"{having[scarce]} {unit}; expected {least} or more, so that every fold, and what is "
            f"left to train and validate on, has one. Try {fewer}more of the class, or removing it"
        )


@dataclass
class _Deal:
    """The folds as they fill: counts of each class, and sizes."""

    units: list[Unit]
    num_classes: int
    num_folds: int
    fold_of: list[int] = field(init=False)  # of each unit; -1: not yet placed

    def __post_init__(self) -> None:
        self.fold_of = [-1] * len(self.units)
        self.counts = [[0] * self.num_classes for _ in range(self.num_folds)]
        self.sizes = [0] * self.num_folds
        self.totals = [0] * self.num_classes
        for unit in self.units:
            for label, count in unit:
                self.totals[label] += count

    def place(self, number: int, fold: int) -> None:
        self.fold_of[number] = fold
        for label, count in self.units[number]:
            self.counts[fold][label] += count
            self.sizes[fold] += count

    def cost(self, number: int, fold: int) -> tuple[float, int]:
        """What a unit adds to the distance from equal parts there, and the fold's size."""
        counts = self.counts[fold]
        growth = (n * (2 * counts[k] + n) / self.totals[k] for k, n in self.units[number])
        return sum(growth), self.sizes[fold]

    def one_of_each_class(self, order: Sequence[int], classes: Sequence[str], unit: str) -> None:
        """Give every fold the smallest units that have each class, the rarest classes first."""
        having: list[list[int]] = [[] for _ in range(self.num_classes)]
        for number in order:
            for label, _ in self.units[number]:
                having[label].append(number)
        for label in sorted(range(self.num_classes), key=lambda label: len(having[label])):
            free = [number for number in having[label] if self.fold_of[number] < 0]
            lacking = [k for k in range(self.num_folds) if not self.counts[k][label]]
            if len(lacking) > len(free):
                raise UserError(
                    f"data.num_folds={self.num_folds}: the {len(having[label])} {unit} of class "
                    f"{as_text(classes[label])} cannot be dealt out so that every fold has one, "
                    "as other classes need some of them; expected more. Try a smaller "
                    "data.num_folds, or removing the class"
                )
            for number in free[len(free) - len(lacking) :]:
                fold = min(lacking, key=lambda fold: self.cost(number, fold))
                self.place(number, fold)
                lacking.remove(fold)
