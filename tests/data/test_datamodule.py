import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from PIL import Image

from strided.data import (
    BatchAugment,
    BrokenImagesError,
    ImageDataModule,
    ImageFolder,
    Preprocessing,
    Synthetic,
)
from strided.data.assignment import Assignment
from strided.errors import UserError


def ready(data: ImageDataModule, **options: Any) -> ImageDataModule:
    data.use(Preprocessing(data.channels, 16), **options)
    data.setup()
    return data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """40 different colour images in two classes."""
    for index in range(40):
        colours = np.random.default_rng(index).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        file = tmp_path / "images" / ("cat" if index < 20 else "dog") / f"{index:02d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(colours).save(file)
    return tmp_path / "images"


def opened(folder: Path, **options: Any) -> ImageFolder:
    return ImageFolder(root=str(folder), cache_dir=str(folder.parent / "cache"), **options)


def test_a_data_set_knows_its_classes_channels_size_and_name(folder: Path) -> None:
    data = opened(folder)
    assert (data.name, data.classes, data.channels) == ("images", ["cat", "dog"], 3)
    assert data.native_size is None and data.default_image_size == 224


def test_grey_folders_have_one_channel_unless_asked_otherwise(folder: Path) -> None:
    for file in folder.rglob("*.png"):
        Image.open(file).convert("L").save(file)
    assert opened(folder).channels == 1 and opened(folder, channels=3).channels == 3


def test_splits_paths_and_labels_go_together(folder: Path) -> None:
    data = ready(opened(folder))
    assert {name: len(ids) for name, ids in data.splits.items()} == {
        "train": 28,
        "val": 4,
        "test": 8,
    }
    for split in data.splits:
        names = [data.classes[label] for label in data.labels(split)]
        assert names == [path.split("/")[0] for path in data.paths(split)]
        served = torch.cat([batch.labels for batch in data.loader(split)])
        assert np.array_equal(served, data.labels(split))


