import logging
import re
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from strided.data import ImageError
from strided.data.reading.folder import folder_source
from strided.errors import UserError


def write(root: Path, *names: str) -> Path:
    """Write tiny images, each of its own grey, and other files as text."""
    for value, name in enumerate(names):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".png":
            Image.new("L", (4, 4), value).save(file)
        else:
            file.write_text("no image")
    return root


def zipped(root: Path) -> Path:
    archive = root.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as target:
        for file in sorted(root.rglob("*")):
            target.write(file, file.relative_to(root))
    return archive


CLASSES = ("cat/0.png", "cat/1.png", "dog/0.png", "dog/deep/1.png")
SPLITS = ("train/cat/0.png", "train/dog/0.png", "test/cat/0.png", "test/dog/1.png")


@pytest.mark.parametrize("prefix", ["", "pets/"])
@pytest.mark.parametrize("packed", [False, True])
def test_class_folders_are_found_in_a_folder_or_zip(
    tmp_path: Path, prefix: str, packed: bool
) -> None:
    root = write(tmp_path / "root", *(prefix + name for name in CLASSES))
    source = folder_source(zipped(root) if packed else root)
    assert source.classes == ["cat", "dog"] and source.labels.tolist() == [0, 0, 1, 1]
    assert source.paths == list(CLASSES) and set(source.split) == {""}
    assert [source.read(index).getpixel((0, 0)) for index in range(4)] == [0, 1, 2, 3]


@pytest.mark.parametrize("prefix", ["", "pets/"])
def test_split_folders_are_used(tmp_path: Path, prefix: str) -> None:
    source = folder_source(write(tmp_path / "root", *(prefix + name for name in SPLITS)))
    pairs = sorted(zip(source.split.tolist(), source.paths, strict=True))
    assert pairs == sorted(tuple(name.split("/", 1)) for name in SPLITS)


@pytest.mark.parametrize("name", ["valid", "validation"])
def test_other_names_of_val_are_taken_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    write(tmp_path, *SPLITS, f"{name}/cat/9.png", f"{name}/dog/9.png")
    with caplog.at_level(logging.INFO):
        source = folder_source(tmp_path)
    assert sorted(set(source.split)) == ["test", "train", "val"]
    assert f"{name}/ is used as the val split" in caplog.text


def test_other_files_are_counted_and_hidden_ones_passed_over(tmp_path: Path) -> None:
    hidden = ["__MACOSX/cat/0.png", ".cache/x.png", "cat/._0.png", "cat/.DS_Store"]
    hidden += ["cat/@eaDir/0.png/thumb.png", "#recycle/0.png", "@Recycle/0.png", "lost+found/0.png"]
    hidden += ["$RECYCLE.BIN/S-1/0.png", "System Volume Information/0.png", "cat/Thumbs.db"]
    hidden += ["cat/__pycache__/0.png", "dog/desktop.ini", "dog/Icon\r", ".Trash-1000/0.png"]
    shown = [*CLASSES, "recycled/0.png"]  # a class, of waste
    write(tmp_path, *shown, "README.txt", "cat/notes.txt", *hidden)
    source = folder_source(tmp_path)
    assert source.ignored == {".txt": 2} and source.paths == shown


@pytest.mark.parametrize("packed", [False, True])
def test_pictures_are_known_by_ending_or_content(tmp_path: Path, packed: bool) -> None:
    grey = Image.new("L", (4, 4), 9)
    kinds = {".jfif": "JPEG", ".jpe": "JPEG", ".ppm": "PPM", ".gif": "GIF", ".avif": "AVIF"}
    kinds |= {"": "PNG", ".JPG_large": "JPEG", ".0001": "TIFF", ".png": "BMP", ".dib": "DIB"}
    for name in ("cat", "dog"):
        (tmp_path / "root" / name).mkdir(parents=True)
        for ending, kind in kinds.items():
            grey.save(tmp_path / "root" / name / f"1{ending}", kind)
        for other in ("README", "1.jpg~", "notes.txt", "1.jp2", "1.bak", "2.xyz"):
            (tmp_path / "root" / name / other).write_bytes(b"no image, of 12345 bytes" * 20)
    source = folder_source(zipped(tmp_path / "root") if packed else tmp_path / "root")
    assert {path.removeprefix("cat/1") for path in source.paths[: len(kinds)]} == set(kinds)
    assert all(abs(np.asarray(source.read(i)).mean() - 9) < 2 for i in range(len(source)))
    endings = ("no ending", ".jpg~", ".txt", ".jp2", ".bak", ".xyz")
    assert source.ignored == dict.fromkeys(endings, 2)


