import itertools
import logging
import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from strided.data import BrokenImagesError, Digits, ImageDataModule, ImageFolder, Preprocessing
from strided.data.pixels import streaming as streaming_module
from strided.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """60 images of two classes and several sizes, as JPEG and PNG."""
    for index in range(60):
        noise = np.random.default_rng(index)
        pixels = noise.integers(0, 256, (20 + index % 7, 18, 3), dtype=np.uint8)
        name = f"{index:02d}.{'jpg' if index % 2 else 'png'}"
        file = tmp_path / "images" / ("cat" if index < 30 else "dog") / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    return tmp_path / "images"


def ready(folder: Path, pipeline: str = "streaming", **options: Any) -> ImageDataModule:
    given: dict[str, Any] = {"num_workers": 2, "batch_size": 8, "pipeline": pipeline}
    cache = str(folder.parent / "cache")
    data = ImageFolder(root=str(folder), cache_dir=cache, **(given | options))
    data.use(Preprocessing(3, 16), seed=3)
    data.setup()
    return data


def break_image(folder: Path, path: str) -> None:
    (folder / path).write_bytes(b"no image")


def assert_same(streamed: Any, stored: Any) -> None:
    pairs = list(zip(streamed, stored, strict=True))
    assert pairs
    for one, two in pairs:
        assert torch.equal(one.images, two.images) and one.images.dtype == torch.uint8
        assert torch.equal(one.labels, two.labels) and one.seed == two.seed


@pytest.mark.parametrize("options", [{}, {"sampler": "class_balanced", "drop_last": True}])
def test_batches_are_those_of_the_store(folder: Path, options: dict[str, Any]) -> None:
    streamed, stored = (ready(folder, kind, **options) for kind in ("streaming", "store"))
    assert streamed.split_hashes == stored.split_hashes
    assert streamed.preprocessing == stored.preprocessing  # measured on so few: on all of them
    for name in ("train_dataloader", "val_dataloader"):
        loaders = [getattr(data, name)() for data in (streamed, stored)]
        for epoch in (0, 2):
            for loader in loaders:
                loader.set_epoch(epoch)
            assert_same(*loaders)
    assert_same(streamed.loader("test"), stored.loader("test"))
    for position in (0, 4):
        assert np.array_equal(streamed.picture("test", position), stored.picture("test", position))
    assert streamed.paths("test") == stored.paths("test")


@pytest.mark.parametrize("method", ["forkserver", pytest.param("spawn", marks=pytest.mark.slow)])
def test_processes_may_be_started_in_any_way(
    folder: Path, method: str, request: pytest.FixtureRequest
) -> None:
    before = multiprocessing.get_start_method()
    request.addfinalizer(lambda: multiprocessing.set_start_method(before, force=True))
    multiprocessing.set_start_method(method, force=True)
    assert_same(ready(folder).loader("val"), ready(folder, "store").loader("val"))


def test_a_process_that_may_not_start_others_decodes_by_itself(folder: Path) -> None:
    context = multiprocessing.get_context("fork")
    results = context.Queue()

    def count() -> None:
        results.put(len(list(ready(folder).loader("val"))))

    process = context.Process(target=count, daemon=True)
    process.start()
    process.join()
    assert process.exitcode == 0 and results.get(timeout=60) == 1


def test_what_is_kept_of_a_sample_is_of_its_seed(folder: Path) -> None:
    data = ready(folder)
    train, hashed = data.splits["train"], data.split_hash
    for seed in (0, 1):
        data._open().mean_and_std(train, hashed, seed)
    kept = list((folder.parent / "cache").glob("statistics-*.json"))
    assert len(kept) == 2
    for file in kept:
        file.write_text("[]")
    assert ready(folder).preprocessing.mean == data.preprocessing.mean


def test_an_epoch_goes_on_at_any_batch(folder: Path) -> None:
    loader, resumed, whole = (ready(folder).train_dataloader() for _ in range(3))
    given = iter(loader)
    first = [next(given) for _ in range(2)]
    resumed.load_state_dict(loader.state_dict())
    assert_same([*first, *resumed], whole)


def test_the_processes_end_with_the_epoch_and_when_it_is_abandoned(folder: Path) -> None:
    loader = ready(folder).train_dataloader()
    given = iter(loader)
    for _ in range(len(loader)):
        assert len(next(given).labels) and len(multiprocessing.active_children()) in (0, 2)
    assert not multiprocessing.active_children()  # although the end was not asked for
    given = iter(loader)
    next(given)
    assert len(multiprocessing.active_children()) == 2
    del given
    assert not multiprocessing.active_children()


def test_signals_to_all_processes_are_left_to_the_run(folder: Path) -> None:
    given = iter(ready(folder, batch_size=2).train_dataloader())
    next(given)
    for worker in multiprocessing.active_children():
        assert worker.pid
        for number in (signal.SIGINT, signal.SIGTERM):  # as from a shell, not from here
            os.spawnlp(os.P_WAIT, "sh", "sh", "-c", f"kill -{int(number)} {worker.pid}")
    assert len(list(given)) == 20
    assert not multiprocessing.active_children()


def test_a_process_that_dies_is_named(folder: Path) -> None:
    given = iter(ready(folder, batch_size=2).train_dataloader())
    next(given)
    for worker in multiprocessing.active_children():
        worker.kill()
    with pytest.raises(UserError, match="a process that decodes images has died"):
        list(given)


