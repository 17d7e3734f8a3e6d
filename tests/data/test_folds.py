"""Folds of arrays and of real data sets: disjoint by group, covering, of one size and mixture."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from strided.data import ImageFolder, ImageTable, Preprocessing, array_source
from strided.data.assignment import Assignment, SplitRule, assign
from strided.data.folds import fold_of_each
from strided.data.source import Source
from strided.errors import UserError


def source(labels: np.ndarray, groups: np.ndarray | None, split: np.ndarray | None) -> Source:
    images = np.zeros((len(labels), 2, 2), dtype=np.uint8)
    official = np.full(len(labels), "") if split is None else split
    names = [f"class {k}" for k in range(labels.max() + 1)]
    made = array_source(images, labels, official, names, "")
    return made if groups is None else Source(**{**vars(made), "group": groups.astype(str)})


def assigned(
    labels: np.ndarray,
    fold: int,
    num_folds: int = 5,
    groups: np.ndarray | None = None,
    split: np.ndarray | None = None,
    copies: np.ndarray | None = None,
    split_seed: int = 0,
) -> Assignment:
    rule = SplitRule(0.1, 0.2, 1.0, split_seed, num_folds, fold)
    return assign(source(labels, groups, split), np.arange(len(labels)), copies, rule)


@st.composite
def tables(draw: st.DrawFn) -> dict[str, Any]:
    """Images of a few classes: with groups, of several classes too, with copies, a test split."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    num_folds, num_classes = draw(st.integers(2, 6)), draw(st.integers(2, 4))
    size = draw(st.integers(12 * num_folds, 60 * num_folds))
    shares = generator.dirichlet(np.full(num_classes, 3.0))
    labels = generator.choice(num_classes, size, p=shares)
    labels[:num_classes] = np.arange(num_classes)
    groups = copies = split = None
    if draw(st.booleans()):
        groups = generator.integers(0, max(1, size // draw(st.integers(1, 4))), size)
        if draw(st.booleans()):  # most groups are of one class
            pure = generator.integers(0, num_classes, groups.max() + 1)[groups]
            labels = np.where(generator.random(size) < 0.9, pure, labels)
    if draw(st.booleans()):
        copies = np.arange(size)
        copies[generator.integers(0, size, size // 10)] = generator.integers(0, size, size // 10)
    if draw(st.booleans()):
        split = np.where(generator.random(size) < 0.2, "test", "train")
    return {
        "labels": np.unique(labels, return_inverse=True)[1],
        "num_folds": num_folds,
        "groups": groups,
        "copies": copies,
        "split": split,
    }


def test_folds_are_disjoint_by_group_and_cover_all_but_the_given_test() -> None:
    made = uneven = 0

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(tables())
    def holds(table: dict[str, Any]) -> None:
        nonlocal made, uneven
        try:
            runs = [assigned(fold=fold, **table) for fold in range(table["num_folds"])]
        except UserError:  # a class of too few groups
            return
        made += 1
        assert_partition(runs, **table)
        uneven += table["copies"] is None and sizes_differ(runs, table["groups"])

    holds()
    assert made > 100
    assert uneven <= made / 50, "the parts of classes come first; that costs equal sizes seldom"


def sizes_differ(runs: list[Assignment], groups: np.ndarray | None) -> bool:
    """Whether the folds' sizes differ by more than the largest group explains."""
    largest = 1 if groups is None else np.bincount(groups).max()
    return bool(np.ptp([len(run.splits["test"]) for run in runs]) > largest)


def assert_partition(
    runs: list[Assignment],
    labels: np.ndarray,
    num_folds: int,
    groups: np.ndarray | None,
    copies: np.ndarray | None,
    split: np.ndarray | None,
) -> None:
    folded = np.arange(len(labels)) if split is None else np.flatnonzero(split != "test")
    tests = [run.splits["test"] for run in runs]
    assert sorted(np.concatenate(tests).tolist()) == folded.tolist()
    assert len({run.partition_hash for run in runs}) == 1
    assert len({run.hash for run in runs}) == num_folds
    if groups is None and copies is None:
        assert not sizes_differ(runs, None)
    for run in runs:
        assert sorted(np.concatenate(list(run.splits.values())).tolist()) == folded.tolist()
        for name, own in run.splits.items():
            assert set(labels[own]) == set(labels)
            others = np.concatenate([run.splits[s] for s in run.splits if s != name])
            for together in (groups, copies):
                assert together is None or not np.isin(together[own], together[others]).any()


@pytest.mark.parametrize("num_folds", [2, 3, 5, 10])
def test_without_groups_sizes_and_counts_of_a_class_differ_by_one(num_folds: int) -> None:
    labels = np.random.default_rng(num_folds).choice(4, 997, p=[0.5, 0.3, 0.15, 0.05])
    tests = [assigned(labels, k, num_folds).splits["test"] for k in range(num_folds)]
    counts = np.array([np.bincount(labels[own], minlength=4) for own in tests])
    assert (np.ptp(counts, axis=0) <= 1).all() and np.ptp(counts.sum(axis=1)) <= 1


def test_with_patients_sizes_and_counts_of_a_class_are_near_equal() -> None:
    generator = np.random.default_rng(0)
    sizes = generator.integers(1, 8, 400) ** 2 // 8 + 1
    groups = np.repeat(np.arange(400), sizes)
    labels = np.repeat(generator.choice(3, 400, p=[0.6, 0.3, 0.1]), sizes)
    tests = [assigned(labels, k, groups=groups).splits["test"] for k in range(5)]
    counts = np.array([np.bincount(labels[own], minlength=3) for own in tests])
    assert (np.ptp(counts, axis=0) <= 2).all() and np.ptp(counts.sum(axis=1)) <= 4


def test_split_seed_alone_makes_another_partition() -> None:
    labels = np.random.default_rng(0).integers(0, 3, 300)
    first, again, other = (assigned(labels, 1, split_seed=seed) for seed in (0, 0, 1))
    assert first.hash == again.hash and first.partition_hash == again.partition_hash
    assert first.partition_hash != other.partition_hash
    assert not np.array_equal(first.splits["test"], other.splits["test"])


def test_validation_is_a_tenth_of_what_the_fold_leaves() -> None:
    labels = np.random.default_rng(0).integers(0, 2, 1000)
    sizes = {split: len(own) for split, own in assigned(labels, 0).splits.items()}
    assert sizes == {"train": 720, "val": 80, "test": 200}


def test_a_class_smaller_than_the_folds_is_named_with_the_folds_that_it_allows() -> None:
    labels = np.array([0] * 40 + [1] * 3)
    with pytest.raises(UserError, match=r"num_folds=5, but class class 1 has 3 .*num_folds=3,"):
        assigned(labels, 0)
    groups = np.array([*range(40), 50, 51, 51])
    with pytest.raises(UserError, match=r"class 1 has 2 groups; expected 4 or more.*Try"):
        assigned(labels, 0, num_folds=2, groups=groups)
    with pytest.raises(UserError, match=r"num_folds=5, but all .* own test split.*Try without"):
        assigned(labels, 0, split=np.full(len(labels), "test"))  # as eval may be given


def dealt(units: list[tuple[int, ...]], num_folds: int) -> list[set[int]]:
    """The classes in each fold of groups that have one image of each of these classes."""
    labels = np.array([label for own in units for label in own])
    groups = np.repeat(np.arange(len(units)), [len(own) for own in units])
    classes = [f"class {k}" for k in range(labels.max() + 1)]
    folds = fold_of_each(labels, groups, classes, num_folds, np.random.default_rng(0))
    return [{*labels[folds == k].tolist()} for k in range(num_folds)]


def test_a_group_of_two_rare_classes_goes_where_both_are_lacking() -> None:
    units: list[tuple[int, ...]] = [(0, 2), (0,), (0,), (1, 2), (1,), (1,), (2,)] + [(3,)] * 9
    assert dealt(units, 3) == [{0, 1, 2, 3}] * 3


def test_groups_that_cannot_give_every_fold_every_class_are_refused() -> None:
    # of four groups two share a fold, and the class of these two and a third lacks one
    units: list[tuple[int, ...]] = [(1, 2, 3), (0, 2, 3), (0, 1, 3), (0, 1, 2)]
    with pytest.raises(UserError, match="3 groups of class class .*cannot be dealt out.*Try"):
        dealt(units, 3)


@pytest.mark.parametrize(
    ("num_folds", "fold", "message"),
    [
        (None, 1, r"data\.fold=1 without data\.num_folds; expected.*Try data\.num_folds=5"),
        (5, None, r"data\.num_folds=5 with no data\.fold; expected.*0 to 4.*range\(5\)"),
        (5, 5, r"data\.fold=5; expected.*0 to 4\. Try"),
        (5, -1, r"data\.fold=-1; expected"),
        (1, 0, r"data\.num_folds=1; expected 2 or more.*Try data\.num_folds=5"),
    ],
)
def test_folds_that_do_not_fit_are_named(
    num_folds: int | None, fold: int | None, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        ImageFolder(root="images", num_folds=num_folds, fold=fold)


@pytest.fixture
def split_folder(tmp_path: Path) -> Path:
    """train, val and test with the same names in each, and other pixels."""
    for number, split in enumerate(("train", "val", "test")):
        for index in range(40):
            colours = np.random.default_rng([number, index]).integers(0, 256, (8, 8, 3), np.uint8)
            file = tmp_path / "images" / split / ("cat" if index < 20 else "dog") / f"{index}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(colours).save(file)
    return tmp_path / "images"


def test_a_given_test_split_stays_untouched_and_val_is_folded(split_folder: Path) -> None:
    names: list[str] = []
    for fold in range(4):
        cache = str(split_folder.parent / "cache")
        data = ImageFolder(root=str(split_folder), cache_dir=cache, num_folds=4, fold=fold)
        data.use(Preprocessing(3, 8))
        data.setup()
        assert {split: len(own) for split, own in data.splits.items()} == {
            "train": 54,
            "val": 6,
            "test": 20,
        }
        assert not any((data.source.split[own] == "test").any() for own in data.splits.values())
        assert not data.gives("test") and data.fold_facts()["fold"] == fold
        names += data.paths("test")
    assert len(set(names)) == 80 and {name.split("/")[0] for name in names} == {"train", "val"}


def test_a_broken_image_of_the_given_test_split_is_of_no_fold(split_folder: Path) -> None:
    (split_folder / "test" / "cat" / "3.png").write_bytes(b"no image")
    (split_folder / "val" / "cat" / "3.png").write_bytes(b"no image")
    cache = str(split_folder.parent / "cache")
    root = str(split_folder)
    data = ImageFolder(root=root, cache_dir=cache, num_folds=4, fold=0, on_error="skip")
    data.use(Preprocessing(3, 8))
    data.setup()
    assert not data.unreadable("test") and len(data.skipped) == 2


def test_a_table_that_tears_groups_is_refused_unless_that_is_allowed(
    split_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [f"{s}/{c}/{k}.png,{c},{s},g{k}" for s in ("train", "test") for c, k in _few()]
    file = split_folder / "table.csv"
    file.write_text("\n".join(["path,label,split,group", *rows]))

    def opened(trained: bool = False, **options: Any) -> ImageTable:
        data = ImageTable(csv=str(file), cache_dir=str(file.parent / "cache"), **options)
        if trained:
            data.measure(["cat", "dog"])
        data.use(Preprocessing(3, 8))
        data.setup()
        return data

    message = r"8 groups .*\(g0, g1, g2, \.\.\.\).*expected.*Try data\.split_column=null.*=allow"
    with pytest.raises(UserError, match=message):
        opened()
    for options in ({"torn_groups": "allow"}, {"trained": True}):  # it may be older
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            opened(**options)
        assert "8 groups are in more than one split" in caplog.text
    assert len(opened(split_column=None, num_folds=2, fold=0).splits) == 3


def _few() -> list[tuple[str, int]]:
    return [*(("cat", k) for k in range(4)), *(("dog", k) for k in range(20, 24))]
