"""Locks are files of their own, and the cores are those that a container allows."""

import os
import socket
from pathlib import Path

import pytest

from strided.errors import UserError
from strided.system.machine import alone_in, cores, quota


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/", {"cpu.max": "250000 100000\n"}, 3),
        ("0::/", {"cpu.max": "max 100000\n"}, None),
        ("0::/a/b", {"a/cpu.max": "50000 100000\n", "a/b/cpu.max": "max 100000\n"}, 1),
        (
            "4:cpu,cpuacct:/docker/x\n3:memory:/docker/x",
            {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            2,
        ),
        ("4:cpu:/", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ("0::/", {}, None),
        ("nonsense", {"cpu.max": "nonsense"}, None),
    ],
)
def test_the_quota_of_a_container_counts(
    own: str, files: dict[str, str], expected: int | None, tmp_path: Path
) -> None:
    root = tmp_path / "cgroup"
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    (tmp_path / "own").write_text(own)
    assert quota(root, tmp_path / "own") == expected
    assert quota(root, tmp_path / "absent") is None
    assert cores() >= 1


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
