"""What outlives a service: its database with audit and keys, and the key of its pseudonyms."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

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
_ANCHORED = 60  # seconds


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

    async def keep(self) -> None:
        """Do what is due now and then, until it is cancelled."""
        loop = asyncio.get_running_loop()
        next_anchor = loop.time()
        while True:
            try:
                await in_thread(self.keys.load)
                if due := self.failed.due():
                    await self.audit.record(due)
                if loop.time() >= next_anchor:
                    next_anchor += _ANCHORED
                    await in_thread(self.write_anchor)
            except Exception:
                log.exception("the state of the service could not be kept")
            await asyncio.sleep(_OFTEN)

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
        """Write that the service starts. Raises AuditError."""
        self.audit.write([_event("started")]).result()
        self.write_anchor()

    def end(self) -> None:
        """Write that it stops; what fails then is for the log."""
        try:
            self.audit.write([*self.failed.due(all_=True), _event("stopped")]).result()
            self.write_anchor()
        except (AuditError, OSError):
            log.exception("the end of the service could not be written")


def _event(action: str) -> Event:
    return Event(actor=ITSELF.id, role=ITSELF.role, action=action)


@contextmanager
def kept(protection: Protection) -> Iterator[State]:
    """Open the state of a service, alone, and close it at the end. Raises UserError."""
    folder = protection.state
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with alone_in(folder / "lock"):
            yield from _kept(protection)
    except OSError as error:
        raise UserError(
            f"state={folder} cannot be used ({error.strerror}); expected a folder that can be "
            "written, with room. Try state=<another folder>"
        ) from error


def _kept(protection: Protection) -> Iterator[State]:
    pseudonyms = Pseudonyms.kept_in(protection.state)
    audit = Audit(opened(protection.place))
    try:
        reader = opened_to_read(protection.place)
        keys = Keys(audit, reader)
        state = State(protection, pseudonyms, audit, reader, keys)
        try:
            state.begin()
            if protection.enabled:
                state.first_keys = keys.make_first()
        except AuditError as error:
            raise UserError(
                "the audit cannot be written, so that nothing can be answered; expected a database "
                "that takes rows. Try traceback=true, which shows what it says"
            ) from error
        yield state
        state.end()
        reader.dispose()
    finally:
        audit.close()
