"""What outlives a service: its database with audit and keys, and the key of its pseudonyms."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from sqlalchemy import Engine

from strided.access.keys import Keys
from strided.access.rates import FailedLogins
from strided.access.roles import ITSELF, Role
from strided.audit import anchor
from strided.audit.database import head, opened, opened_to_read
from strided.audit.pseudonyms import Pseudonyms
from strided.audit.row import Event
from strided.audit.writer import Audit, AuditError
from strided.errors import UserError
from strided.service.protection import Protection
from strided.service.threads import in_thread
from strided.system.machine import alone_in

log = logging.getLogger(__name__)

_OFTEN = 5  # seconds, after which a key that another service has revoked is none
_MINUTE = 12  # turns

Chore = Callable[[bool], Awaitable[None]]  # told whether a minute is over


@dataclass
class State:
    """Open as long as the service runs. `first_keys` are shown once."""

    protection: Protection
    pseudonyms: Pseudonyms
    audit: Audit
    reader: Engine
    keys: Keys
    first_keys: dict[Role, str] = field(default_factory=dict)
    failed: FailedLogins = field(default_factory=FailedLogins)
    _anchored: tuple[int, str] | None = None

    async def keep(self, *others: Chore) -> None:
        """Do what is due now and then, and what others have to do, until it is cancelled.

        None waits for another: while an anchor or a folder of labels is on a disk that does not
        answer, an ended key must still end.
        """
        own = self._try_audit, self._read_keys, self._write_failed, self._write_anchor
        await asyncio.gather(*map(_often, (*own, *others)))

    async def _try_audit(self, _: bool) -> None:
        """Know whether it can be written, also where nobody asks since it could not."""
        with suppress(AuditError):  # which the log has
            await self.audit.record([])

    async def _read_keys(self, _: bool) -> None:
        self.keys.take(await in_thread(self.keys.read))

    async def _write_failed(self, _: bool) -> None:
        if due := self.failed.due():
            await self.audit.record(due)
        self.failed.forget_due()

    async def _write_anchor(self, is_new_minute: bool) -> None:
        if is_new_minute:
            await in_thread(self.write_anchor)

    def write_anchor(self) -> None:
        """Add the head of the chain to the anchor, if it is another than before. Raises OSError."""
        if self.protection.anchor is None:
            return
        with self.reader.begin() as connection:
            last = head(connection)
        if last and (last.seq, last.hash) != self._anchored:
            anchor.append(self.protection.anchor, last.seq, last.hash)
            self._anchored = last.seq, last.hash

    def begin(self) -> None:
        """Write that the service starts, and make the first keys. Raises AuditError, OSError."""
        self.audit.write([_event("started")]).result()
        self.write_anchor()
        if self.protection.enabled:
            self.first_keys = self.keys.make_first()

    def end(self) -> None:
        """Write that it stops; what fails then is for the log."""
        try:
            self.audit.write([*self.failed.due(all_=True), _event("stopped")]).result()
            self.write_anchor()
        except (AuditError, OSError):
            log.exception("the end of the service could not be written")


async def _often(chore: Chore) -> None:
    is_failing = False
    for turn in count():
        try:
            await chore(turn % _MINUTE == 0)
            is_failing = False
        except Exception:
            if not is_failing:  # it would say the same each time
                log.exception("what is due now and then was not done")
            is_failing = True
        await asyncio.sleep(_OFTEN)


def _event(action: str) -> Event:
    return Event(actor=ITSELF.id, role=ITSELF.role, action=action)


@contextmanager
def kept(protection: Protection) -> Iterator[State]:
    """Open the state of a service, alone, and close it at the end. Raises UserError."""
    _make(protection.state)
    with alone_in(protection.state / "lock"):
        pseudonyms = Pseudonyms.kept_in(protection.state)
        audit = Audit(opened(protection.place))
        try:
            reader = opened_to_read(protection.place)
            state = State(protection, pseudonyms, audit, reader, Keys(audit, reader))
            _begin(state)
            yield state
            state.end()
            reader.dispose()
        finally:
            audit.close()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(folder, error.strerror or "no folder") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _unusable(folder, "it cannot be written")


def _unusable(folder: Path, why: str) -> UserError:
    return UserError(
        f"state={folder} cannot be used ({why}); expected a folder that can be written. "
        "Try state=<another folder>"
    )


def _begin(state: State) -> None:
    try:
        state.begin()
    except AuditError as error:
        raise UserError(
            "the audit cannot be written, so that nothing can be answered; expected a database "
            "that takes rows. Try traceback=true, which shows what it says"
        ) from error
    except OSError as error:
        raise UserError(
            f"audit.anchor={state.protection.anchor} cannot be written ({error.strerror}); "
            "expected a file that can. Try another place"
        ) from error
