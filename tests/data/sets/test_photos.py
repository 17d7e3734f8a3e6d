import gzip
import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from strided.data import CatsDogs, Flowers, ImageDataModule
from strided.data.reading import archive as archives
from strided.data.reading.archive import Archive, unpack
from strided.errors import UserError


def jpeg(red: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (red, 0, 0)).save(file, "JPEG")
    return file.getvalue()


def add(target: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mtime = len(content), 1_500_000_000
    target.addfile(member, io.BytesIO(content))


def write_flowers(file: Path) -> Path:
    with tarfile.open(file, "w:gz") as target:
        add(target, "flower_photos/LICENSE.txt", b"CC BY 2.0")
        for number, kind in enumerate(Flowers.class_names):
            add(target, f"flower_photos/{kind}/0.jpg", jpeg(40 * number))
    return file


def write_cats_dogs(file: Path) -> Path:
    with zipfile.ZipFile(file, "w") as target:
        target.writestr("cats_and_dogs_filtered/vectorize.py", b"raise SystemExit")
        for split in ("train", "validation"):
            for kind in ("cats", "dogs"):
                target.writestr(f"cats_and_dogs_filtered/{split}/{kind}/0.jpg", jpeg(9))
    return file


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder that a server on this machine offers, and its address."""
    folder = tmp_path / "web"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def offered(file: Path, address: str) -> Archive:
    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return Archive(f"{address}/{file.name}", len(content), digest)


def test_flowers_are_downloaded_once_and_unpacked(
    web: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_flowers(web[0] / "flower_photos.tgz")
    monkeypatch.setattr(Flowers, "archive", offered(file, web[1]))
    root = tmp_path / "not" / "there" / "yet"
    data = Flowers(root=str(root))
    assert tuple(data.classes) == Flowers.class_names and data.channels == 3
    assert data.source.paths[4] == "tulips/0.jpg" and set(data.source.split) == {""}
    assert sorted(path.name for path in root.iterdir()) == ["flower_photos", "flower_photos.tgz"]
    file.unlink()
    assert len(Flowers(root=str(root)).source) == 5


def test_cats_and_dogs_are_downloaded_and_have_no_test_split(
    web: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_cats_dogs(web[0] / "cats_and_dogs_filtered.zip")
    monkeypatch.setattr(CatsDogs, "archive", offered(file, web[1]))
    source = CatsDogs(root=str(tmp_path / "data")).source
    assert source.classes == ["cats", "dogs"] and source.ignored == {".py": 1}
    assert source.split.tolist() == ["train", "train", "val", "val"]
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["cats_and_dogs_filtered.zip"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda size, digest: (size + 1, digest), "gave [0-9,]+ of [0-9,]+ bytes"),
        (lambda size, digest: (size - 1, digest), "gave more than [0-9,]+ bytes"),
        (lambda size, digest: (size, "0" * 64), "not the known file"),
    ],
)
def test_a_download_that_is_not_the_known_file_is_not_kept(
    web: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[int, str], tuple[int, str]],
    reason: str,
) -> None:
    known = offered(write_flowers(web[0] / "flower_photos.tgz"), web[1])
    assert known.sha256
    monkeypatch.setattr(Flowers, "archive", Archive(known.url, *change(known.size, known.sha256)))
    with pytest.raises(UserError, match=rf"{reason}.*expected flower_photos\.tgz.*Try data.root="):
        Flowers(root=str(tmp_path / "data")).source  # noqa: B018
    assert not list((tmp_path / "data").iterdir())


@pytest.mark.parametrize("kind", [Flowers, CatsDogs])
def test_without_a_network_the_files_to_get_are_named(
    tmp_path: Path, kind: type[ImageDataModule]
) -> None:
    with pytest.raises(
        UserError, match=r"could not be downloaded.*expected (flower_photos|cats_and_dogs_filt)"
    ):
        kind(root=str(tmp_path)).source  # noqa: B018


def test_an_endless_answer_is_cut_off(
    web: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "_CHUNK", 1_000)
    (web[0] / "x.zip").write_bytes(bytes(1_000_000))
    with pytest.raises(OSError, match="gave more than 5,000 bytes"):
        Archive(f"{web[1]}/x.zip", 5_000).fetch(tmp_path / "x.zip")
    assert not (tmp_path / "x.zip").exists()


@pytest.mark.parametrize("place", ["flower_photos.tgz", "flower_photos", "flowers.zip", "flowers"])
def test_flowers_that_are_there_are_used_as_they_lie(tmp_path: Path, place: str) -> None:
    packed = write_flowers(tmp_path / "flower_photos.tgz")
    if place != packed.name:
        unpack(packed, tmp_path / "flower_photos", most_bytes=100_000)
        packed.unlink()
    if place == "flowers.zip":
        with zipfile.ZipFile(tmp_path / place, "w") as target:
            for file in (tmp_path / "flower_photos").glob("*/*.jpg"):
                target.write(file, file.relative_to(tmp_path))
    if place.startswith("flowers"):
        (tmp_path / "flower_photos").rename(tmp_path / ("flowers" if place == "flowers" else "x"))
    assert len(Flowers(root=str(tmp_path)).source) == 5


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../../outside.jpg", "cannot be unpacked"),
        ("/outside.jpg", "does not hold flower_photos"),
        ("flower_photos/link/outside.jpg", "cannot be unpacked"),
    ],
)
def test_an_archive_never_writes_outside_of_its_folder(
    tmp_path: Path, name: str, reason: str
) -> None:
    packed = tmp_path / "in" / "flower_photos.tgz"
    packed.parent.mkdir()
    with tarfile.open(packed, "w:gz") as target:
        if "link" in name:
            member = tarfile.TarInfo("flower_photos/link")
            member.type, member.linkname = tarfile.SYMTYPE, "../../.."
            target.addfile(member)
        add(target, name, jpeg(0))
    with pytest.raises(OSError, match=reason):
        unpack(packed, packed.parent / "flower_photos", most_bytes=100_000)
    assert list(tmp_path.rglob("*")) == [packed.parent, packed]


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    packed = tmp_path / "flower_photos.tgz"
    with tarfile.open(packed, "w:gz") as target:
        add(target, "flower_photos/zeros.jpg", bytes(2_000_000))
    with pytest.raises(OSError, match="more than 1,000,000 bytes"):
        unpack(packed, tmp_path / "flower_photos", most_bytes=1_000_000)
    assert list(tmp_path.iterdir()) == [packed]


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_an_archive_whose_headers_are_too_much_is_refused(tmp_path: Path, kind: bytes) -> None:
    header = tarfile.TarInfo("flower_photos/x")
    header.type, header.size = kind, 20_000_000
    packed = tmp_path / "flower_photos.tgz"
    packed.write_bytes(gzip.compress(header.tobuf(tarfile.USTAR_FORMAT) + bytes(header.size), 1))
    with pytest.raises(OSError, match="more than is known"):
        unpack(packed, tmp_path / "flower_photos", most_bytes=1_000_000)
    assert list(tmp_path.iterdir()) == [packed]


@pytest.mark.parametrize("kept", [0, 100, 0.9])
def test_a_damaged_archive_of_ones_own_is_named_and_left_alone(tmp_path: Path, kept: float) -> None:
    packed = write_flowers(tmp_path / "flower_photos.tgz")
    content = packed.read_bytes()
    packed.write_bytes(content[: int(kept * len(content)) if kept < 1 else int(kept)])
    with pytest.raises(UserError, match=r"flower_photos\.tgz cannot be unpacked.*expected.*Try"):
        Flowers(root=str(tmp_path)).source  # noqa: B018
    assert list(tmp_path.iterdir()) == [packed]
