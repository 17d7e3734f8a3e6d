"""What a run records of itself where there is no room for it."""

import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from strided.errors import UserError
from strided.runs import record
from strided.runs.record import recorded

resource = pytest.importorskip("resource")


@contextmanager
def no_room() -> Iterator[None]:
    """Files of this process cannot grow, as on a disk without room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_no_room_for_results_is_told_at_the_start_and_at_the_end(tmp_path: Path) -> None:
    told = rf"a disk is full.*{tmp_path}.*expected room.*Try making room"
    with pytest.raises(UserError, match=told), no_room(), recorded(tmp_path, []):
        pass
    with pytest.raises(UserError, match=told), ExitStack() as later, recorded(tmp_path, []):
        later.enter_context(no_room())
    assert not list(tmp_path.glob("*.tmp"))


def test_no_room_for_the_reason_leaves_the_reason_itself(tmp_path: Path) -> None:
    for reason in (KeyboardInterrupt("stopped"), UserError("no such layer")):
        with (
            pytest.raises(type(reason), match=str(reason)),
            recorded(tmp_path, []),
            no_room(),
        ):
            raise reason


def test_the_log_of_a_service_does_not_fill_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "_MOST_BYTES", 2000)
    monkeypatch.setattr(record, "_OLDER", 2)
    with recorded(tmp_path, [], is_service=True):
        for number in range(100):
            logging.getLogger("strided").debug("request %d", number)
    files = [tmp_path / f"run.log{end}" for end in (".2", ".1", "")]
    assert sorted(files) == sorted(tmp_path.glob("run.log*"))
    assert all(0 < file.stat().st_size <= 2000 for file in files)
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    said = [line["message"] for line in lines]
    assert said == [f"request {number}" for number in range(100 - len(said), 100)]
