import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from strided.data import ImageError, Preprocessing
from strided.data.pixels.pipeline import StorePipeline
from strided.data.pixels.store import Store, default_cache_dir, open_store
from strided.data.source import Source, array_source
from strided.errors import UserError
from strided.system.machine import alone_in

PIXELS = np.random.default_rng(0).integers(0, 256, (600, 6, 6), dtype=np.uint8)
SIZE = Preprocessing(1, 8, "pad")


def source(pixels: np.ndarray = PIXELS) -> Source:
    labels = np.arange(len(pixels)) % 2
    return array_source(pixels, labels, np.full(len(pixels), ""), "ab", "listing")


def unreadable(given: Source, *indices: int) -> Source:
    def read(index: int) -> Image.Image:
        if index in indices:
            raise ImageError(f"number {index} is torn")
        return given.read(index)

    return replace(given, read=read)


def stores_in(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if path.is_dir()]


def check(store: Store) -> None:
    assert store.images.shape == (600, 1, 8, 8) and store.images.dtype == np.uint8
    assert np.array_equal(store.images[:, 0, 1:7, 1:7], PIXELS)
    assert isinstance(store.images, np.memmap) and not store.images.flags.writeable


def test_images_are_decoded_once(tmp_path: Path) -> None:
    check(open_store(source(), SIZE, tmp_path, 2))
    again = unreadable(source(), *range(600))  # would fail if anything were read
    store = open_store(again, replace(SIZE, mean=(0.5,), std=(0.5,)), tmp_path, 2)
    check(store)
    assert not store.errors


def test_another_geometry_or_listing_has_its_own_store(tmp_path: Path) -> None:
    folders = {
        open_store(source(), SIZE, tmp_path, 1).folder,
        open_store(source(), replace(SIZE, image_size=10), tmp_path, 1).folder,
        open_store(source(), replace(SIZE, resize="squash"), tmp_path, 1).folder,
        open_store(replace(source(), listing="other"), SIZE, tmp_path, 1).folder,
    }
    assert len(folders) == 4 and set(stores_in(tmp_path)) == folders


def test_broken_images_are_kept_with_their_reason(tmp_path: Path) -> None:
    for _ in range(2):  # just built, then opened
        store = open_store(unreadable(source(), 3, 599), SIZE, tmp_path, 2)
        assert store.errors == {3: "number 3 is torn", 599: "number 599 is torn"}
        assert not store.images[3].any() and not store.images[599].any()
    check(open_store(source(), SIZE, tmp_path, 2))  # a zip that was copied again, whole this time


def test_the_fingerprint_depends_on_content_alone(tmp_path: Path) -> None:
    first = open_store(source(), SIZE, tmp_path / "a", 1).fingerprint
    elsewhere = replace(source(), listing="other")
    assert open_store(elsewhere, SIZE, tmp_path / "b", 2).fingerprint == first
    changed = PIXELS.copy()
    changed[5, 0, 0] ^= 1
    assert open_store(source(changed), SIZE, tmp_path / "c", 1).fingerprint != first
    relabelled = replace(source(), labels=1 - source().labels)
    for cache in ("a", "d"):  # the store of the same listing, and a new one
        assert open_store(relabelled, SIZE, tmp_path / cache, 1).fingerprint != first


def test_digests_tell_images_apart_before_they_are_shrunk(tmp_path: Path) -> None:
    pixels = np.zeros((3, 6, 6), dtype=np.uint8)
    pixels[1, 0, 0] = 1  # lost when shrunk to one pixel
    store = open_store(source(pixels), Preprocessing(1, 1), tmp_path, 1)
    assert len(np.unique(store.images)) == 1
    assert np.array_equal(store.digests[0], store.digests[2])
    assert not np.array_equal(store.digests[0], store.digests[1])


