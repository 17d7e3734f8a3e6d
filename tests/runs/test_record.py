"""What a run records of itself where there is no room for it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from strided.errors import UserError
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
