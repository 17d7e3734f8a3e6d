"""Labelled images that come back: into training alone, and never a copy of what is measured."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.conftest import write_images

from strided.data import ImageDataModule, ImageFolder, ImageTable, Preprocessing
from strided.errors import UserError


def ready(data: ImageDataModule) -> ImageDataModule:
    data.use(Preprocessing(data.channels, 12))
    data.setup()
    return data


def folder(tmp_path: Path, **options: Any) -> ImageFolder:
    root = write_images(tmp_path / "images")
    return ImageFolder(root=str(root), cache_dir=str(tmp_path / "cache"), **options)


def picture(file: Path, seed: int) -> Path:
    pixels = np.random.default_rng([7, seed]).integers(0, 256, (14, 14, 3), dtype=np.uint8)
    file.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(file)
    return file


def table(file: Path, rows: Mapping[str, str], header: str = "path,label") -> str:
    lines = [header, *(f"{path},{label}" for path, label in rows.items())]
    file.write_text("\n".join(lines) + "\n")
    return str(file)


def test_extra_images_join_train_and_leave_all_else_as_it_is(tmp_path: Path) -> None:
    before = ready(folder(tmp_path))
    new, far = picture(tmp_path / "new" / "1.png", 1), picture(tmp_path / "far" / "2.png", 2)
    csv = table(
        tmp_path / "new" / "cases.csv",
        {"1.png": "red", str(far): "blue", "not there.png": "", "other.png": "NA"},
    )
    data = ready(folder(tmp_path, extra=csv))
    assert new.is_file() and data.added is not None and data.added["added"] == 2
    assert data.splits["train"].tolist() == [*before.splits["train"], 24, 25]
    assert data.labels("train")[-2:].tolist() == [data.classes.index(c) for c in ("red", "blue")]
    for split in ("val", "test"):
        assert data.splits[split].tolist() == before.splits[split].tolist()
        assert data.split_hashes[split] == before.split_hashes[split]
    assert data.split_hashes["train"] != before.split_hashes["train"]
    assert (data.fingerprint, data.listing_fingerprint) == (
        before.fingerprint,
        before.listing_fingerprint,
    )
    sides = [data.source.read.sides(k) for k in (3, 24, 25)]  # type: ignore[attr-defined]
    assert sides == [(12, 12), (14, 14), (14, 14)]  # the check for shortcuts asks for them
    (batch,) = data.loader("train", np.array([25]))
    assert np.array_equal(batch.images[0], Preprocessing(3, 12).pixels(Image.open(far)))


def test_copies_of_any_image_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = ready(folder(tmp_path))
    names = {split: f"images/{before.paths(split)[0]}" for split in ("train", "val", "test")}
    for split, name in names.items():  # other bytes, other names, the same pixels
        Image.open(tmp_path / name).save(tmp_path / f"{split}.bmp")
    picture(tmp_path / "new.png", 1)
    Image.open(tmp_path / "new.png").save(tmp_path / "twin.bmp")
    rows = {f"{split}.bmp": "red" for split in names} | {"new.png": "red", "twin.bmp": "green"}
    with caplog.at_level(logging.INFO):
        data = ready(folder(tmp_path, extra=table(tmp_path / "t.csv", rows)))
    assert data.added == {
        "added": 1,
        "copies_of_val_or_test": 2,
        "other_copies": 2,
        "groups_of_val_or_test": 0,
        "unreadable": 0,
    }
    assert data.paths("train")[-1] == "new.png"
    assert "1 images join train; left out: copies of val or test 2, other copies 2" in caplog.text
    assert "have another label than the image that stays" in caplog.text


def grouped(tmp_path: Path, **options: Any) -> ImageTable:
    root = write_images(tmp_path / "images")
    files = sorted(root.rglob("*.*"))
    rows = [f"{f.relative_to(root)},{f.parent.name},g{k % 8}" for k, f in enumerate(files)]
    (tmp_path / "all.csv").write_text("\n".join(["path,label,group", *rows]))
    return ImageTable(
        csv=str(tmp_path / "all.csv"), root=str(root), cache_dir=str(tmp_path / "cache"), **options
    )


def test_no_group_of_validation_or_test_comes_into_training(tmp_path: Path) -> None:
    before = ready(grouped(tmp_path))
    group = before.source.group
    assert group is not None
    of = {split: str(group[before.splits[split][0]]) for split in ("train", "val", "test")}
    rows = {f"{split}.png": f"red,{name}" for split, name in of.items()} | {"new.png": "red,n"}
    for seed, name in enumerate(rows):
        picture(tmp_path / name, seed)
    known = tmp_path / "images" / before.paths("test")[0]
    Image.open(known).save(tmp_path / "copy.bmp")  # of the same patient, called otherwise
    rows |= {"copy.bmp": "red,alias", "alias.png": "red,alias"}
    picture(tmp_path / "alias.png", 9)
    csv = table(tmp_path / "t.csv", rows, "path,label,group")
    data = ready(grouped(tmp_path, extra=csv))
    assert data.added is not None and data.added["groups_of_val_or_test"] == 3
    assert data.added["copies_of_val_or_test"] == 1
    assert data.paths("train")[-2:] == ["train.png", "new.png"]
    folds = [ready(grouped(tmp_path, extra=csv, num_folds=3, fold=k)) for k in range(3)]
    plain = [ready(grouped(tmp_path, num_folds=3, fold=k)) for k in range(3)]
    for with_extra, without in zip(folds, plain, strict=True):
        assert with_extra.split_hashes["test"] == without.split_hashes["test"]
        assert with_extra.partition_hash == without.partition_hash
        assert with_extra.source.group is not None
        trained, tested = (
            set(with_extra.source.group[with_extra.splits[s]].tolist()) for s in ("train", "test")
        )
        assert not trained & tested and "n" in trained
    for header, cells in (("path,label", "red"), ("path,label,group", "red,")):
        csv = table(tmp_path / "t.csv", {"new.png": cells}, header)
        with pytest.raises(UserError, match="group"):
            ready(grouped(tmp_path, extra=csv))


@pytest.mark.parametrize(
    ("rows", "header", "told"),
    [
        ({"new.png": "purple"}, "path,label", "line 2 has the label purple"),
        ({"lost.png": "red"}, "path,label", "line 2: lost.png"),
        ({"new.png": ""}, "path,label", "has no label in any of its 1 rows"),
        ({"new.png": "red"}, "path,class", "expected one called label"),
        ({"images/red/0.png": "red"}, "path,label", "none of its 1 labelled images is new"),
        ({"../" * 30 + "etc/passwd": "red"}, "path,label", "not an image of a known format"),
        ({"/dev/zero": "red", "pipe.png": "red"}, "path,label", "line 3: pipe.png"),
        ({"new.png": "red", "./new.png": "blue"}, "path,label", "./new.png is in line 2 too"),
        ({"a" * 5000 + ".png": "red"}, "path,label", "aaa..."),
        ({}, "", "(it is empty); expected a table"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(
    tmp_path: Path, rows: dict[str, str], header: str, told: str
) -> None:
    picture(tmp_path / "new.png", 1)
    os.mkfifo(tmp_path / "pipe.png")
    csv = table(tmp_path / "t.csv", rows, header)
    with pytest.raises(UserError) as caught:
        ready(folder(tmp_path, extra=csv))
    assert told in str(caught.value) and len(str(caught.value).splitlines()) <= 6
    assert "extra" in str(caught.value) and len(str(caught.value)) < 800


def test_extra_images_need_a_store_and_a_table(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="data.pipeline=streaming"):
        folder(tmp_path, extra="t.csv", pipeline="streaming")
    with pytest.raises(UserError, match=r"data\.extra=.*none\.csv cannot be read"):
        ready(folder(tmp_path, extra=str(tmp_path / "none.csv")))
