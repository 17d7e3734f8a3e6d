"""Keys: made once, shown once, kept as hashes."""

import re
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from hmac import compare_digest

from sqlalchemy import Column, Connection, Engine, Table, Text, func, insert, select, update

from strided.access.roles import ITSELF, Caller, Role
from strided.audit.database import METADATA
from strided.audit.row import Event, now, plain_json
from strided.audit.writer import Audit

KEYS = Table(
    "keys",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("role", Text, nullable=False),
    Column("sha256", Text, nullable=False),  # of the secret, which has 256 bits of chance
    Column("created", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("revoked", Text),
)
_FORM = re.compile(r"strided_([0-9a-f]{8})_([0-9a-f]{64})")
_FIRST: tuple[Role, ...] = ("admin", "clinician")


class UnknownKeyError(Exception):
    """No key in use has this id."""


class LastAdminError(Exception):
    """Without this key nobody could make others."""


@dataclass(frozen=True)
class Key:
    """What is known of a key: never its secret. Times are of the server, in UTC."""

    id: str
    role: str
    sha256: str
    created: str
    created_by: str
    revoked: str | None = None


class Keys:
    """The keys of a database, as they were last read; changes of them are rows of the audit.

    Another service of the same database may change them: who reads often knows soon. All methods
    but `read` are for one thread.
    """

    def __init__(self, audit: Audit, reader: Engine) -> None:
        self._audit = audit
        self._reader = reader
        self._known: dict[str, Key] = {}
        self._changes = 0  # made here
        self.take(self.read())

    def read(self) -> tuple[int, list[Key]]:
        """Read all keys, for `take`."""
        changes = self._changes
        with self._reader.begin() as connection:
            rows = connection.execute(select(KEYS)).mappings()
            return changes, [Key(**row) for row in rows]

    def take(self, read: tuple[int, list[Key]]) -> None:
        """Go by what was read, unless a key has been changed here meanwhile."""
        changes, keys = read
        if changes == self._changes:
            self._known = {key.id: key for key in keys}

    def _change(self, key: Key) -> None:
        self._changes += 1
        self._known = {**self._known, key.id: key}

    def all(self) -> list[Key]:
        """All that were ever made, the oldest first."""
        return sorted(self._known.values(), key=lambda key: (key.created, key.id))

    def caller(self, given: str) -> Caller | None:
        """Whose key was given; None for what is no key in use."""
        match = _FORM.fullmatch(given)
        ident, secret = match.groups() if match else ("", "")
        key = self._known.get(ident)
        expected = key.sha256 if key else "0" * 64  # as long as for an id that there is
        is_same = compare_digest(expected, _hash(secret))
        return Caller(key.id, key.role) if key and is_same and key.revoked is None else None

    def make_first(self) -> dict[Role, str]:
        """Make a key for an admin and one for a clinician, if there never was any; else none."""
        made = {role: _made(role, ITSELF) for role in _FIRST}
        events = [_event("key_made", key, ITSELF) for _, key in made.values()]

        def work(connection: Connection) -> None:
            if connection.scalar(select(func.count()).select_from(KEYS)):
                raise FileExistsError
            connection.execute(insert(KEYS), [asdict(key) for _, key in made.values()])

        try:
            self._audit.write(events, work).result()
        except FileExistsError:
            return {}
        self.take(self.read())
        return {role: text for role, (text, _) in made.items()}

    async def make(self, role: Role, by: Caller, request_id: str | None = None) -> tuple[str, Key]:
        """Make a key; the text is never seen again. Raises AuditError."""
        text, key = _made(role, by)
        await self._audit.record(
            [_event("key_made", key, by, request_id)],
            lambda connection: connection.execute(insert(KEYS), [asdict(key)]) and None,
        )
        self._change(key)
        return text, key

    async def revoke(self, ident: str, by: Caller, request_id: str) -> Key:
        """End a key. Raises UnknownKeyError, LastAdminError, AuditError."""
        key = self._known.get(ident)
        if key is None or key.revoked:
            raise UnknownKeyError
        time = now()
        await self._audit.record(
            [_event("key_revoked", key, by, request_id)],
            lambda connection: _revoke(connection, ident, time),
        )
        revoked = Key(**{**asdict(key), "revoked": time})
        self._change(revoked)
        return revoked


def _made(role: Role, by: Caller) -> tuple[str, Key]:
    ident, secret = secrets.token_hex(4), secrets.token_hex(32)
    return f"strided_{ident}_{secret}", Key(ident, role, _hash(secret), now(), by.id)


def _hash(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


def _revoke(connection: Connection, ident: str, time: str) -> None:
    in_use = KEYS.c.revoked.is_(None)
    role = connection.scalar(select(KEYS.c.role).where(KEYS.c.id == ident, in_use))
    if role is None:
        raise UnknownKeyError
    others: Sequence[str] = connection.scalars(
        select(KEYS.c.id).where(KEYS.c.role == "admin", KEYS.c.id != ident, in_use)
    ).all()
    if role == "admin" and not others:
        raise LastAdminError
    connection.execute(update(KEYS).where(KEYS.c.id == ident).values(revoked=time))


def _event(action: str, key: Key, by: Caller, request_id: str | None = None) -> Event:
    return Event(
        actor=by.id,
        role=by.role,
        action=action,
        output=plain_json({"key": key.id, "role": key.role}),
        request_id=request_id,
    )
