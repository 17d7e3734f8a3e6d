"""Splits that keep whole groups together: all images of one patient, one camera, one day."""

from collections.abc import Sequence

import numpy as np

from strided.data.pixels.copies import first_copies
from strided.errors import UserError, one_line


def carve_groups(
    labels: np.ndarray,
    groups: np.ndarray,
    classes: Sequence[str],
    to_carve: dict[str, float],
    generator: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Positions of each split to carve, and of the rest as "train"; no group is in two splits.

    Every split first gets a small group of every class; UserError is raised if that fails. Then
    the largest groups are placed first, each where it leaves the classes closest to their
    fractions in all splits. The measure is the sum of count^2 / target over splits and classes,
    which is Pearson's chi-square up to a constant.
    """
    fractions = {"train": 1 - sum(to_carve.values()), **to_carve}
    _, group_of = np.unique(groups, return_inverse=True)
    content = np.zeros((group_of.max() + 1, len(classes)), dtype=np.int64)
    np.add.at(content, (group_of, labels), 1)
    targets = np.outer(list(fractions.values()), content.sum(axis=0))
    order = generator.permutation(len(content))
    order = order[np.argsort(-content[order].sum(axis=1), kind="stable")]
    split_of = _one_of_each_class(content, order, classes, list(fractions))
    counts = np.stack([content[split_of == split].sum(axis=0) for split in range(len(fractions))])
    for group in order[split_of[order] < 0]:
        growth = (content[group] * (2 * counts + content[group]) / targets).sum(axis=1)
        split_of[group] = growth.argmin()
        counts[growth.argmin()] += content[group]
    positions = split_of[group_of]
    return {split: np.flatnonzero(positions == k) for k, split in enumerate(fractions)}


def joined(groups: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Number the groups (N,), those that share an image as one: it cannot be in two splits.

    `first` has the place of each image's first copy.
    """
    _, group_of = np.unique(groups, return_inverse=True)
    if np.array_equal(group_of, group_of[first]):
        return group_of
    from scipy.sparse import coo_array  # scikit-learn brings scipy
    from scipy.sparse.csgraph import connected_components

    count = int(group_of.max()) + 1
    links = coo_array((np.ones(len(first)), (group_of, group_of[first])), shape=(count, count))
    _, component = connected_components(links, directed=False)
    number: np.ndarray = first_copies(component)[group_of]
    return number


def torn(groups: np.ndarray, split: np.ndarray) -> list[str]:
    """The groups (N,) that have images in more than one split (N,), in order."""
    names, group_of = np.unique(groups, return_inverse=True)
    kinds, split_of = np.unique(split, return_inverse=True)
    pairs = np.unique(group_of * len(kinds) + split_of)
    number = np.bincount(pairs // len(kinds), minlength=len(names))
    divided: list[str] = names[number > 1].tolist()
    return divided


def _one_of_each_class(
    content: np.ndarray, order: np.ndarray, classes: Sequence[str], splits: list[str]
) -> np.ndarray:
    """Choose groups that give every split every class; returns each group's split, else -1.

    The classes with the fewest groups choose first, and they take the smallest groups.
    """
    split_of = np.full(len(content), -1)
    has_class = content > 0
    for label in np.argsort(has_class.sum(axis=0), kind="stable").tolist():
        for split in range(len(splits)):
            if has_class[split_of == split, label].any():
                continue
            free = order[has_class[order, label] & (split_of[order] < 0)]
            if not len(free):
                number = has_class[:, label].sum()
                untested = ", or data.test_fraction=0" if "test" in splits else ""
                raise UserError(
                    f"class {one_line(classes[label])} has images of {number} groups, not enough"
                    f" for {', '.join(splits)} to have one each; expected as many, since no group"
                    f" is divided. Try more groups of it, removing the class{untested}"
                )
            split_of[free[-1]] = split
    return split_of
