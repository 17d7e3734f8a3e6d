"""Changes of the queue: each is the `work` of an audit's row, so that both are there, or none."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sqlalchemy import Connection, delete, insert, select, update

from strided.audit.row import now
from strided.review.tables import (
    DECIDED,
    EXPIRED,
    OPEN,
    PICTURES,
    PREDICTIONS,
    REVIEWS,
    URGENT,
    new_etag,
)

Decision = Literal["confirm", "override"]

_ADD_PREDICTIONS, _ADD_REVIEWS, _ADD_PICTURES = map(insert, (PREDICTIONS, REVIEWS, PICTURES))


class UnknownCaseError(Exception):
    """The queue never had it."""


class DecidedError(Exception):
    """Somebody else was faster, or the case was read before it was changed."""


class ClosedError(Exception):
    """Nobody decided it in time."""


@dataclass(frozen=True)
class Picture:
    """What the network saw of a case that a person shall decide."""

    id: str
    png: bytes
    frame: int
    patient: str | None


@dataclass(frozen=True)
class Verdict:
    """What a person says of a case; `predicted` is what the network said."""

    id: str
    decision: Decision
    label: str
    predicted: str | None
    by: str
    comment: str | None

    @property
    def is_right(self) -> int | None:
        """1 if both say the same, 0 if not; None where the network has refused the picture."""
        return None if self.predicted is None else int(self.predicted == self.label)


def add(
    connection: Connection, predictions: Sequence[dict[str, Any]], pictures: Sequence[Picture]
) -> None:
    """Add predictions, and those with a picture to the queue."""
    connection.execute(_ADD_PREDICTIONS, predictions)
    if not pictures:
        return
    route = {row["id"]: row["route"] for row in predictions}
    queued = [
        {
            "id": one.id,
            "state": OPEN,
            "rank": int(route[one.id] != URGENT),
            "etag": new_etag(),
        }
        for one in pictures
    ]
    connection.execute(_ADD_REVIEWS, queued)
    connection.execute(_ADD_PICTURES, [asdict(one) for one in pictures])


def decide(connection: Connection, verdict: Verdict, etag: str, *, is_exported: bool) -> None:
    """Decide an open case, and delete its picture, unless that is to be exported first.

    Raises UnknownCaseError, DecidedError, ClosedError.
    """
    case = REVIEWS.c.id == verdict.id
    known = connection.execute(select(REVIEWS.c.state, REVIEWS.c.etag).where(case)).first()
    if known is None:
        raise UnknownCaseError
    if known.state == EXPIRED:
        raise ClosedError
    if known.state != OPEN or known.etag != etag:
        raise DecidedError
    connection.execute(
        update(REVIEWS)
        .where(case)
        .values(
            state=DECIDED,
            etag=new_etag(),
            decision=verdict.decision,
            label=verdict.label,
            is_right=verdict.is_right,
            decided_by=verdict.by,
            decided_at=now(),
            comment=verdict.comment,
        )
    )
    picture = PICTURES.c.id == verdict.id
    if is_exported:
        connection.execute(update(PICTURES).where(picture).values(label=verdict.label))
    else:
        connection.execute(delete(PICTURES).where(picture))


def drop_pictures(connection: Connection, ids: Sequence[str]) -> None:
    """Delete pictures that were exported."""
    connection.execute(delete(PICTURES).where(PICTURES.c.id.in_(ids)))


def expire(connection: Connection, ids: Sequence[str], before: str) -> None:
    """Close open cases, and delete all pictures older than an id.

    Raises DecidedError if one of the cases is no longer open: whoever changed it was faster.
    """
    if ids:
        waiting = update(REVIEWS).where(REVIEWS.c.id.in_(ids), REVIEWS.c.state == OPEN)
        closed = connection.execute(waiting.values(state=EXPIRED, etag=new_etag()))
        if closed.rowcount != len(ids):
            raise DecidedError
    connection.execute(delete(PICTURES).where(PICTURES.c.id < before))
