"""Folders of splits or of classes, in the spellings that people use."""

import logging
import re
import shutil
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from strided.data.reading.folder import folder_source
from strided.data.reading.split_names import split_of
from strided.errors import UserError


def write(root: Path, *folders: str, each: int = 2) -> Path:
    """Write `each` tiny images, each of its own grey, into each folder."""
    for value, folder in enumerate(folders):
        (root / folder).mkdir(parents=True)
        for index in range(each):
            Image.new("L", (4, 4), 10 * value + index).save(root / folder / f"{index}.png")
    return root


def splits(root: Path, **options: Any) -> dict[str, dict[str, int]]:
    """The number of images of each class in each split."""
    source = folder_source(root, **options)
    found: dict[str, Counter[str]] = {}
    for split, label in zip(source.split.tolist(), source.labels.tolist(), strict=True):
        found.setdefault(split, Counter())[source.classes[label]] += 1
    return {split: dict(counts) for split, counts in found.items()}


def refusal(root: Path, **options: Any) -> str:
    with pytest.raises(UserError, match=r"(?s)data.root=.*expected.*Try") as error:
        folder_source(root, **options)
    assert len(str(error.value).splitlines()) <= 15
    return str(error.value)


@pytest.mark.parametrize(
    ("train", "other", "split"),
    [
        ("Training", "Testing", "test"),
        ("training_set/training_set", "test_set/test_set", "test"),
        ("01_train", "02_val", "val"),
        ("train_images", "test-images", "test"),
        ("seg_train/seg_train", "seg_test/seg_test", "test"),
        ("TRAIN", "dev", "val"),
        ("train", "eval", "test"),
        ("train2017", "val2017", "val"),
        ("trainset", "hold out", "test"),
        ("train", "Valid Set", "val"),
    ],
)
def test_splits_are_known_in_many_spellings(
    tmp_path: Path, train: str, other: str, split: str
) -> None:
    write(tmp_path, *(f"{top}/{name}" for top in (train, other) for name in ("cat", "dog")))
    both = {"cat": 2, "dog": 2}
    assert splits(tmp_path) == {"train": both, split: both}
    assert set(folder_source(tmp_path).paths) == {f"{c}/{i}.png" for c in both for i in (0, 1)}


@pytest.mark.parametrize("name", ["station", "testis", "strain", "train_test", "cat", "devil", ""])
def test_other_names_are_no_splits(name: str) -> None:
    assert split_of(name) is None


def test_classes_may_have_names_of_splits(tmp_path: Path) -> None:
    write(tmp_path, "train", "car/sedan", "car/van", "bus")
    assert splits(tmp_path) == {"": {"train": 2, "car": 4, "bus": 2}}


@pytest.mark.parametrize(
    "folders",
    [
        ("site1/cat", "site1/dog", "site2/cat", "site2/dog"),
        ("fold1/cat", "fold1/dog", "fold2/cat", "fold2/dog", "fold3/cat"),
        ("train/ICE", "train/TGV", "car/sedan", "bus/city"),
    ],
)
def test_two_readings_are_refused_with_the_key_that_decides(
    tmp_path: Path, folders: tuple[str, ...]
) -> None:
    write(tmp_path / "root", *folders)
    message = refusal(tmp_path / "root")
    assert "data.class_level=1" in message and "data.class_level=2" in message
    shutil.make_archive(str(tmp_path / "root"), "zip", tmp_path, "root")
    tops = Counter(folder.split("/")[0] for folder in folders)
    inner = Counter(folder.split("/")[1] for folder in folders)
    for root in (tmp_path / "root", tmp_path / "root.zip"):
        assert splits(root, class_level=1) == {"": {name: 2 * n for name, n in tops.items()}}
        if "train/ICE" not in folders:
            assert splits(root, class_level=2) == {"": {n: 2 * k for n, k in inner.items()}}
    if "train/ICE" in folders:
        assert splits(tmp_path / "root", class_level=2) == {"train": {"ICE": 2, "TGV": 2}}


