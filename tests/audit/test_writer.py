"""Rows of the audit: on the disk before they are reported, in one chain, many in a commit."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import ProgrammingError
from tests.audit.conftest import event as happened
from tests.audit.postgres import PASSWORD

from strided.audit.checking import checked
from strided.audit.database import AUDIT, opened, opened_to_read, rows
from strided.audit.place import Place, place_of
from strided.audit.row import GENESIS
from strided.audit.writer import Audit, AuditError
from strided.config.yaml_files import CONF_DIR
from strided.errors import UserError


def test_rows_are_chained_in_the_order_in_which_they_came(audit: Audit) -> None:
    for number in range(5):
        audit.write([happened(number)]).result(10)
    found = list(rows(audit.engine))
    assert [row["seq"] for row in found] == [1, 2, 3, 4, 5]
    assert [row["output"] for row in found] == [f'{{"class":"{n}"}}' for n in range(5)]
    assert found[0]["previous"] == GENESIS
    assert [row["previous"] for row in found[1:]] == [row["hash"] for row in found[:-1]]
    assert checked(found).rows == 5


def test_rows_that_wait_share_a_commit(audit: Audit) -> None:
    commits: list[Connection] = []
    event.listen(audit.engine, "commit", commits.append)
    holder = opened_as(audit)
    with holder.begin() as connection:  # nobody else writes now
        hold(connection)
        first = audit.write([happened()])
        waiting = [audit.write([happened(n), happened(n)]) for n in range(20)]
    for written in [first, *waiting]:
        written.result(30)
    holder.dispose()
    assert len(commits) <= 3  # the first by itself, perhaps, and those that came meanwhile
    assert checked(rows(audit.engine)).rows == 41


def opened_as(audit: Audit) -> Any:
    """Another process's connection to the same database."""
    database = audit.engine.url
    if audit.engine.dialect.name == "sqlite":
        path = Path(str(database.database).removeprefix("file://"))
        return opened(Place(database.set(database=str(path), query={})))
    return opened(Place(database.set(password=None)))


def hold(connection: Connection) -> None:
    from strided.audit.database import lock

    lock(connection)


def test_two_services_write_one_chain(audit: Audit) -> None:
    """Replicas with PostgreSQL; with SQLite, a second process that was started by mistake."""
    other = Audit(opened_as(audit))
    with ThreadPoolExecutor(8) as clients:
        written: list[Future[Any]] = []
        for number in range(80):
            of = (audit, other)[number % 2]
            written.append(
                clients.submit(lambda of, n: of.write([happened(n)]).result(60), of, number)
            )
        for one in written:
            one.result(60)
    other.close()
    found = checked(rows(audit.engine))
    assert (found.rows, found.bad) == (80, None)


def test_a_row_that_vanished_while_the_service_ran_stops_it(audit: Audit) -> None:
    audit.write([happened(1)]).result(10)
    audit.write([happened(2)]).result(10)
    with audit.engine.begin() as connection:
        connection.execute(AUDIT.delete().where(AUDIT.c.seq == 2))
    with pytest.raises(AuditError):
        audit.write([happened(3)]).result(10)
    assert [row["seq"] for row in rows(audit.engine)] == [1]


def test_what_changes_with_a_row_is_there_with_it_or_not_at_all(audit: Audit) -> None:
    with audit.engine.begin() as connection:
        connection.execute(text("CREATE TABLE other (name TEXT)"))

    def work(connection: Connection) -> str:
        connection.execute(text("INSERT INTO other VALUES ('kept')"))
        return "done"

    def refused(connection: Connection) -> None:
        connection.execute(text("INSERT INTO other VALUES ('dropped')"))
        raise KeyError("taken already")

    together = [audit.write([happened(n)], do) for n, do in enumerate([work, refused, None])]
    assert together[0].result(10) == "done"
    with pytest.raises(KeyError):
        together[1].result(10)
    assert together[2].result(10) is None
    with audit.engine.begin() as connection:
        assert connection.scalars(text("SELECT name FROM other")).all() == ["kept"]
    assert [row["output"] for row in rows(audit.engine)] == ['{"class":"0"}', '{"class":"2"}']


def test_an_event_that_nobody_waits_for_any_more_is_not_written(audit: Audit) -> None:
    holder = opened_as(audit)
    with holder.begin() as connection:
        hold(connection)
        first = audit.write([happened(1)])
        while not first.running():
            pass
        second = audit.write([happened(2)])
        assert second.cancel()
    first.result(10)
    audit.write([happened(3)]).result(10)
    holder.dispose()
    assert [row["output"][-3] for row in rows(audit.engine)] == ["1", "3"]


