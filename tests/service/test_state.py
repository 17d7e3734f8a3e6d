"""What a service keeps, and what it does now and then."""

import asyncio
import errno
import os
from pathlib import Path

import pytest

from strided.access.keys import Keys
from strided.access.roles import ITSELF
from strided.audit.database import opened
from strided.audit.pseudonyms import Pseudonyms
from strided.audit.writer import Audit
from strided.config.compose import compose
from strided.service import state
from strided.service.protection import Protection


def test_a_disk_that_does_not_answer_keeps_no_ended_key_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "_OFTEN", 0.01)
    stuck = []

    async def hangs(_: bool) -> None:
        stuck.append(1)
        await asyncio.sleep(3600)

    async def run(here: state.State) -> None:
        keeping = asyncio.create_task(here.keep(hangs))
        while not stuck:
            await asyncio.sleep(0.01)
        elsewhere = Audit(opened(here.protection.place))  # another service
        _, key = await Keys(elsewhere, here.reader).make("viewer", ITSELF)
        while key not in here.keys.all():
            await asyncio.sleep(0.01)
        keeping.cancel()
        elsewhere.close()

    protection = Protection.of(compose("serve", ["bundle=registry/digits"]), tmp_path)
    with state.kept(protection) as here:
        asyncio.run(asyncio.wait_for(run(here), 30))


def test_a_key_that_found_no_room_is_made_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("secrets.token_bytes", full)
        with pytest.raises(OSError, match="No space left"):
            Pseudonyms.kept_in(tmp_path)
    made = Pseudonyms.kept_in(tmp_path).of("file", b"")
    assert Pseudonyms.kept_in(tmp_path).of("file", b"") == made
