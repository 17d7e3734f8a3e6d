"""One writer of the audit: rows that wait together share a commit, which waits for the disk."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from sqlalchemy import Connection, Engine, insert, select
from sqlalchemy.exc import SQLAlchemyError

from strided.audit.database import AUDIT, head, lock
from strided.audit.row import GENESIS, Event, chained, now, plain_json

log = logging.getLogger(__name__)

_MOST_TOGETHER = 256  # entries of a commit
_INSERT = insert(AUDIT)

Work = Callable[[Connection], Any]


class AuditError(Exception):
    """An event could not be written, or another's hand was in the chain."""


@dataclass(eq=False)
class _Entry:
    events: Sequence[Event]
    work: Work | None
    written: Future[Any] = field(default_factory=Future)


class Audit:
    """Writes events, in the order in which they come, by a thread of its own.

    Services that share a database of PostgreSQL keep one chain: the lock of a transaction lets one
    of them write at a time, and each reads the head of the chain anew. After failures the first row
    says since when there were none.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._waiting: SimpleQueue[_Entry | None] = SimpleQueue()
        self._own: tuple[int, str] | None = None  # seq and hash of the last row written here
        self._failures = 0  # one after the other
        self._failing_since = ""
        self._thread = Thread(target=self._write_all, name="audit", daemon=True)
        self._thread.start()

    @property
    def is_failing(self) -> bool:
        """Whether the last try to write has failed."""
        return self._failures > 0

    def write(self, events: Sequence[Event], work: Work | None = None) -> Future[Any]:
        """Have events written; the result comes when they are on the disk.

        `work` changes other tables in the same transaction: both are there, or none. The result is
        what it returns. If it raises, that is the error, and its events are not written; an error
        of the database is that of all who share the commit.
        """
        entry = _Entry(events, work)
        self._waiting.put(entry)
        return entry.written

    async def record(self, events: Sequence[Event], work: Work | None = None) -> Any:
        """Wait until events are on the disk. Raises AuditError, or what `work` raises."""
        return await asyncio.wrap_future(self.write(events, work))

    def close(self) -> None:
        """End once all that waits is written."""
        self._waiting.put(None)
        self._thread.join()
        self.engine.dispose()

    def _write_all(self) -> None:
        while entries := self._taken():
            wanted = [one for one in entries if one.written.set_running_or_notify_cancel()]
            if wanted:
                self._write([*self._gap(), *wanted])

    def _gap(self) -> list[_Entry]:
        """What is to be written before all else, if the last try has failed."""
        if not self._failures:
            return []
        said = plain_json({"since": self._failing_since})
        event = Event(actor="service", role="service", action="not_recorded", output=said)
        return [_Entry([event], None)]

    def _taken(self) -> list[_Entry]:
        """All that waits, at least one; nothing at the end."""
        first = self._waiting.get()
        found = [first] if first else []
        while found and len(found) < _MOST_TOGETHER:
            try:
                entry = self._waiting.get_nowait()
            except Empty:
                break
            if entry is None:
                self._waiting.put(None)  # the end, after these
                break
            found.append(entry)
        return found

    def _write(self, entries: Sequence[_Entry]) -> None:
        outcomes: list[tuple[Any, Exception | None]] = []
        rows: list[dict[str, Any]] = []
        try:
            with self.engine.begin() as connection:
                lock(connection)
                last = self._head(connection)
                for entry in entries:
                    result, problem = _worked(connection, entry)
                    outcomes.append((result, problem))
                    for event in () if problem else entry.events:
                        rows.append(chained(event, last[0] + 1, last[1]))
                        last = rows[-1]["seq"], rows[-1]["hash"]
                if rows:
                    connection.execute(_INSERT, rows)
            self._own = last
            self._note(None)
        except Exception as error:
            self._note(error)
            self.engine.dispose()  # one that was opened on a read-only disk would stay so
            failed = AuditError("the audit could not be written")
            failed.__cause__ = error
            outcomes = [(None, failed)] * len(entries)
        for entry, (result, problem) in zip(entries, outcomes, strict=True):
            if problem is None:
                entry.written.set_result(result)
            else:
                entry.written.set_exception(problem)

    def _note(self, error: Exception | None) -> None:
        """Log the first of several failures, and their end: they may come with each request."""
        if error is None and self._failures:
            log.warning("the audit is written again, after %d failures", self._failures)
        elif error is not None and not self._failures:
            log.error("the audit cannot be written", exc_info=error)
            self._failing_since = now()
        self._failures = 0 if error is None else self._failures + 1

    def _head(self, connection: Connection) -> tuple[int, str]:
        """seq and hash of the last row. Raises AuditError if the last one from here is gone."""
        last = head(connection)
        found = (last.seq, last.hash) if last else (0, GENESIS)
        if self._own and found != self._own:
            seq, digest = self._own
            if connection.scalar(select(AUDIT.c.hash).where(AUDIT.c.seq == seq)) != digest:
                raise AuditError(f"row {seq} of the audit was changed or deleted")
        return found


def _worked(connection: Connection, entry: _Entry) -> tuple[Any, Exception | None]:
    """What an entry's work comes to, or what was wrong with it."""
    if entry.work is None:
        return None, None
    try:
        with connection.begin_nested():
            return entry.work(connection), None
    except SQLAlchemyError:  # the whole transaction may be gone
        raise
    except Exception as error:
        return None, error
