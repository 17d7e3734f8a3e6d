import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

from strided.data import Flowers102
from strided.errors import UserError

LABELS = [77, 1, 102, 77, 50, 2]  # of images 1 to 6, counted from 1
SPLITS = {"trnid": [[4, 1]], "valid": [[3, 6]], "tstid": [[2, 5]]}


@pytest.fixture
def official(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The official layout with six images: setid.mat, imagelabels.mat and jpg/."""
    folder = tmp_path / "flowers-102"
    (folder / "jpg").mkdir(parents=True)
    for number in range(1, 7):
        Image.new("RGB", (9, 7), (40 * number, 0, 0)).save(folder / f"jpg/image_{number:05d}.jpg")
    savemat(folder / "imagelabels.mat", {"labels": np.array([LABELS], dtype=np.uint8)})
    savemat(folder / "setid.mat", {k: np.array(v, dtype=np.uint16) for k, v in SPLITS.items()})
    known = {
        key: (name, hashlib.md5((folder / name).read_bytes()).hexdigest())
        for key, name in (("label", "imagelabels.mat"), ("setid", "setid.mat"))
    }
    monkeypatch.setattr(datasets.Flowers102, "_file_dict", known)
    return folder


def test_the_official_split_labels_and_names_are_used(official: Path) -> None:
    data = Flowers102(root=str(official.parent))
    source = data.source
    assert source.paths == [f"image_{k:05d}.jpg" for k in (4, 1, 3, 6, 2, 5)]
    assert source.split.tolist() == ["train", "train", "val", "val", "test", "test"]
    assert len(set(source.classes)) == 102 and data.default_image_size == 224
    assert [source.classes[label] for label in source.labels] == [
        "passion flower",
        "passion flower",
        "blackberry lily",
        "hard-leaved pocket orchid",
        "pink primrose",
        "common dandelion",
    ]
    reds = [np.asarray(source.read(index))[0, 0, 0] for index in range(6)]
    assert np.abs(np.subtract(reds, [160, 40, 120, 240, 80, 200], dtype=int)).max() <= 3


def test_labels_are_those_that_torchvision_gives(official: Path) -> None:
    source = Flowers102(root=str(official.parent)).source
    for split in ("train", "val", "test"):
        theirs = [label for _, label in datasets.Flowers102(official.parent, split=split)]
        assert source.labels[source.split == split].tolist() == theirs


def test_missing_images_are_counted(official: Path) -> None:
    (official / "jpg/image_00003.jpg").unlink()
    with pytest.raises(UserError, match=r"lacks 1 of 6.*image_00003\.jpg.*expected.*Try unpacking"):
        Flowers102(root=str(official.parent)).source  # noqa: B018


def test_changed_tables_are_refused(official: Path) -> None:
    savemat(official / "setid.mat", {key: np.array([[1]]) for key in SPLITS})
    with pytest.raises(UserError, match="damaged or not complete.*expected.*Try"):
        Flowers102(root=str(official.parent)).source  # noqa: B018
