import pickle
import struct
import tracemalloc
import zipfile
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from strided.data.reading.decoding import ImageError
from strided.data.reading.files import MOST_BYTES, all_files
from strided.data.reading.folder import folder_source
from strided.data.reading.zipped import Member, read_member, zip_members
from strided.errors import UserError

CONTENT = {
    f"{kind}/{index}.txt": bytes([index]) * 50 * index for kind in "ab" for index in range(9)
}


def written(file: Path, method: int = zipfile.ZIP_DEFLATED, large: bool = False) -> Path:
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.mkdir("a")
        for name, content in CONTENT.items():
            with archive.open(name, "w", force_zip64=large) as target:
                target.write(content)
        archive.writestr("Größe.txt", "ß")
        archive.comment = b"PK at the end"
    return file


def listed(file: Path) -> dict[str, Member]:
    rows, members, _ = zip_members(file)
    return {name: Member(*members[row].tolist()) for name, row in rows.items()}


def check(file: Path) -> None:
    """What zipfile itself lists and reads."""
    members = listed(file)
    with zipfile.ZipFile(file) as archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        assert list(members) == [entry.filename for entry in entries]
        for entry in entries:
            member = members[entry.filename]
            assert (member.size, member.crc) == (entry.file_size, entry.CRC)
            assert read_member(file, member, MOST_BYTES).getvalue() == archive.read(entry)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("large", [False, True])
def test_a_zip_is_read_as_zipfile_reads_it(tmp_path: Path, method: int, large: bool) -> None:
    check(written(tmp_path / "some.zip", method, large))