@pytest.mark.parametrize("known", [("train", "test"), ("Training",)])
def test_one_more_folder_like_the_splits_is_not_passed_over(
    tmp_path: Path, known: tuple[str, ...]
) -> None:
    tops = (*known, "unseen")
    write(tmp_path, *(f"{top}/{name}" for top in tops for name in ("cat", "dog")))
    assert "unseen/ with the same sub-folders" in refusal(tmp_path)
    assert len(splits(tmp_path, class_level=2)) == len(known)
    (tmp_path / "unseen").rename(tmp_path / "val")  # the advice
    assert len(splits(tmp_path)) == len(known) + 1


def test_splits_inside_the_classes_are_refused(tmp_path: Path) -> None:
    inside = tmp_path / "pets"
    write(inside, "cat/train", "cat/test", "dog/train", "dog/test")
    assert f"Try data.root={inside / 'cat'} if" in refusal(tmp_path)
    assert "test/, train/ inside cat/, dog/" in refusal(tmp_path)
    assert splits(tmp_path, class_level=1) == {"": {"cat": 4, "dog": 4}}


def test_splits_inside_a_split_are_refused(tmp_path: Path) -> None:
    (write(tmp_path, "train/train/cat", "train/test/cat") / "empty").mkdir()
    assert "test/, train/ inside train/; expected" in refusal(tmp_path)
    assert splits(tmp_path, class_level=2) == {"train": {"train": 2, "test": 2}}


def test_splits_without_class_folders_are_refused(tmp_path: Path) -> None:
    assert "images directly in test/, train/" in refusal(write(tmp_path, "train", "test"))


def test_a_test_folder_without_labels_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "train/cat", "train/dog", "test1")
    both = {"cat": 2, "dog": 2}
    assert splits(tmp_path) == {"train": both}
    unused = "test1/ has no class folders, so its images are not used"
    assert f"{unused}: the test split comes from the training images" in caplog.text
    write(tmp_path, "val/cat", "val/dog")  # with which nothing is left to carve
    assert splits(tmp_path) == {"train": both, "val": both}
    assert f"{unused}: no test is run" in caplog.text


@pytest.mark.parametrize("inner", ["images", "Image Data"])
def test_a_folder_that_only_says_images_is_no_class(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, inner: str
) -> None:
    tops = [f"{top}/{inner}" for top in ("train", "val")]
    both = {"cat": 2, "dog": 2}
    write(tmp_path / "in splits", *(f"{top}/{name}" for top in tops for name in both))
    assert splits(tmp_path / "in splits") == {"train": both, "val": both}
    write(tmp_path / "in classes", *(f"{name}/{inner}" for name in both))
    assert splits(tmp_path / "in classes") == {"": both}
    write(tmp_path / "flat val", "train/cat", "train/dog", tops[1])
    assert splits(tmp_path / "flat val") == {"train": both}
    assert "val/ has no class folders, so its images are not used" in caplog.text
    assert "images directly in train/, val/" in refusal(write(tmp_path / "flat", *tops))
    write(tmp_path / "class", "train/images", "train/drawings", "val/images")
    assert splits(tmp_path / "class")["val"] == {"images": 2}


def test_numbered_parts_are_no_classes(tmp_path: Path) -> None:
    for number, tops in enumerate((("fold1", "fold2"), ("ham_images_part_1", "ham_images_part_2"))):
        root = write(tmp_path / str(number), *tops)
        assert f"images directly in {tops[0]}/, {tops[1]}/" in refusal(root)
        assert splits(root, class_level=1) == {"": dict.fromkeys(tops, 2)}
    write(tmp_path / "root", "batch1/cat", "batch2/dog")
    assert "named as parts" in refusal(tmp_path / "root")
    assert splits(tmp_path / "root", class_level=2) == {"": {"cat": 2, "dog": 2}}
    assert len(folder_source(write(tmp_path / "grades", "grade1", "grade2")).classes) == 2


