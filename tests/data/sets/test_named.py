import gzip
import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from strided.data import CIFAR10, CIFAR100, MNIST, Digits, FashionMNIST, Flowers102, Preprocessing
from strided.data.sets.named import NamedDataModule
from strided.errors import UserError

DIGITS = np.random.default_rng(0).integers(0, 256, (30, 28, 28), dtype=np.uint8)
NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST_NAMES = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx(array: np.ndarray) -> bytes:
    shape = np.array(array.shape, dtype=">u4").tobytes()
    return bytes([0, 0, 8, array.ndim]) + shape + array.tobytes()


def write_idx(folder: Path, packed: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    labels = (np.arange(30) % 10).astype(np.uint8)
    arrays = (DIGITS[:20], labels[:20], DIGITS[20:], labels[20:])
    for name, array in zip(NAMES + TEST_NAMES, arrays, strict=True):
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))


def write_classes(folder: Path, classes: tuple[str, ...]) -> None:
    for split in ("train", "test"):
        for value, name in enumerate(classes):
            (folder / split / name).mkdir(parents=True)
            Image.new("RGB", (32, 32), (value, 0, 0)).save(folder / split / name / "0.png")


def test_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    theirs, ours = load_digits(), Digits().source
    assert len(ours) == 1797 and ours.native_size == 8
    assert np.array_equal(ours.labels, theirs.target)
    for index in range(0, 1797, 100):
        ink = np.asarray(ours.read(index)) / 255 * 16
        assert np.abs(ink - theirs.images[index]).max() < 0.05


@pytest.mark.parametrize("place", ["MNIST/raw", "."])
@pytest.mark.parametrize("packed", [False, True])
def test_mnist_files_are_taken_as_they_lie(tmp_path: Path, place: str, packed: bool) -> None:
    write_idx(tmp_path / place, packed)
    data = MNIST(root=str(tmp_path))
    assert data.classes == list("0123456789") and data.channels == 1 and data.native_size == 28
    assert data.source.split.tolist() == ["train"] * 20 + ["test"] * 10
    assert data.source.labels.tolist() == [k % 10 for k in range(30)]
    for index in (0, 19, 20, 29):
        assert np.array_equal(np.asarray(data.source.read(index)), DIGITS[index])


@pytest.mark.parametrize("place", ["FashionMNIST/raw", "."])
def test_fashion_mnist_has_its_own_folder_and_classes(tmp_path: Path, place: str) -> None:
    write_idx(tmp_path / place, packed=True)
    data = FashionMNIST(root=str(tmp_path))
    assert data.classes[0] == "T-shirt" and data.classes[9] == "Ankle boot"
    assert data.channels == 1 and data.native_size == 28 and len(data.source) == 30
    assert np.array_equal(np.asarray(data.source.read(29)), DIGITS[29])


def test_mnist_and_fashion_mnist_never_share_a_store(tmp_path: Path) -> None:
    for folder in ("MNIST", "FashionMNIST"):
        write_idx(tmp_path / folder / "raw")
        for file in (tmp_path / folder / "raw").iterdir():
            os.utime(file, (0, 0))  # as archives made to be reproducible leave them
    listings = {kind(root=str(tmp_path)).source.listing for kind in (MNIST, FashionMNIST)}
    assert len(listings) == 2


@pytest.mark.parametrize("packed", [False, True])
def test_a_cut_mnist_file_is_named(tmp_path: Path, packed: bool) -> None:
    write_idx(tmp_path, packed)
    file = next(tmp_path.glob("t10k-images*"))
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(UserError, match=f"{file.name} is damaged.*expected.*Try"):
        MNIST(root=str(tmp_path)).source  # noqa: B018


def test_mnist_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    write_idx(tmp_path)
    (tmp_path / NAMES[1]).write_bytes(idx(np.zeros(19, dtype=np.uint8)))
    with pytest.raises(UserError, match="20 images but 19 labels"):
        MNIST(root=str(tmp_path)).source  # noqa: B018


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        (MNIST, r"train-images.* MNIST/raw.*mnist\.zip"),
        (FashionMNIST, r"train-images.* FashionMNIST/raw.*fashion_mnist\.zip"),
        (CIFAR10, r"cifar-10-batches-py.*cifar10\.zip"),
        (CIFAR100, r"cifar-100-python/.*cifar-100-python\.tar\.gz.*cifar100\.zip"),
        (Flowers102, r"flowers-102/setid\.mat.*102flowers\.tgz.*flowers102\.zip"),
    ],
)
def test_a_failed_download_says_which_files_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[NamedDataModule], wanted: str
) -> None:
    from torchvision import datasets

    class Offline:
        classes = datasets.Flowers102.classes

        def __init__(self, *_: Any, **__: Any) -> None:
            raise RuntimeError("no network")

    monkeypatch.setattr(f"torchvision.datasets.{kind.__name__}", Offline)
    with pytest.raises(UserError, match=f"no network.*expected.*{wanted}.*Try data.root="):
        kind(root=str(tmp_path)).source  # noqa: B018


