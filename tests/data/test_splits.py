from typing import Any

import numpy as np
import pytest

from strided.data.splits import Splits, make_splits, split_hash, stratified_order, without_images
from strided.errors import UserError


def split(labels: np.ndarray, official: np.ndarray | None = None, **changes: Any) -> Splits:
    fractions = {"val_fraction": 0.1, "test_fraction": 0.2, "train_fraction": 1.0, "split_seed": 0}
    official = np.full(len(labels), "") if official is None else official
    classes = [f"class{k}" for k in range(labels.max() + 1)]
    return make_splits(labels, official, classes, **(fractions | changes))


SPLIT_BEFORE = "6bd0a2933ceb68f8"  # of version 0.1


def uneven(total: int) -> np.ndarray:
    return np.sort(np.random.default_rng(1).choice(4, total, p=[0.5, 0.3, 0.15, 0.05]))


def test_a_twelfth_of_60000_is_exactly_5000() -> None:
    labels = np.random.default_rng(0).integers(0, 10, 60_000)
    splits = split(labels, np.full(60_000, "train"), val_fraction=0.0833333333, test_fraction=0.0)
    assert len(splits["val"]) == 5_000 and len(splits["train"]) == 55_000


def test_splits_are_a_partition_in_proportion() -> None:
    labels = uneven(997)
    splits = split(labels)
    assert sorted(np.concatenate(list(splits.values())).tolist()) == list(range(997))
    assert {name: len(ids) for name, ids in splits.items()} == {
        "train": 698,
        "val": 100,
        "test": 199,
    }
    for name, fraction in (("train", 0.7), ("val", 0.1), ("test", 0.2)):
        counts = np.bincount(labels[splits[name]], minlength=4)
        assert np.abs(counts - np.bincount(labels) * fraction).max() <= 2


def test_a_class_of_three_is_in_every_split() -> None:
    labels = np.array([0] * 200 + [1] * 3)
    assert all(1 in labels[indices] for indices in split(labels).values())


def test_official_splits_are_taken_as_they_are() -> None:
    official = np.array((["train"] * 6 + ["val"] * 2 + ["test"] * 2) * 10)
    splits = split(np.arange(100) % 2, official)
    for name in ("train", "val", "test"):
        assert np.array_equal(splits[name], np.flatnonzero(official == name))


def test_val_is_carved_from_train_when_only_test_is_official() -> None:
    official = np.array(["train"] * 80 + ["test"] * 20)
    splits = split(np.arange(100) % 2, official)
    assert splits["test"].tolist() == list(range(80, 100))
    assert len(splits["val"]) == 8 and splits["val"].max() < 80


def test_train_and_val_without_test_give_no_test() -> None:
    official = np.array(["train"] * 80 + ["val"] * 20)
    assert list(split(np.arange(100) % 2, official)) == ["train", "val"]


def test_train_fractions_are_nested_and_leave_val_and_test_alone() -> None:
    labels = uneven(900)
    whole = split(labels)
    smaller: set[int] = set()
    for fraction in (0.001, 0.1, 0.15, 0.2, 0.5, 0.77, 1.0):
        part = split(labels, train_fraction=fraction)
        assert np.array_equal(part["val"], whole["val"])
        assert np.array_equal(part["test"], whole["test"])
        assert smaller <= set(part["train"].tolist())
        assert set(labels[part["train"]]) == {0, 1, 2, 3}
        smaller = set(part["train"].tolist())
    assert len(split(labels, train_fraction=0.5)["train"]) == round(len(whole["train"]) * 0.5)


def test_split_seed_alone_decides() -> None:
    labels = uneven(300)
    np.random.default_rng(5).random()
    first, again, other = split(labels), split(labels), split(labels, split_seed=1)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["val"], other["val"])


def test_every_prefix_of_the_order_is_stratified() -> None:
    labels = uneven(400)
    order = stratified_order(labels, np.random.default_rng(0))
    for size in range(4, 401):
        counts = np.bincount(labels[order[:size]], minlength=4)
        assert np.abs(counts - np.bincount(labels) * size / 400).max() <= 1.5