def test_mean_and_std_are_measured_once_on_the_training_split(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        data = ready(opened(folder, batch_size=28))
        again = ready(opened(folder))
    assert caplog.text.count("measured on 28 training images") == 1
    assert again.preprocessing == data.preprocessing
    (batch,) = data.loader("train")
    images = data.preprocessing.normalise(batch.images)
    torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(images.std((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)


def test_given_mean_and_std_are_kept(folder: Path) -> None:
    data = opened(folder)
    given = Preprocessing(3, 16, mean=(0.5,) * 3, std=(0.25,) * 3)
    data.use(given)
    data.setup()
    assert data.preprocessing == given


def test_split_seed_decides_the_split_and_the_hash(folder: Path) -> None:
    first, again = ready(opened(folder)), ready(opened(folder), seed=9)
    other = ready(opened(folder, split_seed=1))
    assert first.split_hash == again.split_hash != other.split_hash
    assert first.fingerprint == again.fingerprint == other.fingerprint


def test_train_alone_is_split_and_hashed_alike_in_a_folder_and_in_a_zip(folder: Path) -> None:
    around = folder.parent / "pets"
    around.mkdir()
    folder.rename(around / "train")
    zipped = Path(shutil.make_archive(str(around), "zip", around.parent, "pets"))
    data, packed = ready(opened(around)), ready(opened(zipped))
    assert packed.split_hashes == data.split_hashes
    # its earlier runs have other hashes: the split was called train in the zip, not in the folder
    then = replace(data.source, split=np.full(len(data.source), "train"))
    known = Assignment.of(data.splits, then).hashes
    assert known != data.split_hashes
    assert ready(opened(zipped), split_hashes=known).split_hashes == known


def test_broken_images_stop_the_run_and_are_all_listed(folder: Path) -> None:
    for index in range(10):
        (folder / "cat" / f"{index:02d}.png").write_bytes(b"torn")
    with pytest.raises(BrokenImagesError, match="10 of 40 images.*expected") as caught:
        ready(opened(folder))
    message = str(caught.value)
    assert len(caught.value.files) == 10 and caught.value.files[0][0] == "cat/00.png"
    assert "cat/07.png: empty, or not an image" in message and "and 2 more" in message
    assert "data.on_error=skip" in message and len(message.splitlines()) < 13


def test_broken_images_can_be_skipped(folder: Path) -> None:
    (folder / "cat" / "03.png").write_bytes(b"torn")
    data = ready(opened(folder, on_error="skip"))
    assert [path for path, _ in data.skipped] == ["cat/03.png"]
    assert sum(len(indices) for indices in data.splits.values()) == 39
    assert not any("cat/03.png" in data.paths(split) for split in data.splits)


def test_the_same_pixels_in_two_splits_are_reported(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for split in ("train", "val", "test"):
        (folder / split).mkdir()
    for kind in ("cat", "dog"):
        (folder / kind).rename(folder / "train" / kind)
        for split, first in (("val", 50), ("test", 60)):
            (folder / split / kind).mkdir()
            for index in range(first, first + 3):
                noise = np.random.default_rng([index, len(kind + split)]).integers(0, 256, (9, 9))
                grey = Image.fromarray((noise + ord(kind[0])).astype(np.uint8))
                grey.save(folder / split / kind / f"{index}.png")
    copy = Image.open(folder / "train" / "cat" / "05.png")
    copy.save(folder / "test" / "dog" / "copy.bmp")  # another format, the same pixels
    data = ready(opened(folder))
    assert data.duplicates == [("cat/05.png", "train", "dog/copy.bmp", "test")]
    assert "train/cat/05.png = test/dog/copy.bmp" in caplog.text
    assert "(0 of the same class)" in caplog.text


class Watcher(pl.LightningModule):
    """Keeps the batches that reach the model."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.seen: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {"train": [], "val": []}

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> torch.Tensor:
        self.seen["train"].append(batch)
        return (self.weight * batch[0]).mean()

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> None:
        self.seen["val"].append(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def watch(data: ImageDataModule, **options: Any) -> Watcher:
    watcher = Watcher()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, enable_model_summary=False, **(quiet | options)
    )
    trainer.fit(watcher, datamodule=data)
    return watcher


@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec:FutureWarning")
def test_only_training_batches_are_augmented_and_all_are_normalised(tmp_path: Path) -> None:
    data = Synthetic(num_images=100, cache_dir=str(tmp_path), batch_size=100)
    for augment in (None, BatchAugment(brightness=1.0)):
        data.use(Preprocessing(3, 32), augment, seed=1)
        seen = watch(data).seen
        for split in ("train", "val"):
            images, _ = seen[split][-1]
            plain = data.preprocessing.normalise(next(iter(data.loader(split))).images)
            changed = (means(images) - means(plain)).abs().max() > 1e-5
            assert images.dtype == torch.float32 and images.shape == plain.shape
            assert changed == (split == "train" and augment is not None)


def means(images: torch.Tensor) -> torch.Tensor:
    """Of each image, in an order that shuffling does not change."""
    return images.mean((1, 2, 3)).sort().values


@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec:FutureWarning")
@pytest.mark.filterwarnings("ignore:You are overfitting:UserWarning")
def test_training_is_shuffled_anew_in_each_epoch_but_not_when_overfitting(folder: Path) -> None:
    data = opened(folder, batch_size=8)  # all cats lie before all dogs
    for options in ({}, {"overfit_batches": 1}):
        data.use(Preprocessing(3, 16), seed=1)
        seen = watch(data, **options).seen["train"]
        assert {*seen[0][1].tolist()} == {0, 1}
        loader = data.train_dataloader()
        epochs = [next(iter(loader)).images]
        loader.set_epoch(1)
        epochs.append(next(iter(loader)).images)
        assert torch.equal(*epochs) == bool(options)


@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec:FutureWarning")
@pytest.mark.parametrize("limit", [1, 0.5])
def test_a_limited_validation_is_of_the_whole_split(folder: Path, limit: int | float) -> None:
    data = opened(folder, val_fraction=0.4, batch_size=8)  # 16 images: all cats lie before all dogs
    data.use(Preprocessing(3, 16))
    ((_, labels),) = watch(data, limit_val_batches=limit, num_sanity_val_steps=0).seen["val"]
    assert labels.bincount().tolist() == [4, 4]


def test_the_last_training_batch_is_never_a_single_image(tmp_path: Path) -> None:
    data = ready(Synthetic(num_images=100, cache_dir=str(tmp_path), batch_size=23))
    assert len(data.splits["train"]) == 70  # 3 * 23 + 1
    assert [len(batch.labels) for batch in data.train_dataloader()] == [23, 23, 23]
    large = ready(Synthetic(cache_dir=str(tmp_path), num_images=100, batch_size=99, drop_last=True))
    assert [len(batch.labels) for batch in large.train_dataloader()] == [70]


def test_synthetic_images_depend_on_their_arguments_only(tmp_path: Path) -> None:
    first = ready(Synthetic(num_images=30, cache_dir=str(tmp_path / "a")))
    again = ready(Synthetic(num_images=60, cache_dir=str(tmp_path / "b")))
    assert first.native_size == 32 and len(first.classes) == 4
    for index in range(30):
        assert first.source.read(index).tobytes() == again.source.read(index).tobytes()
    assert Synthetic(channels=1).source.read(0).mode == "L"


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("batch_size", 0),
        ("image_size", -1),
        ("channels", 4),
        ("resize", "stretch"),
        ("crop_fraction", 0.0),
        ("interpolation", "cubic"),
        ("mean", [0.5]),
        ("val_fraction", 1.5),
        ("test_fraction", 1.0),
        ("train_fraction", 0),
        ("split_seed", -1),
        ("num_workers", -2),
        ("on_error", "ignore"),
        ("num_classes", 1),
        ("num_images", 4),
        ("side", 2),
    ],
)
def test_arguments_out_of_range_name_their_key(argument: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"data\.{argument}.*expected.*Try"):
        Synthetic(**{argument: value})
