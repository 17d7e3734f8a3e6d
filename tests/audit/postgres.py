"""A scratch cluster of PostgreSQL for a test, on a loopback address, as another user than root."""

import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

PASSWORD = "a password of tests"


def _programs() -> Path | None:
    """Where initdb and pg_ctl are; None if PostgreSQL is not installed."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


def _user() -> str | None:
    """The user of the cluster: PostgreSQL refuses root. None: who runs the tests."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    pytest.skip("there is no user postgres or nobody to run PostgreSQL as")


@contextmanager
def cluster() -> Iterator[str]:
    """The address of an empty database, whose password is PASSWORD. Skips without PostgreSQL."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (initdb, pg_ctl)")
    user = _user()
    with socket.socket() as free, tempfile.TemporaryDirectory(prefix="pg-") as place:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        if user:
            shutil.chown(place, user)
        secret = Path(place, "password")
        secret.write_text(PASSWORD, encoding="utf-8")
        if user:
            shutil.chown(secret, user)

        def run(program: str, *words: str) -> None:
            subprocess.run(
                [str(programs / program), "-D", f"{place}/data", *words],
                user=user, cwd="/", check=True, stdout=subprocess.DEVNULL, timeout=60,
            )  # fmt: skip

        run("initdb", "-U", "strided", f"--pwfile={secret}", "-A", "scram-sha-256", "-N")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={place}"
        run("pg_ctl", "start", "-w", "-l", f"{place}/log", "-o", options)
        try:
            yield f"postgresql+pg8000://strided@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "stop", "-m", "immediate", "-w")


def with_database(url: str, name: str) -> str:
    """The address of a new database beside that of `url`, named like a test."""
    name = re.sub(r"\W", "_", name).lower()[-60:]
    engine = create_engine(make_url(url).set(password=PASSWORD), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return url.removesuffix("/postgres") + f"/{name}"
