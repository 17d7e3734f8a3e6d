"""A row of the audit: who did what to what, when, chained to the row before it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

GENESIS = "0" * 64  # in place of the hash before the first row
CHAINED = ("previous", "hash")  # what the hash of a row is not taken over as a part of its JSON


def now() -> str:
    """The time of this machine, in UTC (ISO 8601)."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def plain_json(facts: Mapping[str, Any]) -> str:
    """One JSON text for one content: sorted keys, no spaces, ASCII."""
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True, kw_only=True)
class Event:
    """What is written. No field ever holds a name, an identifier or a date of a patient.

    actor: the id of a key, or who a token speaks for. object: the HMAC of the study or the file.
    input: the HMAC of the bytes. model, version, sha256: of the bundle that answered.
    calibration: what turned its logits into probabilities. output: JSON of what was said.
    reasons: codes, apart by spaces.
    """

    actor: str
    role: str
    action: str
    object: str | None = None
    input: str | None = None
    model: str | None = None
    version: int | None = None
    sha256: str | None = None
    calibration: str | None = None
    output: str | None = None
    route: str | None = None
    reasons: str | None = None
    request_id: str | None = None
    time: str = field(default_factory=now)

    def facts(self) -> dict[str, Any]:
        """Each field by its name."""
        return {name: getattr(self, name) for name in _FIELDS}


_FIELDS = tuple(one.name for one in fields(Event))
COLUMNS = ("seq", "time", *(name for name in _FIELDS if name != "time"), *CHAINED)


def chained(event: Event, seq: int, previous: str) -> dict[str, Any]:
    """The row of an event that follows the row of hash `previous`."""
    row = {"seq": seq, **event.facts(), "previous": previous}
    return {**row, "hash": hash_of(row)}


def hash_of(row: Mapping[str, Any]) -> str:
    """sha256 of the hash before, then the JSON of what the row says.

    Empty fields have no part in it: a later version may add some, and old rows stay valid. Raises
    TypeError or ValueError for values that no row can have.
    """
    said = {key: row[key] for key in row if key not in CHAINED and row[key] is not None}
    return sha256((row["previous"] + plain_json(said)).encode()).hexdigest()
