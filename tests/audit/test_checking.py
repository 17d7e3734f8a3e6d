"""Whoever edits, deletes, swaps or cuts rows is found, and the first such row is named."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path

import pytest
from tests.audit.conftest import event

from strided.audit import anchor
from strided.audit.anchor import anchors_of
from strided.audit.checking import checked
from strided.audit.database import opened, opened_to_read, rows
from strided.audit.place import place_of
from strided.audit.row import COLUMNS, GENESIS, chained
from strided.audit.writer import Audit
from strided.cli import main
from strided.errors import UserError

ROWS = 100


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of 100 rows."""
    file = tmp_path_factory.mktemp("whole") / "service.sqlite"
    audit = Audit(opened(place_of(str(file), "database")))
    audit.write([event(number) for number in range(ROWS)]).result(30)
    audit.close()
    return file


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    file = tmp_path / whole.name
    file.write_bytes(whole.read_bytes())
    return file


@contextmanager
def changing(file: Path) -> Iterator[sqlite3.Connection]:
    """The hand of another, which leaves no log beside the file."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        yield connection
        connection.commit()


def heads(file: Path) -> dict[int, str]:
    with changing(file) as connection:
        return dict(connection.execute("SELECT seq, hash FROM audit"))


def first_bad(file: Path, anchors: dict[int, str] | None = None) -> int | None:
    engine = opened_to_read(place_of(str(file), "database"))
    found = checked(rows(engine), anchors)
    engine.dispose()
    assert found.bad is None or found.why
    return found.bad


def edit(connection: sqlite3.Connection, seq: int) -> int:
    column = COLUMNS[1 + seq % (len(COLUMNS) - 1)]  # each of them in its turn
    value = 7 if column == "version" else "0" * 64
    connection.execute(f"UPDATE audit SET {column} = ? WHERE seq = ?", (value, seq))
    return seq


def delete(connection: sqlite3.Connection, seq: int) -> int:
    connection.execute("DELETE FROM audit WHERE seq = ?", (seq,))
    return seq


def swap(connection: sqlite3.Connection, seq: int) -> int:
    other = seq % ROWS + 1
    connection.execute("UPDATE audit SET seq = -1 WHERE seq = ?", (seq,))
    connection.execute("UPDATE audit SET seq = ? WHERE seq = ?", (seq, other))
    connection.execute("UPDATE audit SET seq = ? WHERE seq = -1", (other,))
    return min(seq, other)


def cut(connection: sqlite3.Connection, seq: int) -> int:
    connection.execute("DELETE FROM audit WHERE seq >= ?", (seq,))
    return seq


def forge(connection: sqlite3.Connection, seq: int) -> int:
    """Make the chain anew from a row on, as who can write the database can."""
    columns = ", ".join(COLUMNS)
    found = connection.execute(f"SELECT {columns} FROM audit ORDER BY seq").fetchall()
    previous = found[seq - 2][-1] if seq > 1 else GENESIS
    for values in found[seq - 1 :]:
        row = dict(zip(COLUMNS, values, strict=True))
        happened = event(1000 + row["seq"])
        new = chained(happened, row["seq"], previous)
        previous = new["hash"]
        connection.execute("DELETE FROM audit WHERE seq = ?", (row["seq"],))
        connection.execute(
            f"INSERT INTO audit ({columns}) VALUES ({', '.join('?' * len(COLUMNS))})",
            [new[name] for name in COLUMNS],
        )
    return seq


@pytest.mark.parametrize("harm", [edit, delete, swap, cut, forge])
def test_each_row_that_was_touched_is_named(
    copy: Path, harm: Callable[[sqlite3.Connection, int], int]
) -> None:
    anchors = heads(copy)
    assert first_bad(copy, anchors) is None
    for seq in range(1, ROWS + 1):
        with changing(copy) as connection:
            expected = harm(connection, seq)
            connection.row_factory = sqlite3.Row
            found = connection.execute("SELECT * FROM audit ORDER BY seq").fetchall()
            connection.rollback()
        assert checked(map(dict, found), anchors).bad == expected


def test_without_an_anchor_only_a_cut_tail_and_a_new_chain_pass(copy: Path) -> None:
    with changing(copy) as connection:
        cut(connection, 51)
    assert first_bad(copy) is None
    assert first_bad(copy, {40: heads(copy)[40]}) is None
    assert first_bad(copy, {70: "0" * 64}) == 51


@pytest.mark.parametrize(
    "value", [b"\xff\xfe", "\x00", 2**62, 1.5, None, "\ud800".encode("utf-8", "surrogatepass")]
)
def test_values_that_no_service_writes_are_named_too(copy: Path, value: object) -> None:
    with changing(copy) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute("UPDATE audit SET version = ? WHERE seq = 9", (value,))
        connection.execute("UPDATE audit SET object = CAST(? AS TEXT) WHERE seq = 10", (value,))
    assert first_bad(copy) == (10 if value is None else 9) or value is None


def test_a_row_before_the_first_is_named(copy: Path) -> None:
    with changing(copy) as connection:
        connection.execute(
            "INSERT INTO audit (seq, time, actor, role, action, previous, hash) "
            "VALUES (0, '', '', '', '', '', '')"
        )
    assert first_bad(copy) == 0


def test_the_verb_says_that_a_chain_is_whole(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "anchor.txt"
    known = heads(copy)
    anchor.append(file, 30, known[30])
    anchor.append(file, 90, known[90])
    before = copy.read_bytes()
    words = [f"database={copy.parent}", f"anchor={file}", f"log_dir={tmp_path}"]
    assert main(["audit", *words]) == 0
    assert f"100 rows follow each other and the anchor's rows are there; hash {known[100]}" in (
        capsys.readouterr().out
    )
    assert copy.read_bytes() == before
    results = json.loads(next(tmp_path.glob("audit/audit/*/results.json")).read_text())
    assert results["audit"] == {"rows": 100, "head": known[100], "bad": None}


def test_the_verb_names_the_first_bad_row(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with changing(copy) as connection:
        delete(connection, 42)
    assert main(["audit", "action=verify", f"database={copy}", f"log_dir={tmp_path}"]) == 1
    assert "row 42 of the audit is the first that is not as it was written: missing" in (
        capsys.readouterr().err
    )


def test_hashes_can_be_taken_of_an_export(copy: Path, tmp_path: Path) -> None:
    words = ["action=export", f"database={copy}", f"log_dir={tmp_path}"]
    assert main(["audit", *words, "format=jsonl"]) == 0
    lines = next(tmp_path.glob("audit/audit/*/audit.jsonl")).read_text().splitlines()
    previous = "0" * 64
    for line in lines:
        row = json.loads(line)
        assert row.pop("previous") == previous
        digest = row.pop("hash")
        text = json.dumps(row, sort_keys=True, separators=(",", ":"))
        assert sha256((previous + text).encode()).hexdigest() == digest
        previous = digest
    assert len(lines) == ROWS
    assert main(["audit", *words, "format=csv"]) == 0
    table = next(tmp_path.glob("audit/audit/*/audit.csv")).read_text().splitlines()
    assert table[0] == ",".join(COLUMNS) and len(table) == ROWS + 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["database=nothing.sqlite"], "there is no such file"),
        (["database=conf/audit.yaml"], "file is not a database"),
        (["database=postgresql+pg8000://a:hunter2@db/x"], "database has a password"),
        (["database=postgresql+pg8000://a@db/x?password=hunter2"], "database has a password"),
        (["database=postgresql://a@db/x"], "no address of PostgreSQL through pg8000"),
        (["database=mysql://a@db/x"], "no address of PostgreSQL through pg8000"),
        (["database=postgresql+pg8000://a@db/x?sslmode=allow"], "parameters that are not known"),
        (["database=postgresql+pg8000://a@127.0.0.1:1/x"], "cannot be used"),
        (["database=x", "action=delete"], "action=delete"),
    ],
)
def test_what_cannot_be_checked_is_refused(
    words: list[str],
    expected: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    typed = [word.replace("=", '="', 1) + '"' if "?" in word else word for word in words]
    assert main(["audit", *typed, f"log_dir={tmp_path}"]) == 1
    said = capsys.readouterr().err
    assert expected in said and "hunter2" not in said
    assert not any("hunter2" in file.read_text() for file in tmp_path.rglob("*") if file.is_file())


def test_a_line_of_an_anchor_that_was_torn_does_not_count(tmp_path: Path) -> None:
    file = tmp_path / "anchor.txt"
    anchor.append(file, 1, "a" * 64)
    with file.open("a") as stream:
        stream.write("2 bbbb")
    assert anchors_of(file) == {1: "a" * 64}
    anchor.append(file, 3, "c" * 64)
    assert anchors_of(file) == {1: "a" * 64, 3: "c" * 64}


@pytest.mark.parametrize(
    "content",
    ["", "1 abc\n", f"1 {'a' * 64} 2026-11-28T10:00:00Z\n1 {'b' * 64} 2026-11-28T10:00:00Z\n"],
)
def test_what_is_no_anchor_is_refused(content: str, tmp_path: Path) -> None:
    file = tmp_path / "anchor.txt"
    file.write_text(content)
    with pytest.raises(UserError, match="expected lines of a number, a hash and a time"):
        anchors_of(file)