def test_a_zip_behind_something_else_is_read(tmp_path: Path) -> None:
    file = written(tmp_path / "some.zip")
    file.write_bytes(b"#!/bin/sh\n" * 100 + file.read_bytes())
    check(file)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zip with more files than two bytes count. Read only."""
    file = tmp_path_factory.mktemp("many") / "many.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for index in range(66_000):  # zipfile ends it with zip64's record
            archive.writestr(f"{index}", b"")
    return file


def test_a_zip_with_more_files_than_two_bytes_count_is_read(many: Path) -> None:
    assert len(listed(many)) == 66_000


def test_more_files_than_two_bytes_count_without_zip64_are_all_read(
    many: Path, tmp_path: Path
) -> None:
    file = tmp_path / "macos.zip"  # its Archive Utility counts on from 0
    content = many.read_bytes()
    end = content.rindex(b"PK\6\6")
    size, place = struct.unpack_from("<QQ", content, end + 40)
    for count in (66_000 - 65_536, 463):
        tail = struct.pack("<4s4xHHLLH", b"PK\5\6", count, count, size, place, 0)
        file.write_bytes(content[:end] + tail)
        if count == 463:
            with pytest.raises(ValueError, match="463 files and lists 66000"):
                zip_members(file)
        else:
            assert len(listed(file)) == 66_000


def test_a_size_no_file_can_have_is_a_mistake_of_the_zip(tmp_path: Path) -> None:
    file = tmp_path / "forged.zip"
    entry = zipfile.ZipInfo("a/1.png")
    entry.extra = struct.pack("<HHQ", 1, 8, 2**64 - 1)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(entry, b"")
    content = bytearray(file.read_bytes())
    place = content.index(b"PK\1\2") + 24
    content[place : place + 4] = b"\xff" * 4
    file.write_bytes(content)
    with pytest.raises(UserError, match="is no readable zip"):
        all_files(file)


def test_sizes_and_places_of_eight_bytes_are_read(tmp_path: Path) -> None:
    file = written(tmp_path / "some.zip", zipfile.ZIP_STORED)
    with zipfile.ZipFile(file, "a") as archive:
        entry = archive.getinfo("b/8.txt")
        place = entry.header_offset
    content = file.read_bytes()
    listed = content.index(b"PK\1\2")
    one = content.index(b"b/8.txt", listed) - 46
    header = bytearray(content[one : one + 46])
    header[20:28] = b"\xff" * 8
    header[42:46] = b"\xff" * 4
    wide = struct.pack("<HHQQQ", 1, 24, 400, 400, place)
    header[30:32] = struct.pack("<H", len(wide))
    end = content.rindex(b"PK\5\6")
    tail = bytearray(content[end:])
    size = struct.unpack_from("<L", tail, 12)[0]
    struct.pack_into("<L", tail, 12, size + len(wide))
    file.write_bytes(
        content[:one] + header + b"b/8.txt" + wide + content[one + 53 : end] + bytes(tail)
    )
    check(file)


def test_what_is_no_whole_zip_is_a_value_error(tmp_path: Path) -> None:
    file = written(tmp_path / "some.zip")
    content = file.read_bytes()
    for cut in range(0, len(content) - 20, 7):  # from the front and from the end
        for part in (content[:cut], content[cut + 1 :]):
            file.write_bytes(part)
            try:
                members = listed(file)
            except ValueError:
                continue
            # without its front all that is missing is the first files
            assert part[-20:] == content[-20:]
            for member in list(members.values())[:2]:
                with pytest.raises((ValueError, OSError)):
                    read_member(file, member, MOST_BYTES)


def test_an_encrypted_file_says_so(tmp_path: Path) -> None:
    file = written(tmp_path / "some.zip")
    content = bytearray(file.read_bytes())
    first = listed(file)["a/1.txt"]
    content[first.offset + 6] |= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match="encrypted"):
        read_member(file, first, MOST_BYTES)


def test_another_process_reads_what_it_is_sent(image_folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "root.zip", "w") as archive:
        for name in all_files(image_folder).stamps:
            archive.write(image_folder / name, name)
    with get_context("spawn").Pool(1) as pool:
        for root in (image_folder, tmp_path / "root.zip"):
            source = folder_source(root)
            assert len(pickle.dumps(source.read)) < 100 * len(source)
            images = pool.map(source.read, range(len(source)))
            for index, image in enumerate(images):
                assert np.array_equal(np.asarray(image), np.asarray(source.read(index)))


def with_fields(file: Path, local: tuple[int, int], listed: tuple[int, int]) -> Path:
    """Write (place, number) into each header and each entry of the list."""
    content = bytearray(file.read_bytes())
    for signature, (place, number) in ((b"PK\3\4", local), (b"PK\1\2", listed)):
        start = -1
        while (start := content.find(signature, start + 1)) >= 0:
            struct.pack_into("<H", content, start + place, number)
    file.write_bytes(content)
    return file


@pytest.mark.parametrize(
    ("local", "entry", "problem"),
    [
        (
            (6, 1),
            (8, 1),
            r"a password locks a/0\.txt; .*Try unpacking it with the password \(unzip",
        ),
        ((8, 99), (10, 99), r"a password locks a/0\.txt \(by AES.*\(7z x some\.zip\)"),
        ((8, 9), (10, 9), r"a/0\.txt is packed by method 9 \(Deflate64.*Try unpacking it \(unzip"),
        ((8, 14), (10, 14), r"method 14 \(LZMA\)"),
    ],
)
def test_a_zip_that_needs_another_program_is_refused_at_once(
    tmp_path: Path, local: tuple[int, int], entry: tuple[int, int], problem: str
) -> None:
    file = with_fields(written(tmp_path / "some.zip"), local, entry)
    with pytest.raises(UserError, match=rf"{problem}.*data\.root=<that folder>"):
        all_files(file)


@pytest.mark.parametrize(
    ("start", "problem"),
    [
        (b"", "it is empty"),
        (bytes(900), "full of zeros"),
        (b"Rar!\x1a\7\0", r"a RAR archive.*Try unpacking it \(7z x some\.zip\)"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"\x1f\x8b\x08", r"gzip.*Try unpacking it \(tar xf some\.zip\)"),
        (bytes(257) + b"ustar", "a tar archive"),
        (b"\n<!DOCTYPE html><html>", "a web page.*downloading it once more"),
        (b"version https://git-lfs.github.com/spec/v1", "a pointer of Git LFS"),
        (b"something", "no zip, or its end is missing"),
    ],
)
def test_what_is_no_zip_is_named(tmp_path: Path, start: bytes, problem: str) -> None:
    file = tmp_path / "some.zip"
    file.write_bytes(start)
    with pytest.raises(UserError, match=rf"data\.root={file}.*{problem}.*"):
        all_files(file)


def test_a_zip_that_was_cut_off_or_split_says_so(tmp_path: Path) -> None:
    content = written(tmp_path / "whole.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(content[:1000])
    with pytest.raises(UserError, match="its end is missing after 1,000 bytes.*Try copying"):
        all_files(tmp_path / "cut.zip")
    last = bytearray(content)
    struct.pack_into("<H", last, content.rindex(b"PK\5\6") + 4, 3)
    (tmp_path / "last.zip").write_bytes(last)
    with pytest.raises(UserError, match="the last of several parts.*zip -s 0"):
        all_files(tmp_path / "last.zip")


def test_a_zip_without_files_says_so(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    with pytest.raises(UserError, match="it holds no files; expected.*Try zipping the folder"):
        all_files(tmp_path / "empty.zip")


@pytest.mark.parametrize("is_image", [False, True])
def test_a_large_file_is_unpacked_once_if_it_can_be_an_image(
    tmp_path: Path, is_image: bool
) -> None:
    size = 60_000_000
    image = BytesIO()
    Image.new("L", (4, 4), 7).save(image, "PNG")
    start = image.getvalue() if is_image else b""
    with zipfile.ZipFile(tmp_path / "large.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", start + bytes(size))
    read = all_files(tmp_path / "large.zip").reader(["a.png"])
    tracemalloc.start()
    try:
        if is_image:
            assert read(0).getpixel((0, 0)) == 7
        else:
            with pytest.raises(ImageError, match="not an image"):
                read(0)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < (1.3 * size if is_image else 5_000_000)


def test_a_large_file_is_unpacked_whole(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).bytes(2_500_000)
    content = noise + bytes(3_000_000) + noise[:7]
    file = tmp_path / "large.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", content)
    assert read_member(file, listed(file)["a"], MOST_BYTES).getvalue() == content
    with pytest.raises(ValueError, match="checksum"):
        read_member(file, listed(file)["a"]._replace(size=len(content) - 1), MOST_BYTES)