@pytest.mark.parametrize(
    "damage", ["cut", "long", "other", "empty", "meta", "list", "no meta", "digests", "missing"]
)
def test_a_damaged_store_is_built_again(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = open_store(source(), SIZE, tmp_path, 1).folder
    if damage == "cut":
        (folder / "images.npy").write_bytes((folder / "images.npy").read_bytes()[:-1])
    elif damage == "other":
        np.save(folder / "images.npy", np.zeros((2, 1, 8, 8), np.uint8))
    elif damage == "long":
        (folder / "images.npy").write_bytes((folder / "images.npy").read_bytes() + b"1")
    elif damage == "empty":
        (folder / "images.npy").write_bytes(b"")
    elif damage == "list":
        (folder / "meta.json").write_text("[]")
    elif damage == "no meta":
        (folder / "meta.json").unlink()
    elif damage == "digests":
        np.save(folder / "digests.npy", np.zeros((2, 16), np.uint8))
    elif damage == "meta":
        (folder / "meta.json").write_text("{")
    else:
        (folder / "digests.npy").unlink()
    with caplog.at_level("INFO"):
        check(open_store(source(), SIZE, tmp_path, 1))
    assert "damaged" in caplog.text and "decoded 600 images" in caplog.text
    assert json.loads((folder / "meta.json").read_text())["errors"] == {}


def test_runs_that_build_at_once_all_get_a_whole_store(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda _: open_store(source(), SIZE, tmp_path, 2), range(4)))
    for store in stores:
        check(store)
    assert stores_in(tmp_path) == [stores[0].folder]


def test_a_store_is_shared_as_its_cache_folder_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert open_store(source(), SIZE, tmp_path, 1).folder.stat().st_mode & 0o777 == 0o755


def test_what_a_killed_build_left_is_removed_after_a_day(tmp_path: Path) -> None:
    folder = open_store(source(), SIZE, tmp_path / "once", 1).folder
    old, new = (tmp_path / f"{folder.name}.{end}" for end in ("old", "new"))
    old.mkdir()
    new.mkdir()
    os.utime(old, (0, 0))
    open_store(source(), SIZE, tmp_path, 1)
    assert new.is_dir() and not old.exists()


def stopped_at(index: int, cache: Path, *broken: int) -> Path:
    """The folder of a build that was stopped at one of the images."""
    given = unreadable(source(), *broken)

    def read(asked: int) -> Image.Image:
        if asked == index:
            raise KeyboardInterrupt
        return given.read(asked)

    with pytest.raises(KeyboardInterrupt):
        open_store(replace(source(), read=read), SIZE, cache, 2)
    (folder,) = stores_in(cache)
    return folder


def recorder(read: list[int], *broken: int) -> Source:
    given = unreadable(source(), *broken)

    def note(index: int) -> Image.Image:
        read.append(index)
        return given.read(index)

    return replace(given, read=note)


def test_a_stopped_build_goes_on_where_it_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = stopped_at(300, tmp_path, 3)
    read: list[int] = []
    with caplog.at_level("INFO"):
        store = open_store(recorder(read, 3), SIZE, tmp_path, 1)
    assert read == list(range(256, 600))
    assert "256 of 600 images are there" in caplog.text
    assert "decoded 344 images" in caplog.text
    assert store.errors == {3: "number 3 is torn"}
    assert (
        store.fingerprint
        == open_store(unreadable(source(), 3), SIZE, tmp_path / "b", 1).fingerprint
    )
    assert np.array_equal(store.images[4:, 0, 1:7, 1:7], PIXELS[4:])
    assert not folder.exists()


def test_a_chunk_that_is_not_what_was_recorded_is_decoded_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = stopped_at(300, tmp_path)
    images = np.load(folder / "images.npy", mmap_mode="r+")
    images[130] += 1
    images.flush()
    forged = json.dumps([2, "0123456789abcdef", {"300": "never looked at"}, {}])
    with (folder / "chunks.jsonl").open("a") as journal:
        journal.write(forged + '\n[3, "01\n{}\n[99, "0", {}, {}]\n[3')
    read: list[int] = []
    store = open_store(recorder(read), SIZE, tmp_path, 1)
    check(store)
    assert sorted(read) == list(range(128, 600)) and not store.errors
    assert caplog.text.count("were damaged") == 2


@pytest.mark.parametrize("damage", ["cut", "other", "digests", "journal"])
def test_what_is_left_of_a_build_but_not_whole_is_no_start(tmp_path: Path, damage: str) -> None:
    folder = stopped_at(300, tmp_path)
    if damage == "cut":
        os.truncate(folder / "images.npy", 200)
    elif damage == "other":
        np.save(folder / "images.npy", np.zeros((2, 1, 8, 8), np.uint8))
    elif damage == "digests":
        (folder / "digests.npy").write_bytes(b"")
    else:
        (folder / "chunks.jsonl").write_bytes(b"\xff\0")
    read: list[int] = []
    check(open_store(recorder(read), SIZE, tmp_path, 1))
    assert read == list(range(600))