def test_decoding_elsewhere_draws_no_random_number(folder: Path) -> None:
    data = ready(folder)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    list(data.train_dataloader())
    assert torch.equal(torch.get_rng_state(), before)


def test_a_broken_image_stops_the_run_when_it_is_met(folder: Path) -> None:
    data = ready(folder)
    break_image(folder, "cat/03.jpg")
    (split,) = (name for name in data.splits if "cat/03.jpg" in data.paths(name))
    with pytest.raises(BrokenImagesError) as stopped:
        list(data.loader(split))
    assert stopped.value.files == [("cat/03.jpg", "empty, or not an image of a known format")]
    assert "data.on_error=skip" in str(stopped.value)


def test_broken_images_can_be_left_out_of_their_batches(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = ready(folder)
    paths, labels = whole.paths("test"), whole.labels("test")
    broken = [paths[1], paths[9]]
    for path in broken:
        break_image(folder, path)
    data = ready(folder, on_error="skip")
    assert data.split_hash == whole.split_hash and not data.unreadable("test")
    caplog.clear()
    for _ in range(2):
        found = list(data.loader("test"))
    assert [len(batch.labels) for batch in found] == [7, 3]
    assert caplog.text.count("cannot be read: skipped") == 2
    assert [path for path, _ in data.skipped] == broken
    kept = [path for path in paths if path not in broken]
    assert data.paths("test") == kept
    seen = torch.cat([batch.labels for batch in found])
    assert seen.tolist() == data.labels("test").tolist() == np.delete(labels, [1, 9]).tolist()
    assert [path for path, _, _ in data.unreadable("test")] == broken
    shown = np.asarray(Image.fromarray(data.picture("test", 1)))
    assert np.array_equal(shown, whole.picture("test", 2))


def test_a_batch_of_nothing_but_broken_images_is_refused(folder: Path) -> None:
    data = ready(folder, on_error="skip", batch_size=1)
    break_image(folder, data.paths("test")[0])
    with pytest.raises(UserError, match="all 1 images of a batch"):
        list(data.loader("test"))


def test_the_fingerprint_is_that_of_the_listing_on_any_machine(
    folder: Path, tmp_path: Path
) -> None:
    first = ready(folder)
    assert first.fingerprint.startswith("listing:")
    assert first.duplicates is None
    stored = ready(folder, "store")
    assert stored.fingerprint != first.fingerprint == stored.listing_fingerprint
    zipped = Path(shutil.make_archive(str(tmp_path / "zipped"), "zip", folder))
    copied = Path(shutil.copytree(folder, tmp_path / "copied", copy_function=shutil.copyfile))
    assert ready(zipped).fingerprint == ready(copied).fingerprint == first.fingerprint
    with (copied / "cat" / "00.png").open("ab") as stream:
        stream.write(b"more")
    assert ready(copied).fingerprint != first.fingerprint


def test_mean_and_std_of_many_images_are_those_of_a_sample(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming_module, "_MEASURED", 10)
    caplog.set_level(logging.INFO)
    sampled, again, other = ready(folder), ready(folder), ready(folder, split_seed=1)
    assert caplog.text.count("10 of the 42 training images") == 3
    assert caplog.text.count("measured on 10 training images") == 2  # the second was kept
    assert sampled.preprocessing == again.preprocessing != other.preprocessing
    stored = ready(folder, "store").preprocessing
    assert sampled.preprocessing.mean != stored.mean
    assert np.allclose(sampled.preprocessing.mean or (), stored.mean or (), atol=0.02)


def test_copies_of_a_file_are_in_one_split_as_from_the_store(folder: Path, tmp_path: Path) -> None:
    for index in range(0, 60, 2):
        kind = "cat" if index < 30 else "dog"
        file = folder / kind / f"{index:02d}.png"
        shutil.copy(file, folder / "dog" / f"copy{index:02d}.png")
    (folder / "cat" / "torn1.png").write_bytes(b"torn")  # equal files that cannot be decoded
    zipped = Path(shutil.make_archive(str(tmp_path / "zipped"), "zip", folder))
    for root in (folder, zipped):
        streamed = ready(root, on_error="skip")
        parts = [{Path(path).stem[-2:] for path in streamed.paths(s)} for s in streamed.splits]
        assert not any(a & b for a, b in itertools.combinations(parts, 2))
    (folder / "cat" / "torn1.png").unlink()
    assert ready(folder).split_hashes == ready(folder, "store").split_hashes


def test_images_in_memory_are_split_as_from_the_store(tmp_path: Path) -> None:
    hashes = []
    for kind in ("streaming", "store"):
        data = Digits(pipeline=kind, cache_dir=str(tmp_path), num_workers=1)
        images = data.source.read.images  # type: ignore[attr-defined]
        images[1::3] = images[0]
        data.use(Preprocessing(1, 8, mean=(0.5,), std=(0.5,)))
        data.setup()
        hashes.append(data.split_hashes)
    assert hashes[0] == hashes[1]
    assert np.isin(np.arange(1, 1797, 3), data.splits["train"]).all()


def test_digests_are_those_of_the_store_for_what_was_read(folder: Path) -> None:
    streamed, stored = ready(folder), ready(folder, "store")
    assert not streamed.digests("test").any() and not streamed.is_read
    for split in streamed.splits:
        list(streamed.loader(split))
        assert np.array_equal(streamed.digests(split), stored.digests(split))
    assert streamed.is_read and len(np.unique(stored.digests("train"))) == 42