def test_split_hash_follows_what_is_where_only() -> None:
    ids = [f"{k}.png" for k in range(6)]
    splits = {"train": np.array([0, 1, 2, 3]), "val": np.array([4, 5])}
    same = {"train": np.array([3, 2, 1, 0]), "val": np.array([5, 4])}
    moved = {"train": np.array([0, 1, 2, 4]), "val": np.array([3, 5])}
    assert split_hash(splits, ids) == split_hash(same, ids) != split_hash(moved, ids)
    assert len(split_hash(splits, ids)) == 16


@pytest.mark.parametrize(
    "changes",
    [
        {"val_fraction": -0.1},
        {"val_fraction": 1.0},
        {"test_fraction": -0.1},
        {"train_fraction": 0.0},
        {"train_fraction": 1.1},
        {"val_fraction": 0.5, "test_fraction": 0.5},
    ],
)
def test_bad_fractions_name_their_key(changes: dict[str, float]) -> None:
    with pytest.raises(UserError, match=f"data.{next(iter(changes))}.*expected.*Try"):
        split(uneven(100), None, **changes)


def test_too_small_a_class_is_named_with_its_count() -> None:
    with pytest.raises(UserError, match="class1 has 2 readable images; expected at least 3"):
        split(np.array([0] * 50 + [1] * 2))


def test_classes_that_a_split_lacks_are_named_up_to_a_few() -> None:
    classes = [f"class{k}" for k in range(8)]
    splits = {"train": np.arange(8), "val": np.array([0, 1, 2]), "test": np.array([0])}
    val, test = without_images(splits, np.arange(8), classes)
    assert val.startswith("val has no image of 5 of the 8 classes (class3, class4, ")
    assert "class7)" in val
    assert "7 of the 8" in test and "class5, ...)" in test and "class6" not in test


def with_copies(total: int, share: int, seed: int) -> np.ndarray:
    """Numbers of `total` images, of which one in `share` is a copy of another."""
    drawn = np.random.default_rng(seed)
    copies = np.arange(total)
    changed = drawn.integers(0, total, total // share)
    copies[changed] = copies[drawn.integers(0, total, len(changed))]
    return copies


@pytest.mark.parametrize("share", [1, 3, 50])
@pytest.mark.parametrize("grouped", [False, True])
def test_copies_are_in_one_split_with_their_groups(share: int, grouped: bool) -> None:
    labels, copies = uneven(600), with_copies(600, share, seed=share)
    groups = np.random.default_rng(2).integers(0, 300, 600) if grouped else None
    splits = split(labels, copies=copies, groups=groups if groups is None else groups.astype(str))
    assert sorted(np.concatenate(list(splits.values())).tolist()) == list(range(600))
    for name, fraction in (("train", 0.7), ("val", 0.1), ("test", 0.2)):
        assert abs(len(splits[name]) - 600 * fraction) <= 12
        assert set(labels[splits[name]].tolist()) == {0, 1, 2, 3}
        others = np.setdiff1d(np.arange(600), splits[name])
        for numbers in (copies, groups):
            assert numbers is None or not np.isin(numbers[others], numbers[splits[name]]).any()


def test_a_picture_with_many_copies_stays_in_train() -> None:
    copies = np.arange(1000)
    copies[:600:2] = 0  # 300 blank images
    splits = split(np.arange(1000) % 2, copies=copies)
    assert [len(splits[name]) for name in ("train", "val", "test")] == [700, 100, 200]
    assert np.isin(np.flatnonzero(copies == 0), splits["train"]).all()


def test_without_copies_a_split_is_what_it_was_before_they_were_looked_at() -> None:
    labels = uneven(300)
    for fraction in (1.0, 0.3):
        plain = split(labels, train_fraction=fraction)
        known = split(labels, train_fraction=fraction, copies=np.arange(300)[::-1])
        assert all(np.array_equal(plain[name], known[name]) for name in plain)
    assert split_hash(plain, [str(k) for k in range(300)]) == SPLIT_BEFORE


def test_a_class_of_copies_only_is_named() -> None:
    labels, copies = np.array([0] * 50 + [1] * 9), np.arange(59)
    copies[50:] = [50, 51] * 4 + [50]
    with pytest.raises(UserError, match="class1 has 2 readable images, other than copies"):
        split(labels, copies=copies)
