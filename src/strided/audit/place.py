"""Where an audit lies: a file of SQLite, or the address of a PostgreSQL database."""

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from strided.config.addresses import EXAMPLE, POSTGRES
from strided.errors import UserError

FILE = "service.sqlite"  # in the state folder of a service
_TLS = ("disable", "verify-full")  # libpq's words


@dataclass(frozen=True)
class Place:
    """`url` has no password; `tls`: the connection to PostgreSQL is encrypted and checked."""

    url: URL
    tls: bool = False

    @property
    def file(self) -> Path | None:
        """The file of SQLite."""
        return None if self.url.drivername == POSTGRES else Path(str(self.url.database))


def place_of(given: str, key: str) -> Place:
    """The place that was typed for a key: an address, a file, or a folder with `FILE`.

    Raises UserError. An address with a password was refused before.
    """
    if "://" not in given:
        path = Path(os.path.expanduser(given))
        return Place(URL.create("sqlite", database=str(path / FILE if path.is_dir() else path)))
    try:
        url = make_url(given)
    except (ArgumentError, ValueError):
        raise _refused(key, "is no address") from None
    if url.drivername != POSTGRES or not (url.host and url.database and url.username):
        raise _refused(key, "is no address of PostgreSQL through pg8000")
    mode = url.query.get("sslmode", "verify-full" if _is_far(url.host) else "disable")
    if mode not in _TLS or set(url.query) - {"sslmode"}:
        raise _refused(key, f"has parameters that are not known beside sslmode={' or '.join(_TLS)}")
    _require_driver(key)
    return Place(url.set(query={}), tls=mode == "verify-full")


def password() -> str | None:
    """The password of PostgreSQL: from the environment, or a file that it names.

    Raises UserError if the file cannot be read.
    """
    file = os.environ.get("PGPASSWORD_FILE")
    if not file:
        return os.environ.get("PGPASSWORD")
    try:
        return Path(file).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, ValueError):
        raise UserError(
            "the file that PGPASSWORD_FILE names cannot be read; expected one line of text, the "
            "password of PostgreSQL. Try another file, or PGPASSWORD"
        ) from None


def _is_far(host: str) -> bool:
    return host not in ("localhost", "127.0.0.1", "::1")


def _refused(key: str, why: str) -> UserError:
    return UserError(
        f"{key} {why}; expected a file, or {POSTGRES}://<user>@<host>/<database>. Try "
        f"{key}={EXAMPLE}"
    )


def _require_driver(key: str) -> None:
    if find_spec("pg8000") is None:
        raise UserError(
            f"{key} names PostgreSQL, which needs pg8000, and that is not installed; expected "
            "strided with its extra postgres. Try pip install 'strided[postgres]'"
        )
