"""What is kept beside the audit: predictions, the verdicts of people, and pictures until then."""

import secrets
import time

from sqlalchemy import Column, Index, Integer, LargeBinary, Table, Text

from strided.audit.database import METADATA

OPEN, DECIDED, EXPIRED = "open", "decided", "expired"
URGENT = "urgent"

PREDICTIONS = Table(
    "predictions",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("time", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("object", Text, nullable=False),  # the audit's: an HMAC of the study, or of the file
    Column("model", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("route", Text, nullable=False),
    Column("class", Text),  # none where the network refused the picture
    Column("said", Text, nullable=False),  # JSON: the answer in full
)
REVIEWS = Table(
    "reviews",
    METADATA,
    Column("id", Text, primary_key=True),  # of the prediction
    Column("state", Text, nullable=False),
    Column("rank", Integer, nullable=False),  # 0: urgent, which is shown first; 1: others
    Column("etag", Text, nullable=False),  # another one after each change
    Column("decision", Text),  # confirm, override
    Column("label", Text),  # the class that a person says
    Column("is_right", Integer),  # 1 if the network said so, too; none without a class of its own
    Column("decided_by", Text),
    Column("decided_at", Text),
    Column("comment", Text),
    Index("reviews_queue", "state", "rank", "id"),
    Index("reviews_decided", "state", "decided_at", "id"),
)
PICTURES = Table(
    "pictures",
    METADATA,
    Column("id", Text, primary_key=True),  # of the prediction
    Column("png", LargeBinary, nullable=False),
    # side of the square whose centre it is: training scales a picture to it, and cuts the centre
    Column("frame", Integer, nullable=False),
    Column("patient", Text),  # an HMAC; only where labels are exported
    Column("label", Text),  # once a person has decided: it waits to be exported
)

_DIGITS = 14  # of a time in microseconds, until the year 4253


def new_id(after: int = 0) -> str:
    """A fresh id of 32 hexadecimal digits; later ones are greater (as UUID version 7, RFC 9562).

    `after`: the place among those that are made together.
    """
    return f"{time.time_ns() // 1000 + after:0{_DIGITS}x}{secrets.token_hex(9)}"


def least_id(seconds: float) -> str:
    """What all ids are greater than or equal to that were made from a time on (of the epoch)."""
    return f"{max(0, int(seconds * 1e6)):0{_DIGITS}x}"


def new_etag() -> str:
    """A word for a state of a case."""
    return secrets.token_hex(8)
