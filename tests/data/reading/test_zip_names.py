"""What the files of a zip are called, whoever made it."""

import struct
import unicodedata
import zipfile
import zlib
from pathlib import Path
from typing import Literal

import pytest

from strided.data.reading.files import all_files
from strided.data.reading.folder import folder_source
from strided.data.reading.zipped import zip_members
from strided.errors import UserError

Form = Literal["NFC", "NFD"]
FORMS: tuple[Form, ...] = ("NFC", "NFD")
UNIX, FAT, NTFS = 3, 0, 10


def packed(
    file: Path, *names: bytes, host: int = UNIX, extra: dict[bytes, str] | None = None
) -> Path:
    """A zip whose names are these very bytes; `extra` gives some a Unicode path."""
    with zipfile.ZipFile(file, "w") as archive:
        for row, name in enumerate(names):
            entry = zipfile.ZipInfo("x" * (len(name) - 3) + f"{row:03}")
            entry.create_system = host
            if extra and name in extra:
                path = struct.pack("<BL", 1, zlib.crc32(name)) + extra[name].encode()
                other = struct.pack("<HHL", 0x5455, 4, 0)
                entry.extra = other + struct.pack("<HH", 0x7075, len(path)) + path
            archive.writestr(entry, b"")
    content = file.read_bytes()
    for row, name in enumerate(names):
        content = content.replace(b"x" * (len(name) - 3) + f"{row:03}".encode(), name)
    file.write_bytes(content)
    return file


def names_of(file: Path) -> list[str]:
    return list(zip_members(file).rows)


@pytest.mark.parametrize("name", ["Größe/ß.png", "表示/能力.png", "plain/a.png"])
@pytest.mark.parametrize("form", FORMS)
def test_names_in_utf8_need_no_flag(tmp_path: Path, name: str, form: Form) -> None:
    name = unicodedata.normalize(form, name)
    assert names_of(packed(tmp_path / "a.zip", name.encode())) == [name]


def test_a_unicode_path_is_the_name_if_it_was_made_for_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raw = ("cat/ä.png".encode("cp437"), b"dog/??.png", b"dog/renamed.png")
    meant = ("cat/ä.png", "dog/表示.png")
    file = packed(tmp_path / "a.zip", *raw, extra=dict(zip(raw, meant, strict=False)))
    assert names_of(file) == [*meant, "dog/renamed.png"]
    file.write_bytes(file.read_bytes().replace(b"dog/??.png", b"dog/zz.png"))
    assert names_of(file) == [meant[0], "dog/zz.png", "dog/renamed.png"]
    assert not caplog.text


def test_names_in_an_unknown_encoding_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raw = [b"a/1.png", "表示/1.png".encode("cp932"), "能力/1.png".encode("cp932")]
    found = names_of(packed(tmp_path / "a.zip", *raw))
    assert found == [name.decode("cp437") for name in raw]  # 表 ends in the byte of a backslash
    assert "a.zip: 2 names are not in UTF-8" in caplog.text and found[1] in caplog.text


@pytest.mark.parametrize(
    ("raw", "host", "meant"),
    [
        ([rb"a\b\1.png", rb"a\c\1.png"], UNIX, ["a/b/1.png", "a/c/1.png"]),  # no / anywhere
        ([rb"a\b.png", b"a/c.png"], UNIX, [r"a\b.png", "a/c.png"]),  # a name on Unix
        ([rb"a\b.png", b"a/c.png"], FAT, ["a/b.png", "a/c.png"]),
        ([rb"a/b\1.png", b"c/d.png"], NTFS, ["a/b/1.png", "c/d.png"]),
        (["表/1.png".encode("cp932")], FAT, ["表/1.png".encode("cp932").decode("cp437")]),
        (["é\\1.png".encode("cp437")], FAT, ["é/1.png"]),
    ],
)
def test_backslashes_separate_where_windows_wrote_them(
    tmp_path: Path, raw: list[bytes], host: int, meant: list[str]
) -> None:
    assert names_of(packed(tmp_path / "a.zip", *raw, host=host)) == meant


def test_folders_and_dots_are_no_part_of_a_name(tmp_path: Path) -> None:
    raw = (b"./cat/", b"./cat/1.png", b"cat//./2.png", b"dog\\", b"...png")
    assert names_of(packed(tmp_path / "a.zip", *raw, host=FAT)) == [
        "cat/1.png",
        "cat/2.png",
        "...png",
    ]


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ([b"cat/1.png", b"../1.png"], r"'\.\./1\.png' leads out"),
        ([b"cat/../../1.png"], "leads out"),
        ([rb"cat\..\..\1.png"], "leads out"),
        ([b"/cat/1.png"], "'/cat/1.png' begins at the root"),
        ([rb"\\server\cat\1.png"], "begins at the root"),
        ([rb"C:\cat\1.png", rb"C:\dog\1.png"], "'C:/cat/1.png' begins with a drive"),
        ([b"cat/1.png\0.txt"], "zero byte"),
        ([b"cat/1.png", b"dog/1.png", b"cat/1.png"], "'cat/1.png' is listed twice"),
        ([b"cat/1.png", b"./cat/1.png"], "'cat/1.png' is listed twice"),
    ],
)
def test_names_that_no_folder_can_hold_are_refused(
    tmp_path: Path, names: list[bytes], problem: str
) -> None:
    file = packed(tmp_path / "a.zip", *names)
    with pytest.raises(UserError, match=rf"{problem}.*expected.*Try unzipping a\.zip into a new"):
        all_files(file)


@pytest.mark.parametrize("flag", [0, 0x800])
def test_a_folder_and_its_zips_have_the_same_names(
    image_folder: Path, tmp_path: Path, flag: int
) -> None:
    first = sorted(path for path in image_folder.iterdir() if path.is_dir())[0]
    first.rename(first.with_name("Größe 表示"))
    file = tmp_path / "images.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for name in all_files(image_folder).stamps:
            archive.write(image_folder / name, name)
    content = file.read_bytes()
    assert content.count("Größe 表示/".encode()) > 1
    for signature, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        start = -1
        while (start := content.find(signature, start + 1)) >= 0:
            flags = struct.pack("<H", flag)
            content = content[: start + place] + flags + content[start + place + 2 :]
    file.write_bytes(content)
    zipped, folder = folder_source(file), folder_source(image_folder)
    assert (zipped.paths, zipped.classes) == (folder.paths, folder.classes)
    assert "Größe 表示" in zipped.classes


def test_a_zip_of_folders_alone_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dog/: empty"):
        folder_source(packed(tmp_path / "a.zip", b"dog/", b"dog/small/"))


def test_the_folder_that_is_the_zip_itself_is_no_class(image_folder: Path, tmp_path: Path) -> None:
    names = list(all_files(image_folder).stamps)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("./", b"")
        for name in names:
            archive.write(image_folder / name, name)
            archive.infolist()[-1].filename = f"./{name}"
    source = folder_source(tmp_path / "a.zip")
    assert source.paths == folder_source(image_folder).paths and not source.left_out


def test_a_name_without_a_letter_is_refused(tmp_path: Path) -> None:
    entry = zipfile.ZipInfo()
    entry.filename = ""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(entry, b"")
    with pytest.raises(UserError, match=r"'' is empty.*Try unzipping"):
        all_files(tmp_path / "a.zip")