def test_the_set_once_more_beside_its_classes_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "cat", "dog", "pets/Cat", "pets/dog")
    assert "folders inside pets/ (Cat/, dog/)" in refusal(tmp_path)
    assert splits(tmp_path, class_level=2) == {"": {"Cat": 2, "dog": 2}}
    assert splits(tmp_path, class_level=1) == {"": {"cat": 2, "dog": 2, "pets": 4}}


def test_a_copy_within_is_left_out_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = [f"{split}/{name}" for split in ("train", "test") for name in ("cat", "dog")]
    write(tmp_path / "chest", *own, *(f"chest/{name}" for name in own))
    assert splits(tmp_path) == {split: {"cat": 2, "dog": 2} for split in ("train", "test")}
    assert "8 images lie outside the class folders" in caplog.text


def test_a_folder_without_images_beside_the_enclosing_one_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (write(tmp_path, "Images/cat", "Images/dog") / "Annotation").mkdir()
    (tmp_path / "Annotation" / "cat").write_text("<annotation>")
    assert folder_source(tmp_path).classes == ["cat", "dog"]
    assert "Annotation/: no images there" in caplog.text


@pytest.mark.parametrize("name", ["{}_mask", "{} Mask_1", "{}-thumbnail", "masks/{}", "Thumbs/{}"])
def test_what_is_made_from_other_images_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    for file in write(tmp_path, "cat", "dog").glob("*/*.png"):
        copy = file.parent / (name.format(file.stem) + ".png")
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(file, copy)
    assert splits(tmp_path) == {"": {"cat": 4, "dog": 4}}
    assert "4 images seem to be masks or small copies of others" in caplog.text


def test_names_without_another_image_are_no_masks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "faces", "mask", "no_mask")
    for file in list(tmp_path.glob("*/*/0.png")):
        file.rename(file.with_name("face_mask.png"))
    assert splits(tmp_path / "faces") == {"": {"mask": 2, "no_mask": 2}}
    assert "seem to be masks" not in caplog.text
    folder_source(write(tmp_path / "segmentation", "images", "masks"))
    assert "2 images seem to be masks" in caplog.text


def test_the_only_split_is_split_anew_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert splits(write(tmp_path, "test/cat", "test/dog")) == {"": {"cat": 2, "dog": 2}}
    assert "test/ is the only folder: its images are split anew" in caplog.text


@pytest.mark.parametrize("enclosing", ["a", "a/b", "archive/Data/images"])
def test_all_enclosing_folders_are_skipped(tmp_path: Path, enclosing: str) -> None:
    write(tmp_path / enclosing, "cat", "dog")
    (tmp_path / "readme.txt").write_text("")
    assert folder_source(tmp_path).paths[0] == "cat/0.png"


@pytest.mark.parametrize("kind", ["empty", "hidden", "jp2", "split"])
def test_a_class_folder_without_an_image_is_refused_or_left_out_by_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    write(tmp_path, *(f"{split}/{name}" for split in ("train", "test") for name in ("cat", "dog")))
    name = "val" if kind == "split" else "train/fox"
    (tmp_path / name).mkdir()
    if kind == "hidden":
        (tmp_path / name / ".DS_Store").write_bytes(b"")
    if kind == "jp2":
        (tmp_path / name / "1.jp2").write_bytes(b"\0\0\0\x0cjP  ")
    reason = "1 .jp2" if kind == "jp2" else "empty, or only hidden files"
    assert f"\n  {name}/: {reason}\n" in refusal(tmp_path)
    source = folder_source(tmp_path, skip=True)
    assert source.left_out == {f"{name}/": reason} and source.classes == ["cat", "dog"]
    assert f"no image in them can be read: {name}/" in caplog.text
    assert source.ignored == ({".jp2": 1} if kind == "jp2" else {})