def test_a_named_set_is_found_as_class_folders(tmp_path: Path) -> None:
    write_classes(tmp_path / "cifar10", CIFAR10.class_names)
    data = CIFAR10(root=str(tmp_path))
    assert tuple(data.classes) == CIFAR10.class_names
    assert data.native_size == 32 and data.channels == 3
    assert sorted(set(data.source.split)) == ["test", "train"]


def test_class_folders_are_numbered_as_the_official_files(tmp_path: Path) -> None:
    write_classes(tmp_path / "fashion_mnist", FashionMNIST.class_names)
    data = FashionMNIST(root=str(tmp_path), cache_dir=str(tmp_path / "cache"), on_error="skip")
    assert tuple(data.classes) == FashionMNIST.class_names and data.channels == 1
    for path, label in zip(data.source.paths, data.source.labels, strict=True):
        assert path.split("/")[0] == data.classes[label]
    data.use(Preprocessing(1, 28))
    data.prepare_data()  # pictures in colour become grey, as those of this set are
    assert np.load(next(tmp_path.glob("cache/*/images.npy"))).shape == (20, 1, 28, 28)


def test_class_folders_of_something_else_are_refused(tmp_path: Path) -> None:
    write_classes(tmp_path / "cifar10", ("cat", "dog"))
    with pytest.raises(UserError, match="has the classes cat, dog; expected.*data=image_folder"):
        CIFAR10(root=str(tmp_path)).source  # noqa: B018


def test_official_cifar10_batches_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (12, 3, 32, 32), dtype=np.uint8)

    def write(name: str, content: dict[str, Any]) -> list[str]:
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    def batch(name: str, first: int) -> list[str]:
        part = pixels[first : first + 2].reshape(2, -1)
        return write(name, {"data": part, "labels": [first % 10, first % 10]})

    train = [batch(f"data_batch_{k + 1}", 2 * k) for k in range(5)]
    meta = write("batches.meta", {"label_names": list(CIFAR10.class_names)})
    monkeypatch.setattr(datasets.CIFAR10, "train_list", train)
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [batch("test_batch", 10)])
    names = {"filename": meta[0], "md5": meta[1], "key": "label_names"}
    monkeypatch.setattr(datasets.CIFAR10, "meta", names)
    source = CIFAR10(root=str(tmp_path)).source
    assert source.split.tolist() == ["train"] * 10 + ["test"] * 2 and source.native_size == 32
    assert source.labels.tolist() == [0, 0, 2, 2, 4, 4, 6, 6, 8, 8, 0, 0]
    for index in (0, 9, 11):
        assert np.array_equal(np.asarray(source.read(index)).transpose(2, 0, 1), pixels[index])


def test_official_cifar100_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)

    def write(name: str, content: dict[str, Any]) -> list[str]:
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    def part(name: str, rows: slice, fine: list[int]) -> list[str]:
        content = {"fine_labels": fine, "coarse_labels": [0] * len(fine)}
        return write(name, {"data": pixels[rows].reshape(len(fine), -1), **content})

    monkeypatch.setattr(datasets.CIFAR100, "train_list", [part("train", slice(4), [0, 99, 41, 99])])
    monkeypatch.setattr(datasets.CIFAR100, "test_list", [part("test", slice(4, 6), [41, 0])])
    meta = write("meta", {"fine_label_names": list(CIFAR100.class_names)})
    names = {"filename": meta[0], "md5": meta[1], "key": "fine_label_names"}
    monkeypatch.setattr(datasets.CIFAR100, "meta", names)
    data = CIFAR100(root=str(tmp_path))
    assert len(set(data.classes)) == 100 and data.channels == 3 and data.native_size == 32
    named = [data.classes[label] for label in data.source.labels]
    assert named == ["apple", "worm", "lawn_mower", "worm", "lawn_mower", "apple"]
    assert data.source.split.tolist() == ["train"] * 4 + ["test"] * 2
    for index in (0, 5):
        read = np.asarray(data.source.read(index)).transpose(2, 0, 1)
        assert np.array_equal(read, pixels[index])


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        (CIFAR10, "cifar-10-batches-py/data_batch_1"),
        (CIFAR100, "cifar-100-python/train"),
    ],
)
def test_changed_cifar_batches_are_never_unpickled(
    tmp_path: Path, kind: type[NamedDataModule], file: str
) -> None:
    (tmp_path / file).parent.mkdir()
    marker = tmp_path / "marker"
    (tmp_path / file).write_bytes(f"cos\nsystem\n(S'touch {marker}'\ntR.".encode())
    with pytest.raises(UserError, match="damaged or not complete.*expected.*Try"):
        kind(root=str(tmp_path)).source  # noqa: B018
    assert not marker.exists()
