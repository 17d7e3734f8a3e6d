"""Reading predictions and the queue of cases that a person decides."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from sqlalchemy import ColumnElement, Engine, Select, func, or_, select, tuple_

from strided.review.tables import DECIDED, OPEN, PICTURES, PREDICTIONS, REVIEWS

State = Literal["open", "decided", "all"]
Row = dict[str, Any]

_REVIEW = [column for column in REVIEWS.c if column.name not in ("id", "rank")]
_ALL = (
    select(*PREDICTIONS.c, *_REVIEW, PICTURES.c.id.is_not(None).label("has_picture"))
    .select_from(
        PREDICTIONS.outerjoin(REVIEWS, REVIEWS.c.id == PREDICTIONS.c.id).outerjoin(
            PICTURES, (PICTURES.c.id == PREDICTIONS.c.id) & PICTURES.c.label.is_(None)
        )
    )
)  # fmt: skip
_QUEUED = REVIEWS.c.id.is_not(None)


def one(engine: Engine, id: str) -> Row | None:
    """A prediction with its review; None if there is none of this id."""
    with engine.begin() as connection:
        found = connection.execute(_ALL.where(PREDICTIONS.c.id == id)).mappings().first()
    return None if found is None else dict(found)


def picture(engine: Engine, id: str) -> bytes | None:
    """The picture of a case that still waits for its decision."""
    wanted = select(PICTURES.c.png).where(PICTURES.c.id == id, PICTURES.c.label.is_(None))
    with engine.begin() as connection:
        found: bytes | None = connection.scalar(wanted)
    return found


def newest(
    engine: Engine, limit: int, before: str | None, route: str | None, of: str | None
) -> tuple[list[Row], str | None]:
    """The newest predictions older than an id, and the id to go on from, if there are more.

    `of`: an actor, who gets the own ones and those that were in the queue; None: all.
    """
    where: list[ColumnElement[bool]] = []
    if route is not None:
        where.append(PREDICTIONS.c.route == route)
    if of is not None:
        where.append(or_(PREDICTIONS.c.actor == of, _QUEUED))
    if before is not None:
        where.append(PREDICTIONS.c.id < before)
    return _page(engine, _ALL.where(*where).order_by(PREDICTIONS.c.id.desc()), limit)


def queue(
    engine: Engine, state: State, limit: int, before: str | None
) -> tuple[list[Row], str | None]:
    """Cases, and the id to go on from. open: urgent ones first, then the oldest; else the newest.

    The newest of `decided` are those that were decided last.
    """
    place = REVIEWS.c[{OPEN: "rank", DECIDED: "decided_at"}.get(state, "id")], REVIEWS.c.id
    where = [_QUEUED if state == "all" else REVIEWS.c.state == state]
    if before is not None:
        with engine.begin() as connection:
            last = connection.execute(select(*place).where(REVIEWS.c.id == before)).first()
        if last is None or None in last:
            return [], None
        here, there = tuple_(*place), tuple_(*last)
        where.append(here > there if state == OPEN else here < there)
    order = place if state == OPEN else [column.desc() for column in place]
    return _page(engine, _ALL.where(*where).order_by(*order), limit)


def _page(engine: Engine, wanted: Select[Any], limit: int) -> tuple[list[Row], str | None]:
    with engine.begin() as connection:
        found = [dict(row) for row in connection.execute(wanted.limit(limit + 1)).mappings()]
    return found[:limit], found[limit - 1]["id"] if len(found) > limit else None


def waiting(engine: Engine) -> dict[int, int]:
    """How many cases are open, by their rank."""
    counted = select(REVIEWS.c.rank, func.count()).where(REVIEWS.c.state == OPEN)
    with engine.begin() as connection:
        return {row[0]: row[1] for row in connection.execute(counted.group_by(REVIEWS.c.rank))}


class Labelled(NamedTuple):
    """A decided case that is to be exported. group: an HMAC of the patient, else of the study."""

    id: str
    png: bytes
    frame: int
    label: str
    group: str


def overdue(engine: Engine, before: str, limit: int) -> tuple[Sequence[Row], bool]:
    """Open cases older than an id, and whether any picture is as old."""
    cases = (
        select(PREDICTIONS)
        .join(REVIEWS, REVIEWS.c.id == PREDICTIONS.c.id)
        .where(REVIEWS.c.state == OPEN, REVIEWS.c.id < before)
        .order_by(REVIEWS.c.id)
        .limit(limit)
    )
    oldest = select(PICTURES.c.id).where(PICTURES.c.id < before).limit(1)
    with engine.begin() as connection:
        found = [dict(row) for row in connection.execute(cases).mappings()]
        return found, connection.scalar(oldest) is not None


def to_export(engine: Engine, limit: int) -> list[Labelled]:
    """Cases that are decided, whose pictures are still here."""
    group = func.coalesce(PICTURES.c.patient, PREDICTIONS.c.object)
    decided = (
        select(PICTURES.c.id, PICTURES.c.png, PICTURES.c.frame, PICTURES.c.label, group)
        .join(PREDICTIONS, PREDICTIONS.c.id == PICTURES.c.id)
        .where(PICTURES.c.label.is_not(None))
        .order_by(PICTURES.c.id)
        .limit(limit)
    )
    with engine.begin() as connection:
        return [Labelled(*row) for row in connection.execute(decided)]
