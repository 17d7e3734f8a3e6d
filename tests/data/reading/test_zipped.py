import pickle
import struct
import zipfile
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

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
    rows, members = zip_members(file)
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
            assert read_member(file, member, MOST_BYTES) == archive.read(entry)


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
