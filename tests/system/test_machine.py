"""A lock is a file of its own: not what a stranger's folder leads to."""

import os
import socket
from pathlib import Path

import pytest

from strided.errors import UserError
from strided.system.machine import alone_in


def linked(file: Path) -> None:
    file.symlink_to(file.with_name("elsewhere"))


def listening(file: Path) -> None:
    with socket.socket(socket.AF_UNIX) as place:
        place.bind(os.path.relpath(file))  # such addresses are short


@pytest.mark.parametrize("make", [linked, os.mkfifo, os.mkdir, listening])
def test_what_is_no_file_is_no_lock(make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    make(tmp_path / ".lock")
    before = len(os.listdir("/proc/self/fd"))
    with (
        pytest.raises(UserError, match=r"\.lock is a link, folder, pipe or device"),
        alone_in(tmp_path / ".lock", wait=True),
    ):
        pass
    assert len(os.listdir("/proc/self/fd")) == before
    assert not (tmp_path / "elsewhere").exists()


def test_a_lock_keeps_the_content_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "run.log"
    file.write_text("what was")
    with alone_in(file):
        with pytest.raises(UserError, match="another process"), alone_in(file):
            pass
        assert file.read_text() == "what was"
    with alone_in(file):
        pass
