"""Against the real data sets, where they lie under --data-root: make real."""

import csv
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from strided.cli import main
from strided.data import (
    CIFAR10,
    MNIST,
    CatsDogs,
    FashionMNIST,
    Flowers,
    ImageDataModule,
    Preprocessing,
    XRay,
)

pytestmark = [pytest.mark.real, pytest.mark.timeout(3600)]

# figures of the MNIST data base itself (LeCun, Cortes, Burges)
MNIST_TRAIN = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
MNIST_TEST = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.fixture(scope="session")
def data_root(request: pytest.FixtureRequest) -> Path:
    return Path(request.config.getoption("--data-root"))


def test_mnist_is_whole_and_split_as_usual(data_root: Path) -> None:
    data = MNIST(root=str(data_root), val_fraction=0.0833333333, horizontal_flip=False)
    data.use(Preprocessing(1, 28))
    data.setup()
    sizes = {split: len(indices) for split, indices in data.splits.items()}
    assert sizes == {"train": 55_000, "val": 5_000, "test": 10_000}
    counts = {split: np.bincount(data.labels(split)) for split in sizes}
    assert (counts["train"] + counts["val"]).tolist() == MNIST_TRAIN
    assert counts["test"].tolist() == MNIST_TEST
    assert data.preprocessing.mean == pytest.approx((0.1307,), abs=2e-3)
    assert not data.duplicates


def test_cifar10_has_its_classes_and_its_mean(data_root: Path) -> None:
    data = CIFAR10(root=str(data_root))
    data.use(Preprocessing(3, 32))
    data.setup()
    assert {split: len(i) for split, i in data.splits.items()} == {
        "train": 45_000,
        "val": 5_000,
        "test": 10_000,
    }
    assert np.bincount(data.labels("test")).tolist() == [1000] * 10
    # JPEG copies differ from the originals in the third digit
    assert data.preprocessing.mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=2e-3)


def test_fashion_mnist_is_whole_and_has_its_published_mean(data_root: Path) -> None:
    if not list(data_root.glob("FashionMNIST/raw/train-images*")):
        pytest.skip(f"no Fashion-MNIST in {data_root}")
    data = FashionMNIST(root=str(data_root))
    data.use(Preprocessing(1, 28))
    data.setup()
    assert np.bincount(data.source.labels).tolist() == [7000] * 10
    assert np.bincount(data.labels("test")).tolist() == [1000] * 10
    assert data.preprocessing.mean == pytest.approx(FashionMNIST.published_mean, abs=1e-3)
    assert data.preprocessing.std == pytest.approx(FashionMNIST.published_std, abs=1e-3)


@pytest.mark.parametrize("kind", [Flowers, CatsDogs])
def test_photos_are_found_split_and_decoded(data_root: Path, kind: type[ImageDataModule]) -> None:
    data = kind(root=str(data_root))
    data.use(Preprocessing(3, 64))
    data.setup()
    assert not data.skipped and not data.duplicates
    for split in data.splits:
        counts = np.bincount(data.labels(split), minlength=len(data.classes))
        assert counts.min() > 0.5 * counts.max()  # none of these sets is uneven by more


def test_xrays_of_one_patient_stay_together_and_classes_in_proportion(data_root: Path) -> None:
    if not (data_root / "xray3.zip").exists():
        pytest.skip(f"no xray3.zip in {data_root}")
    data = XRay(root=str(data_root))
    data.use(Preprocessing(1, 64))
    data.setup()
    assert data.source.group is not None and data.channels == 1
    patients = {split: set(data.source.group[i]) for split, i in data.splits.items()}
    assert not patients["train"] & (patients["val"] | patients["test"])
    assert not patients["val"] & patients["test"]
    whole = np.bincount(data.source.labels)
    for split, share in (("train", 0.7), ("val", 0.1), ("test", 0.2)):
        assert np.abs(np.bincount(data.labels(split)) - share * whole).max() <= 2


def test_lenet5_reaches_99_percent_on_mnist(data_root: Path, tmp_path: Path) -> None:
    words = ["experiment=lenet5_mnist", f"data.root={data_root}", f"log_dir={tmp_path}"]
    assert main(["train", *words]) == 0
    (results,) = tmp_path.glob("train/*/*/results.json")
    assert json.loads(results.read_text())["test/acc"] >= 0.99


def test_predict_gives_the_rows_of_eval_on_cats_and_dogs(data_root: Path, tmp_path: Path) -> None:
    archive = data_root / "cats_dogs.zip"
    words = ["model=resnet18", "data=image_folder", f"data.root={archive}", "data.image_size=96"]
    assert main(["train", *words, "trainer.max_epochs=1", f"log_dir={tmp_path / 'logs'}"]) == 0
    (run,) = (tmp_path / "logs" / "train").glob("*/*")
    zipfile.ZipFile(archive).extractall(tmp_path / "unzipped")
    (images,) = (tmp_path / "unzipped").glob("**/test")
    for verb, words in (("eval", []), ("predict", [f"input={images}"])):
        assert main([verb, f"checkpoint={run}", f"log_dir={tmp_path / 'logs'}", *words]) == 0
    (evaluated,) = (tmp_path / "logs" / "eval").glob("*/*/predictions.csv")
    (predicted,) = (tmp_path / "logs" / "predict").glob("*/*/predictions.csv")
    pairs = zip(_rows(evaluated), _rows(predicted), strict=True)
    for one, other in pairs:
        assert one[:4] == other[:4]
        assert [float(p) for p in one[4:]] == pytest.approx([float(p) for p in other[4:]], abs=2e-6)


def _rows(file: Path) -> list[list[str]]:
    with file.open(newline="") as stream:
        return list(csv.reader(stream))[1:]