def test_what_cannot_be_written_is_an_error_and_the_next_is_tried_again(
    audit: Audit, place: Place
) -> None:
    with audit.engine.begin() as connection:
        connection.execute(text("ALTER TABLE audit RENAME TO hidden"))
    with pytest.raises(AuditError) as found:
        audit.write([happened()]).result(10)
    assert "clinician" not in str(found.value.__cause__)  # no values in errors
    with audit.engine.begin() as connection:
        connection.execute(text("ALTER TABLE hidden RENAME TO audit"))
    assert audit.is_failing
    audit.write([]).result(10)  # the next try says that there was a gap, and since when
    assert not audit.is_failing
    audit.write([happened()]).result(10)
    assert [row["action"] for row in rows(audit.engine)] == ["not_recorded", "predict"]
    assert checked(rows(audit.engine)).rows == 2


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
def test_a_user_who_may_only_add_rows_is_enough(audit: Audit, place: Place) -> None:
    with audit.engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE adder LOGIN PASSWORD '{PASSWORD}'"))
        connection.execute(text("GRANT SELECT, INSERT ON audit TO adder"))
    other = Audit(opened(Place(place.url.set(username="adder"))))
    other.write([happened()]).result(10)
    with pytest.raises(ProgrammingError, match="permission denied"), other.engine.begin() as found:
        found.execute(AUDIT.delete())
    other.close()
    assert checked(rows(audit.engine)).rows == 1


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
def test_a_database_that_isolates_more_has_one_chain_too(audit: Audit, place: Place) -> None:
    with audit.engine.begin() as connection:
        name = place.url.database
        level = "default_transaction_isolation TO 'repeatable read'"
        connection.execute(text(f'ALTER DATABASE "{name}" SET {level}'))
    audit.engine.dispose()
    other = Audit(opened(place))
    has_lock = Event()

    def hold(_: Connection) -> None:
        has_lock.set()
        time.sleep(0.5)  # in which the other one comes to wait

    first = audit.write([happened()], hold)
    has_lock.wait(10)
    other.write([happened()]).result(10)
    first.result(10)
    other.close()
    assert checked(rows(audit.engine)).rows == 2


PROGRAM = """
import sys
from strided.audit.database import opened
from strided.audit.place import place_of
from strided.audit.row import Event
from strided.audit.writer import Audit

audit = Audit(opened(place_of(sys.argv[1], "database")))
for number in range(10**6):
    written = [audit.write([Event(actor="a", role="r", action="predict", output=f"{number} {n}")])
               for n in range(8)]
    for n, one in enumerate(written):
        one.result()
        print(f"{number} {n}", flush=True)
"""


def test_what_was_reported_before_a_kill_is_in_the_chain(place: Place) -> None:
    url = place.url.render_as_string() if place.file is None else str(place.file)
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, url],
            stdout=subprocess.PIPE, text=True, cwd=CONF_DIR.parent / "src",
            env={**os.environ, "PYTHONPATH": str(CONF_DIR.parent / "src")},
        ) as service:  # fmt: skip
            assert service.stdout is not None
            reported = [service.stdout.readline().strip() for _ in range(30)]
            service.send_signal(signal.SIGKILL)
            reported += [line.strip() for line in service.stdout if line.endswith("\n")]
        engine = opened_to_read(place)
        found = list(rows(engine))
        engine.dispose()
        assert checked(found).bad is None
        assert {"", *reported} <= {"", *(row["output"] for row in found)}


def test_a_page_ends_where_the_next_begins(audit: Audit) -> None:
    audit.write([happened(n) for n in range(2500)]).result(30)
    assert checked(rows(audit.engine)).rows == 2500
    assert [row["seq"] for row in rows(audit.engine, AUDIT.c.seq > 2490)] == list(range(2491, 2501))


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
def test_a_server_that_takes_no_more_rows_is_an_error_until_it_does(audit: Audit) -> None:
    audit.write([happened()]).result(10)
    name = audit.engine.url.database
    for state, written in (("on", 1), ("off", 3)):  # and a row that says that there was a gap
        with audit.engine.connect() as connection:
            connection.execute(text("SET default_transaction_read_only TO off"))
            connection.commit()
            connection.execute(
                text(f"ALTER DATABASE {name} SET default_transaction_read_only TO {state}")
            )
            connection.commit()
        audit.engine.dispose()  # the server was started again
        if state == "on":
            with pytest.raises(AuditError) as found:
                audit.write([happened()]).result(10)
            assert "read-only transaction" in str(found.value.__cause__)
        else:
            audit.write([happened()]).result(10)
        assert checked(rows(audit.engine)).rows == written


@contextmanager
def unprivileged() -> Iterator[None]:
    """Another user than root, who may write anything."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder and its files that only root can write."""
    for path in (folder, *folder.iterdir()):
        path.chmod(0o555)
    yield
    for path in (folder, *folder.iterdir()):
        path.chmod(0o777)


def test_a_read_only_database_is_an_error_until_it_can_be_written_and_can_be_read() -> None:
    with tempfile.TemporaryDirectory() as name:  # which others may enter
        folder = Path(name)
        place = place_of(f"{name}/service.sqlite", "database")
        audit = Audit(opened(place))
        audit.write([happened()]).result(10)
        with read_only(folder):
            audit.engine.dispose()
            with unprivileged():
                with pytest.raises(AuditError) as found:
                    audit.write([happened()]).result(10)
                assert "readonly database" in str(found.value.__cause__)
                engine = opened_to_read(place)  # without a lock beside it
                assert checked(rows(engine)).rows == 1
                engine.dispose()
                with pytest.raises(UserError, match="readonly database"):
                    opened(place)
        with unprivileged():
            audit.write([happened()]).result(10)
        assert checked(rows(audit.engine)).rows == 3  # and a row that says that there was a gap
        audit.close()


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_a_full_disk_is_an_error_until_there_is_room(audit: Audit) -> None:
    most = 8

    def limit(connection: Any, _: object) -> None:
        connection.execute(f"PRAGMA max_page_count={most}")

    event.listen(audit.engine, "connect", limit)
    audit.engine.dispose()
    written = 0
    try:
        for _ in range(300):
            audit.write([happened()]).result(10)
            written += 1
    except AuditError:
        pass
    assert 0 < written < 300
    most = 100_000
    audit.engine.dispose()
    audit.write([happened()]).result(10)
    assert checked(rows(audit.engine)).rows == written + 2  # one says that there was a gap
