import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from strided.data import ImageError, Preprocessing
from strided.data.source import Source, array_source
from strided.data.store import Store, default_cache_dir, open_store
from strided.errors import UserError

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
    assert len(folders) == 4 == len(list(tmp_path.iterdir()))


def test_broken_images_are_kept_with_their_reason(tmp_path: Path) -> None:
    for _ in range(2):  # just built, then opened
        store = open_store(unreadable(source(), 3, 599), SIZE, tmp_path, 2)
        assert store.errors == {3: "number 3 is torn", 599: "number 599 is torn"}
        assert not store.images[3].any() and not store.images[599].any()


def test_the_fingerprint_depends_on_content_alone(tmp_path: Path) -> None:
    first = open_store(source(), SIZE, tmp_path / "a", 1).fingerprint
    elsewhere = replace(source(), listing="other")
    assert open_store(elsewhere, SIZE, tmp_path / "b", 2).fingerprint == first
    changed = PIXELS.copy()
    changed[5, 0, 0] ^= 1
    assert open_store(source(changed), SIZE, tmp_path / "c", 1).fingerprint != first
    relabelled = replace(source(), labels=1 - source().labels)
    assert open_store(relabelled, SIZE, tmp_path / "d", 1).fingerprint != first


def test_digests_tell_images_apart_before_they_are_shrunk(tmp_path: Path) -> None:
    pixels = np.zeros((3, 6, 6), dtype=np.uint8)
    pixels[1, 0, 0] = 1  # lost when shrunk to one pixel
    store = open_store(source(pixels), Preprocessing(1, 1), tmp_path, 1)
    assert len(np.unique(store.images)) == 1
    assert np.array_equal(store.digests[0], store.digests[2])
    assert not np.array_equal(store.digests[0], store.digests[1])


@pytest.mark.parametrize("damage", ["cut", "other", "meta", "missing"])
def test_a_damaged_store_is_built_again(tmp_path: Path, damage: str) -> None:
    folder = open_store(source(), SIZE, tmp_path, 1).folder
    if damage == "cut":
        (folder / "images.npy").write_bytes((folder / "images.npy").read_bytes()[:-1])
    elif damage == "other":
        np.save(folder / "images.npy", np.zeros((2, 1, 8, 8), np.uint8))
    elif damage == "meta":
        (folder / "meta.json").write_text("{")
    else:
        (folder / "digests.npy").unlink()
    check(open_store(source(), SIZE, tmp_path, 1))
    assert json.loads((folder / "meta.json").read_text())["errors"] == {}


def test_runs_that_build_at_once_all_get_a_whole_store(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda _: open_store(source(), SIZE, tmp_path, 2), range(4)))
    for store in stores:
        check(store)
    assert [folder.name for folder in tmp_path.iterdir()] == [stores[0].folder.name]


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


def test_a_build_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(index: int) -> Image.Image:
        raise KeyboardInterrupt if index > 300 else ImageError("torn")

    with pytest.raises(KeyboardInterrupt):
        open_store(replace(source(), read=fail), SIZE, tmp_path, 2)
    assert not list(tmp_path.iterdir())


def test_a_cache_folder_that_cannot_be_made_names_its_key(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="data.cache_dir=.*expected.*Try data.cache_dir="):
        open_store(source(), SIZE, tmp_path / "file", 1)


def test_the_cache_folder_follows_the_xdg_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_cache_dir() == Path("/somewhere/strided")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_dir() == Path.home() / ".cache" / "strided"