def test_a_picture_outside_the_class_folders_is_ignored_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = folder_source(write(tmp_path, *CLASSES, "overview.png"))
    assert source.ignored == {".png": 1} and "1 images lie outside" in caplog.text


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    source = folder_source(write(tmp_path, "car/0.png", "train/0.png", "bus/0.png"))
    assert source.classes == ["bus", "car", "train"]


def test_the_listing_follows_the_files_and_not_their_place(tmp_path: Path) -> None:
    root = zipped(write(tmp_path / "a", *CLASSES))
    first = folder_source(root).listing
    moved = root.rename(tmp_path / "moved.zip")
    assert folder_source(moved).listing == first
    assert folder_source(write(tmp_path / "a", *CLASSES, "dog/new.png")).listing != first


def test_a_zip_can_be_read_from_many_threads(tmp_path: Path) -> None:
    names = [f"{kind}/{index:03d}.png" for kind in ("cat", "dog") for index in range(100)]
    source = folder_source(zipped(write(tmp_path / "root", *names)))
    with ThreadPoolExecutor(8) as pool:
        values = list(pool.map(lambda i: source.read(i).getpixel((0, 0)), range(200)))
    assert values == list(range(200))


def test_a_damaged_member_of_a_zip_is_an_image_error(tmp_path: Path) -> None:
    root = tmp_path / "root"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    write(root, *CLASSES)
    Image.fromarray(noise).save(root / "cat" / "0.png")
    archive = zipped(root)
    content = bytearray(archive.read_bytes())
    content[500:510] = bytes(10)  # within the first member's pixels
    archive.write_bytes(content)
    with pytest.raises(ImageError):
        folder_source(archive).read(0)


@pytest.mark.parametrize("forged", [False, True])
def test_a_member_that_unpacks_to_too_much_is_a_broken_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forged: bool
) -> None:
    monkeypatch.setattr("strided.data.reading.files.MOST_BYTES", 5_000)
    archive = zipped(write(tmp_path / "root", *CLASSES))
    size = 50_000_000
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as target:
        target.writestr("dog/9.png", bytes(size))
    if forged:  # what it says of itself is 100 bytes
        content = archive.read_bytes()
        archive.write_bytes(
            content.replace(size.to_bytes(4, "little"), (100).to_bytes(4, "little"))
        )
    source = folder_source(archive)
    tracemalloc.start()
    try:
        with pytest.raises(ImageError) as error:
            source.read(source.paths.index("dog/9.png"))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert forged or "50,000,000 bytes, more than the 5,000" in str(error.value)
    assert most < 1_000_000
    assert source.read(0).getpixel((0, 0)) == 0


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_whose_unpacking_has_no_bound_is_refused(tmp_path: Path, method: int) -> None:
    archive = zipped(write(tmp_path / "root", *CLASSES))
    with zipfile.ZipFile(archive, "a", method) as target:
        target.writestr("dog/9.png", bytes(1_000_000))
    with pytest.raises(
        UserError, match=rf"dog/9.png is packed by method {method} \(.*expected.*Try"
    ):
        folder_source(archive)


def test_a_link_to_nothing_is_an_image_that_cannot_be_read(tmp_path: Path) -> None:
    write(tmp_path, *CLASSES)
    (tmp_path / "cat" / "9.png").symlink_to(tmp_path / "gone.png")
    source = folder_source(tmp_path)
    with pytest.raises(ImageError, match="^No such file or directory$"):
        source.read(source.paths.index("cat/9.png"))


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ((), "no images in class folders"),
        (("notes.txt",), "no images in class folders"),
        (("0.png", "1.png"), r"no images in class folders, but 2 outside.*data=csv"),
        (("set.zip",), r"\(1 .zip\); .*Try data.root=.*set.zip$"),
        (("a.zip", "b.zip"), r"\(2 .zip\); .*Try unpacking a.zip, b.zip into one folder"),
        (("set.tar.gz",), r"\(1 .gz\); .*Try unpacking set.tar.gz"),
        (("cat/0.png", "cat/1.png"), "only one class, cat"),
        ((*SPLITS, "test/bird/0.png"), "class bird in test but not in train"),
        (("val/cat/0.png", "val/dog/0.png", "test/cat/0.png"), "no train folder"),
        ((*SPLITS, "val/cat/0.png", "valid/cat/0.png"), "several folders for val"),
    ],
)
def test_folders_that_cannot_be_used_say_why(
    tmp_path: Path, names: tuple[str, ...], problem: str
) -> None:
    with pytest.raises(UserError, match=f"data.root=.*{problem}") as error:
        folder_source(write(tmp_path, *names))
    assert re.search("expected.*Try", str(error.value))


def test_a_missing_root_and_a_file_that_is_no_zip_say_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist; expected.*Try"):
        folder_source(tmp_path / "typo")
    write(tmp_path, "data.txt")
    with pytest.raises(UserError, match="no readable zip.*expected.*Try"):
        folder_source(tmp_path / "data.txt")
