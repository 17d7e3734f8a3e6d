"""The database of a service: one table for the audit, on the disk when a commit returns."""

import os
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Engine,
    Integer,
    MetaData,
    Row,
    Table,
    Text,
    create_engine,
    event,
    func,
    select,
)
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from strided.audit.place import Place, password
from strided.audit.row import COLUMNS
from strided.errors import UserError

METADATA = MetaData()
_NUMBERS = ("seq", "version")
_NEEDED = ("seq", "time", "actor", "role", "action", "previous", "hash")
_NUMBER = BigInteger().with_variant(Integer, "sqlite")  # there only INTEGER is the row's own id
AUDIT = Table(
    "audit",
    METADATA,
    *(
        Column(
            name,
            _NUMBER if name in _NUMBERS else Text,
            primary_key=name == "seq",
            nullable=name not in _NEEDED,
            autoincrement=False,
        )
        for name in COLUMNS
    ),
)
_NEWEST = select(AUDIT.c.seq, AUDIT.c.hash).order_by(AUDIT.c.seq.desc()).limit(1)

_LOCK = 0x737472696465  # "stride": of all services that write one chain
_WAIT = 10  # seconds for another writer, or a server that does not answer
_PAUSE = 200  # milliseconds
_PAGE = 1000  # rows


def opened(place: Place) -> Engine:
    """Open a database to write, and make its tables. Raises UserError."""
    engine = _sqlite(place, "rwc") if place.file else _postgres(place)
    return _checked(engine, place, _prepare)


def opened_to_read(place: Place) -> Engine:
    """Open a database that is there, and leave it as it is. Raises UserError."""
    if place.file and not place.file.is_file():
        raise _unusable(place, "there is no such file")
    engine = _sqlite(place, "ro") if place.file else _postgres(place)
    return _checked(engine, place, lambda connection: connection.execute(_NEWEST))


def _checked(engine: Engine, place: Place, first: Callable[[Connection], object]) -> Engine:
    try:
        with engine.begin() as connection:
            first(connection)
    except (SQLAlchemyError, OSError) as error:
        engine.dispose()
        cause = getattr(error, "orig", None) or error
        raise _unusable(place, _words(cause)) from error
    except BaseException:
        engine.dispose()
        raise
    return engine


def _prepare(connection: Connection) -> None:
    lock(connection)
    if (
        connection.dialect.name == "postgresql"
        and connection.scalar(select(func.current_setting("fsync"))) != "on"
    ):
        raise UserError(
            "this PostgreSQL has fsync off, so that its rows may be lost; expected fsync=on. Try "
            "another server, or change its postgresql.conf"
        )
    METADATA.create_all(connection)


def lock(connection: Connection) -> None:
    """Be the only writer of the chain, until the end of a transaction.

    For SQLite its beginning has done so.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))


def _sqlite(place: Place, mode: str) -> Engine:
    assert place.file is not None
    reads = mode == "ro"
    if not reads and not place.file.exists():
        os.close(os.open(place.file, os.O_CREAT | os.O_RDWR, 0o600))  # its log takes these rights
    query = {"mode": mode, "uri": "true"}
    if reads and _is_at_rest(place.file):
        query["immutable"] = "1"
    url = URL.create("sqlite", database=place.file.resolve().as_uri(), query=query)
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": _WAIT})

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _: object) -> None:
        connection.isolation_level = None  # sqlite3 would begin at the first change, not before
        connection.text_factory = lambda text: text.decode(errors="surrogateescape")
        if not reads:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")  # on the disk when a commit returns
            connection.execute("PRAGMA secure_delete=ON")  # zeros in place of what is deleted

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def _is_at_rest(file: Path) -> bool:
    """Whether nobody writes it, and no lock can be made beside it: evidence on a read-only disk."""
    log = file.with_name(f"{file.name}-wal")  # it is there while a service runs, or after a kill
    return not log.exists() and not os.access(file.parent, os.W_OK)


def _postgres(place: Place) -> Engine:
    context = ssl.create_default_context() if place.tls else None
    secret = password()
    engine = create_engine(
        place.url.set(password=secret) if secret is not None else place.url,
        hide_parameters=True,
        pool_pre_ping=True,  # the server may have been started again
        isolation_level="READ COMMITTED",  # else the head would be read as before the lock
        client_encoding="utf8",
        connect_args={"timeout": _WAIT, "ssl_context": context},
    )

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        cursor.execute("SET synchronous_commit TO on")
        cursor.execute(f"SET lock_timeout TO '{_WAIT - 2}s'")
        # a service that was cut off would keep the lock
        cursor.execute(f"SET idle_in_transaction_session_timeout TO '{_WAIT}s'")
        connection.commit()

    return engine


def _unusable(place: Place, why: str) -> UserError:
    where = place.file or place.url.render_as_string(hide_password=True)
    return UserError(
        f"the database {where} cannot be used: {why}; expected one of strided that can be reached, "
        "in a folder that can be written. Try another one, or look at its server"
    )


def _words(cause: BaseException) -> str:
    """The first line of what a driver says; pg8000 gives a table of the server's fields."""
    said = cause.args[0] if cause.args else type(cause).__name__
    text = said.get("M", type(cause).__name__) if isinstance(said, dict) else str(said)
    return (text.splitlines() or [type(cause).__name__])[0][:200]


def forget(engine: Engine) -> bool:
    """Let what was deleted leave the log of SQLite, too, which has old pages until it is reused.

    False: somebody reads, and it is to be tried again. PostgreSQL does so by itself, when it
    vacuums and when it recycles its log.
    """
    if engine.dialect.name != "sqlite":
        return True
    connection = engine.raw_connection()  # outside a transaction
    cursor = connection.cursor()
    try:
        cursor.execute(f"PRAGMA busy_timeout={_PAUSE}")  # in which nobody can write
        is_busy, *_ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not is_busy
    finally:
        cursor.execute(f"PRAGMA busy_timeout={_WAIT * 1000}")
        connection.close()


def head(connection: Connection) -> Row[int, str] | None:
    """seq and hash of the last row."""
    return connection.execute(_NEWEST).first()


def page(
    engine: Engine, limit: int, before: int | None, *where: ColumnElement[bool]
) -> list[dict[str, Any]]:
    """The newest rows, or the newest before a seq, the newest first."""
    newest = select(AUDIT).where(*where).order_by(AUDIT.c.seq.desc()).limit(limit)
    if before is not None:
        newest = newest.where(AUDIT.c.seq < before)
    with engine.begin() as connection:
        return [dict(row) for row in connection.execute(newest).mappings()]


def rows(engine: Engine, *where: ColumnElement[bool]) -> Iterator[dict[str, Any]]:
    """The rows in order, a page at a time: a long transaction would let the log of SQLite grow."""
    last: int | None = None
    while True:
        page = select(AUDIT).where(*where).order_by(AUDIT.c.seq).limit(_PAGE)
        if last is not None:
            page = page.where(AUDIT.c.seq > last)
        with engine.begin() as connection:
            found = [dict(row) for row in connection.execute(page).mappings()]
        yield from found
        if len(found) < _PAGE:
            return
        last = found[-1]["seq"]
