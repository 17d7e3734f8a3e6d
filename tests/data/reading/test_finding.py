"""Paths as other machines and people write them, in a folder and in a zip."""

import os
import unicodedata
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest

from strided.data.reading.finding import Found, find_files
from strided.data.reading.near_files import Near, in_one_folder, remedy

Form = Literal["NFC", "NFD"]
FORMS: tuple[Form, ...] = ("NFC", "NFD")
NAMES = ("img/a.jpg", "img/b.jpg", "img/Größe.JPG", "img/sub/c.tif", "img/1.2.840.png", "x.txt")


def placed(folder: Path, names: Sequence[str] = NAMES) -> dict[str, Path]:
    """The same files in a folder, in a zip, and in a zip within one enclosing folder."""
    for name in names:
        (folder / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "root" / name).write_bytes(name.encode())
    for kind, inside in (("zip", ""), ("enclosed", "top/")):
        with zipfile.ZipFile(folder / f"{kind}.zip", "w") as archive:
            for name in names:
                archive.write(folder / "root" / name, inside + name)
    return {
        "folder": folder / "root",
        "zip": folder / "zip.zip",
        "enclosed": folder / "enclosed.zip",
    }


@pytest.fixture(params=["folder", "zip", "enclosed"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return placed(tmp_path)[request.param]


def near(found: Found, *paths: str) -> list[Near | None]:
    return [found.near(path) for path in paths]


@pytest.mark.parametrize(
    "path",
    [
        "img/a.jpg",
        r"img\a.jpg",
        r".\img\a.jpg",
        "img/a.JPG",
        "IMG/A.jpg",
        r"C:\Users\me\data\img\a.jpg",
        r"\\server\share\img\a.jpg",
        "/home/other/img/a.jpg",
        "s3://bucket/set/img/a.jpg",
    ],
)
def test_a_file_is_found_however_its_path_is_written(root: Path, path: str) -> None:
    found = find_files(root, [path])
    assert found.paths == ["img/a.jpg"]
    assert found.names[0] is not None and found.names[0].endswith("img/a.jpg")
    assert found.names[0] in found.files.stamps


@pytest.mark.parametrize("form", FORMS)
def test_forms_are_one_name(tmp_path: Path, form: Form) -> None:
    for root in placed(tmp_path, [unicodedata.normalize(form, "é/ü.png"), "x/1.png"]).values():
        for given in FORMS:
            found = find_files(root, [unicodedata.normalize(given, "é/ü.png")])
            assert found.paths == ["é/ü.png"] and found.names != [None]


def test_two_files_that_differ_in_case_are_no_doubt_two(tmp_path: Path) -> None:
    for root in placed(tmp_path, ["img/a.jpg", "img/A.jpg", "x.png"]).values():
        found = find_files(root, ["img/a.jpg", "img/A.jpg", "img/a.JPG"])
        assert found.names[2] is None and len({*found.names}) == 3
        assert found.near("img/a.JPG") is not None


def test_a_backslash_may_belong_to_a_name(tmp_path: Path) -> None:
    for kind, root in placed(tmp_path, [r"img/a\b.jpg", "img/c.jpg"]).items():
        assert find_files(root, [r"img/a\b.jpg"]).paths == [r"img/a\b.jpg"], kind


def test_a_bare_name_on_another_machine_is_no_proof(tmp_path: Path) -> None:
    root = placed(tmp_path, ["1.jpg", "x/y.jpg"])["folder"]
    assert find_files(root, ["/elsewhere/dogs/1.jpg"]).names == [None]
    assert find_files(root, [r"D:\root\1.jpg"]).paths == ["1.jpg"]  # called as this folder


def test_pipes_and_links_that_lead_nowhere_are_missing(tmp_path: Path) -> None:
    root = placed(tmp_path, ["x/y.jpg"])["folder"]
    os.mkfifo(root / "x" / "pipe.jpg")
    (root / "x" / "gone.jpg").symlink_to("nowhere")
    paths = ["x/pipe.jpg", "x/gone.jpg", "X/gone.JPG"]
    assert find_files(root, paths).names == [None] * 3


def test_a_file_of_a_zip_has_the_name_of_the_unpacked_one(tmp_path: Path) -> None:
    file = placed(tmp_path, ["img/a.jpg"])["enclosed"]
    for name, path in (("top.zip", "img/a.jpg"), ("other.zip", "top/img/a.jpg")):
        file = file.rename(tmp_path / name)
        found = find_files(file, ["/home/me/top/img/a.jpg"])
        assert found.paths == [path] and found.names == ["top/img/a.jpg"]


@pytest.mark.parametrize(
    ("paths", "folder", "suffix"),
    [
        (["img/a", "img/b"], "", ".jpg"),
        (["img/1.2.840"], "", ".png"),
        (["a.jpg", "b.jpg"], "img", ""),
        (["a", "B"], "img", ".jpg"),
        (["sub/c"], "img", ".tif"),
    ],
)
def test_what_would_find_all_files_is_known(
    root: Path, paths: list[str], folder: str, suffix: str
) -> None:
    found = find_files(root, paths)
    assert found.names == [None] * len(paths)
    change = remedy(near(found, *paths))
    assert change is not None
    assert (change.folder.removeprefix("top/"), change.suffix) == (folder, suffix)


def test_files_of_several_folders_could_be_in_one(tmp_path: Path) -> None:
    for name in ("part_1/a.jpg", "part_2/b.jpg", "part_1/x/c.jpg", "part_2/x/d.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    for paths, suffix in ((["a", "b"], ".jpg"), (["a.jpg", "b.jpg"], "")):
        found = near(find_files(tmp_path, paths), *paths)
        change = in_one_folder(found)
        assert remedy(found) is None and change is not None
        assert (change.folder, change.suffix) == ("", suffix)
    for paths in (["x/c", "x/d"], ["a", "gone"]):
        assert in_one_folder(near(find_files(tmp_path, paths), *paths)) is None


def test_files_that_nearly_fit_are_named(root: Path) -> None:
    paths = ["img/a.png", "a.png", "old/img/a.jpg", "/x/y/a.jpg", "gone/z.jpg"]
    found = find_files(root, paths)
    names = [there.name.removeprefix("top/") if there else None for there in near(found, *paths)]
    assert names == ["img/a.jpg"] * 3 + [None] * 2
    assert remedy(near(found, *paths)) is None


def test_each_of_thousands_of_missing_paths_has_its_file(tmp_path: Path) -> None:
    names = [f"{k}/0.png" for k in range(2_000)]
    with zipfile.ZipFile(tmp_path / "root.zip", "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    paths = [f"{k}/0.jpg" for k in range(2_000)]
    found = find_files(tmp_path / "root.zip", paths)
    assert [there and there.name for there in near(found, *paths)] == names
