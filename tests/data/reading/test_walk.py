"""Links, pipes and closed folders: listed in bounded time, and nothing is lost in silence."""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.data.reading.test_layout import refusal, write

from strided.data.reading.decoding import ImageError, decode
from strided.data.reading.folder import folder_source
from strided.data.reading.walk import walk

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links and rights of Unix")


def test_a_link_to_a_folder_above_is_not_followed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "cat", "dog")
    (tmp_path / "dog" / "all").symlink_to("..")
    assert len(folder_source(tmp_path)) == 4
    assert "dog/all/ is a link to a folder that holds it" in caplog.text


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    write(tmp_path, "cat", "dog")
    (tmp_path / "cat" / "x").symlink_to("../dog")
    (tmp_path / "dog" / "y").symlink_to("../cat")
    assert sorted(walk(tmp_path).stamps) == [
        f"{folder}/{index}.png" for folder in ("cat", "cat/x", "dog", "dog/y") for index in (0, 1)
    ]


def test_links_that_fork_end_and_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "cat", "dog")
    for level in range(30):  # 2**30 paths
        folder = tmp_path / "store" / f"{level}"
        folder.mkdir(parents=True)
        for name in "ab":
            (folder / name).symlink_to(f"../{level + 1}")
    (tmp_path / "store" / "30").mkdir()
    assert "more than 10 links" in refusal(tmp_path)


def test_pictures_elsewhere_are_read_through_links(tmp_path: Path) -> None:
    write(tmp_path / "store", "cat", "dog")
    for name in ("cat", "dog"):
        (tmp_path / "root" / "train").mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / "train" / name).symlink_to(tmp_path / "store" / name)
    (tmp_path / "root" / "val").symlink_to("train")
    source = folder_source(tmp_path / "root")
    assert sorted(set(source.split)) == ["train", "val"] and len(source) == 8
    assert source.read(0).size == (4, 4)


def test_a_class_that_is_a_link_to_another_is_refused(tmp_path: Path) -> None:
    (write(tmp_path, "cat", "dog") / "kitty").symlink_to("cat")
    assert "kitty/, a link to cat/ beside it" in refusal(tmp_path)


def test_pipes_and_sockets_are_counted_and_never_opened(tmp_path: Path) -> None:
    write(tmp_path, "cat", "dog")
    os.mkfifo(tmp_path / "cat" / "f.png")
    os.mkfifo(tmp_path / "cat" / ".hidden")
    with socket.socket(socket.AF_UNIX) as server, tempfile.TemporaryDirectory() as short:
        server.bind(f"{short}/s")  # a path of at most 107 bytes
        os.rename(f"{short}/s", tmp_path / "dog" / "s.jpg")
        source = folder_source(tmp_path)
    assert len(source) == 4 and source.ignored == {"pipe, socket or device": 2}
    with pytest.raises(ImageError, match="pipe, socket or device"):
        decode(tmp_path / "cat" / "f.png")


def test_a_link_to_itself_is_a_broken_image(tmp_path: Path) -> None:
    write(tmp_path, "cat", "dog")
    (tmp_path / "cat" / "9.png").symlink_to("9.png")
    source = folder_source(tmp_path)
    with pytest.raises(ImageError, match="symbolic links"):
        source.read(source.paths.index("cat/9.png"))


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that anyone can reach, while this test is another user than root."""
    root = Path(tempfile.mkdtemp())
    root.chmod(0o755)
    write(root, "cat", "dog", "fox")
    try:
        if os.geteuid() == 0:
            os.seteuid(65534)
        yield root
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        (root / "fox").chmod(0o755)
        shutil.rmtree(root)


@pytest.mark.parametrize("mode", [0o000, 0o444, 0o111])
def test_a_folder_that_may_not_be_opened_is_refused_or_left_out(
    shared: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    user = os.geteuid()
    if os.getuid() == 0:
        os.seteuid(0)
    (shared / "fox").chmod(mode)
    os.seteuid(user)
    message = refusal(shared)
    assert "fox/: Permission denied" in message and "chmod" in message
    source = folder_source(shared, skip=True)
    assert source.classes == ["cat", "dog"] and source.left_out["fox/"] == "Permission denied"
    assert "fox/" in caplog.text


def test_the_folder_itself_may_be_closed(shared: Path) -> None:
    user = os.geteuid()
    if os.getuid() == 0:
        os.seteuid(0)
    (shared / "fox").chmod(0)
    os.seteuid(user)
    assert "cannot be opened (Permission denied)" in refusal(shared / "fox")