def test_an_empty_class_folder_of_a_zip_is_refused_too(tmp_path: Path) -> None:
    write(tmp_path / "root", "cat", "dog")
    with zipfile.ZipFile(tmp_path / "root.zip", "w") as archive:
        for file in sorted((tmp_path / "root").rglob("*.png")):
            archive.write(file, file.relative_to(tmp_path / "root"))
        archive.mkdir("fox")
    assert "fox/: empty" in refusal(tmp_path / "root.zip")


def test_an_empty_folder_beside_one_with_folders_is_a_class(tmp_path: Path) -> None:
    (write(tmp_path, "cat/near", "cat/far") / "dog").mkdir()
    assert "dog/: empty" in refusal(tmp_path)


COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def test_names_are_compared_composed_and_without_blanks(tmp_path: Path) -> None:
    write(tmp_path, f"train/{COMPOSED}", "train/tea", f"val/{DECOMPOSED}", "val/tea ")
    source = folder_source(tmp_path)
    assert source.classes == [COMPOSED, "tea"] and Counter(source.split) == {"train": 4, "val": 4}
    assert {path.split("/")[0] for path in source.paths} == {COMPOSED, "tea", "tea "}
    assert source.read(source.paths.index("tea /0.png")).getpixel((0, 0)) == 30


@pytest.mark.parametrize(
    ("one", "other"),
    [("Cat", "cat"), ("1", "01"), ("0", "0.0"), ("big cat", "big  cat"), (COMPOSED, DECOMPOSED)],
)
def test_two_spellings_of_a_class_are_refused_or_merged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, one: str, other: str
) -> None:
    write(tmp_path, one, "dog")
    write(tmp_path, other, each=3)  # the spelling of more images wins
    assert "data.labels=merge" in refusal(tmp_path)
    with caplog.at_level(logging.INFO):
        source = folder_source(tmp_path, labels="merge")
    wins = COMPOSED if one == COMPOSED else other
    assert source.classes == sorted([wins, "dog"]) and len(set(source.paths)) == len(source) == 7
    assert sorted(Counter(source.labels.tolist()).values()) == [2, 5]
    values = [int(np.asarray(source.read(index))[0, 0]) for index in range(7)]
    assert sorted(values) == [0, 0, 1, 1, 2, 10, 11]
    assert ("data.labels=keep" in refusal(tmp_path)) == (one != COMPOSED)
    if one != COMPOSED:
        assert len(folder_source(tmp_path, labels="keep").classes) == 3
        assert re.search("are one class", caplog.text)


def test_spellings_of_two_splits_are_refused_or_merged(tmp_path: Path) -> None:
    write(tmp_path, "train/Cat", "train/dog", "val/cat", "val/dog")
    assert "Cat/ and cat/" in refusal(tmp_path)
    assert splits(tmp_path, labels="merge") == {s: {"Cat": 2, "dog": 2} for s in ("train", "val")}


@pytest.mark.parametrize("prefix", ["", "pets/"])
def test_a_split_without_a_readable_image_is_refused_by_name(tmp_path: Path, prefix: str) -> None:
    write(tmp_path, f"{prefix}train/cat", f"{prefix}train/dog")
    (tmp_path / prefix / "test" / "cat").mkdir(parents=True)
    (tmp_path / prefix / "test" / "cat" / "1.jp2").write_bytes(b"\0\0\0\x0cjP  ")
    assert f"{prefix}test/: 1 .jp2" in refusal(tmp_path)


@pytest.mark.parametrize("prefix", ["train/", "pets/train/"])
def test_a_split_folder_around_all_is_one_more_enclosing_folder(
    tmp_path: Path, prefix: str
) -> None:
    both = {"cat": 2, "dog": 2}
    write(tmp_path / "alone", f"{prefix}cat", f"{prefix}dog")
    assert splits(tmp_path / "alone") == {"": both}
    inside = [f"{prefix}{split}/{name}" for split in ("train", "test") for name in both]
    write(tmp_path / "around", *inside)
    assert splits(tmp_path / "around") == {"train": both, "test": both}