def test_what_a_killed_build_left_beside_a_store_is_removed(tmp_path: Path) -> None:
    folder = open_store(source(), SIZE, tmp_path, 1).folder
    left = folder.with_name(f"{folder.name}.unfinished")
    left.mkdir()
    with alone_in(folder.with_name(f"{folder.name}.lock")):
        open_store(source(), SIZE, tmp_path, 1)
        assert left.is_dir()  # somebody is at it
    open_store(source(), SIZE, tmp_path, 1)
    assert stores_in(tmp_path) == [folder]


def test_without_locks_each_build_has_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with ThreadPoolExecutor(2) as pool:
        stores = list(pool.map(lambda _: open_store(source(), SIZE, tmp_path, 1), range(2)))
    for store in stores:
        check(store)
    assert stores_in(tmp_path) == [stores[0].folder]


def test_a_disk_without_room_is_a_mistake_that_names_the_key(tmp_path: Path) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(UserError, match="data.cache_dir=.*Try data.cache_dir="):
            open_store(source(), SIZE, tmp_path, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    check(open_store(source(), SIZE, tmp_path, 1))


def test_a_cache_folder_that_cannot_be_made_names_its_key(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="data.cache_dir=.*expected.*Try data.cache_dir="):
        open_store(source(), SIZE, tmp_path / "file", 1)


def test_the_cache_folder_follows_the_xdg_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_cache_dir() == Path("/somewhere/strided")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_dir() == Path.home() / ".cache" / "strided"


def flip(file: Path, index: int) -> None:
    """Flip a bit of an array's element, as a disk may: the file keeps its length."""
    array = np.load(file, mmap_mode="r+")
    array[index] ^= 1
    array.flush()


@pytest.mark.parametrize("name", ["digests.npy", "crc32.npy", "meta.json"])
def test_a_flipped_bit_beside_the_pixels_is_found_when_the_store_is_opened(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(unreadable(source(), 3), SIZE, tmp_path, 1)
    if name == "meta.json":
        text = (store.folder / name).read_text()
        (store.folder / name).write_text(text.replace("number 3", "number 2"))
    else:
        flip(store.folder / name, 7)
    again = open_store(unreadable(source(), 3), SIZE, tmp_path, 1)
    assert "other content than was written" in caplog.text
    assert again.fingerprint == store.fingerprint and again.errors == {3: "number 3 is torn"}


def test_flipped_pixels_are_found_when_they_are_read_and_decoded_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = open_store(source(), SIZE, tmp_path, 1).folder
    for index in (5, 300):
        flip(folder / "images.npy", index)
    memory = np.zeros((600, 1, 8, 8), dtype=np.uint8)
    StorePipeline(source(), SIZE, tmp_path, 1, skip=False).take(np.arange(600), memory)
    assert np.array_equal(memory[:, 0, 1:7, 1:7], PIXELS)
    flip(folder / "images.npy", 5)
    flip(folder / "images.npy", 300)
    caplog.clear()
    pipeline = StorePipeline(source(), SIZE, tmp_path, 1, skip=False)
    ((images, _),) = pipeline.read([np.arange(600)])
    assert np.array_equal(images[:, 0, 1:7, 1:7].numpy(), PIXELS)
    assert np.array_equal(pipeline.picture(300)[0, 1:7, 1:7], PIXELS[300])
    assert caplog.text.count("have changed on the disk, 00005 is the first") == 1
    caplog.clear()
    check(open_store(source(), SIZE, tmp_path, 1))  # the file is whole again
    list(StorePipeline(source(), SIZE, tmp_path, 1, skip=False).read([np.arange(600)]))
    assert not caplog.text


def test_flipped_pixels_whose_file_is_gone_stop_the_run(tmp_path: Path) -> None:
    folder = open_store(source(), SIZE, tmp_path, 1).folder
    flip(folder / "images.npy", 5)
    for given in (unreadable(source(), 5), source(PIXELS ^ 1)):
        pipeline = StorePipeline(given, SIZE, tmp_path, 1, skip=False)
        assert len(next(pipeline.read([np.arange(5)]))[0]) == 5
        with pytest.raises(UserError, match="other pixels of 00005.*expected.*Try deleting"):
            next(pipeline.read([np.arange(4, 8)]))


def test_a_mean_that_was_changed_is_measured_again(tmp_path: Path) -> None:
    pipeline = StorePipeline(source(), SIZE, tmp_path, 1, skip=False)
    measured = pipeline.mean_and_std(np.arange(600), "split", 0)
    file = pipeline.store.folder / "statistics-split.json"
    file.write_text(file.read_text().replace("0.", "1.", 1))
    assert pipeline.mean_and_std(np.arange(600), "split", 0) == measured
