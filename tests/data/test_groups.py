import numpy as np
import pytest

from strided.data.splits import Splits, make_splits
from strided.errors import UserError

CLASSES = ["a", "b", "c"]


def grouped(labels: np.ndarray, groups: np.ndarray, **changes: object) -> Splits:
    options = {"val_fraction": 0.1, "test_fraction": 0.2, "train_fraction": 1.0, "split_seed": 0}
    official = changes.pop("official", np.full(len(labels), ""))
    return make_splits(labels, official, CLASSES, groups=groups, **(options | changes))  # type: ignore[arg-type]


def patients(total: int = 500, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and groups of images: 1 to 12 a group, some groups with several classes."""
    noise = np.random.default_rng(seed)
    sizes = noise.integers(1, 13, total) ** 2 // 12 + 1
    groups = np.repeat([f"patient{k}" for k in range(total)], sizes)
    labels = np.repeat(noise.choice(3, total, p=[0.6, 0.3, 0.1]), sizes)
    mixed = noise.random(len(labels)) < 0.1
    labels[mixed] = noise.integers(0, 3, mixed.sum())
    return labels, groups


@pytest.mark.parametrize("seed", range(5))
def test_no_group_is_split_and_the_classes_are_in_proportion(seed: int) -> None:
    labels, groups = patients(seed=seed)
    splits = grouped(labels, groups, split_seed=seed)
    assert sorted(np.concatenate(list(splits.values())).tolist()) == list(range(len(labels)))
    assert sum(len(set(groups[indices])) for indices in splits.values()) == len(set(groups))
    for name, fraction in (("train", 0.7), ("val", 0.1), ("test", 0.2)):
        counts = np.bincount(labels[splits[name]], minlength=3)
        assert np.abs(counts - np.bincount(labels) * fraction).max() <= 3


def test_large_groups_are_in_every_split() -> None:
    labels, groups = patients()
    sizes = {
        name: len(indices) / len(set(groups[indices]))
        for name, indices in grouped(labels, groups).items()
    }
    assert max(sizes.values()) < 1.2 * min(sizes.values())


def test_split_seed_alone_decides_and_not_the_names_of_the_groups() -> None:
    labels, groups = patients()
    first, again = grouped(labels, groups), grouped(labels, np.char.add("x", groups))
    other = grouped(labels, groups, split_seed=1)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["val"], other["val"])


def test_every_split_has_every_class_even_one_of_three_groups() -> None:
    labels = np.array([0] * 60 + [1] * 60 + [2] * 9)
    groups = np.array([*range(20), *range(20)] * 3 + [100] * 4 + [101] * 3 + [102] * 2)
    for indices in grouped(labels, groups).values():
        assert set(labels[indices]) == {0, 1, 2}


def test_a_class_of_too_few_groups_is_named() -> None:
    labels = np.array([0, 1, 2] * 20)
    groups = np.where(labels == 2, 1000 + np.arange(60) % 2, np.arange(60))
    with pytest.raises(
        UserError, match="class c has images of 2 groups.*train, val, test.*expected as many.*Try"
    ):
        grouped(labels, groups)
    assert list(grouped(labels, groups, test_fraction=0.0)) == ["train", "val"]


def test_smaller_parts_of_train_are_whole_groups_of_larger_ones() -> None:
    labels, groups = patients()
    whole = grouped(labels, groups)
    smaller: set[int] = set()
    for fraction in (0.001, 0.1, 0.15, 0.5, 0.77, 1.0):
        part = grouped(labels, groups, train_fraction=fraction)
        assert np.array_equal(part["val"], whole["val"])
        assert np.array_equal(part["test"], whole["test"])
        kept = set(part["train"].tolist())
        left = set(whole["train"].tolist()) - kept
        assert smaller <= kept and set(labels[list(kept)]) == {0, 1, 2}
        assert not set(groups[list(kept)]) & set(groups[list(left)])
        smaller = kept
        if fraction >= 0.1:
            assert abs(len(kept) - fraction * len(whole["train"])) <= 13
    assert smaller == set(whole["train"].tolist())


def test_only_val_is_carved_by_group_where_test_is_official() -> None:
    labels, groups = patients()
    official = np.where(np.char.endswith(groups, "0"), "test", "train")
    splits = grouped(labels, groups, official=official)
    assert np.array_equal(splits["test"], np.flatnonzero(official == "test"))
    assert not set(groups[splits["val"]]) & set(groups[splits["train"]])
    share = len(splits["val"]) / (len(splits["val"]) + len(splits["train"]))
    assert share == pytest.approx(0.1, abs=0.01)
