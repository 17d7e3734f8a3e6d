"""The queue in both databases: its order, who is faster, what is deleted when."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from tests.audit.conftest import event

from strided.audit.database import AUDIT, forget, opened, opened_to_read
from strided.audit.place import Place
from strided.audit.writer import Audit
from strided.review import cases
from strided.review.deciding import (
    ClosedError,
    DecidedError,
    Picture,
    UnknownCaseError,
    Verdict,
    add,
    decide,
    drop_pictures,
    expire,
)
from strided.review.feedback import feedback
from strided.review.tables import PICTURES, least_id, new_id

PNG = b"what the network saw"


def put(
    audit: Audit, *routes: str, actor: str = "a1b2", label: str | None = "cat", png: bytes = PNG
) -> list[str]:
    """Predictions of these routes, the oldest first; all but `auto` wait for a person."""
    found = [new_id(place) for place in range(len(routes))]
    rows = [
        {
            **{"id": id, "time": "2026-11-28T10:00:00Z", "actor": actor, "object": "0" * 64},
            **{"model": "pets", "version": 1, "sha256": "1" * 64, "route": route},
            **{"class": label, "said": json.dumps({"probabilities": {"cat": 0.8, "dog": 0.2}})},
        }
        for id, route in zip(found, routes, strict=True)
    ]
    queued = [id for id, route in zip(found, routes, strict=True) if route != "auto"]
    pictures = [Picture(id, png, 8, None) for id in queued]
    audit.write([event()] * len(rows), lambda connection: add(connection, rows, pictures)).result()
    return found


def verdict(id: str, label: str = "dog", by: str = "c3d4") -> Verdict:
    return Verdict(id, "override", label, "cat", by, None)


def etag_of(audit: Audit, id: str) -> str:
    found = cases.one(audit.engine, id)
    assert found is not None
    return str(found["etag"])


def decided(audit: Audit, id: str, label: str = "dog", **more: Any) -> None:
    given = {"verdict": verdict(id, label), "etag": etag_of(audit, id), "is_exported": False}
    audit.write([event(action="review")], partial(decide, **{**given, **more})).result()


def test_of_several_who_decide_at_once_one_wins(audit: Audit, place: Place) -> None:
    (id,) = put(audit, "review")
    etag = etag_of(audit, id)
    services = [Audit(opened(place)) for _ in range(3)]

    def attempt(number: int) -> str:
        label, writer = f"by {number}", services[number % 3]
        work = partial(decide, verdict=verdict(id, label, label), etag=etag, is_exported=False)
        try:
            writer.write([event(number, "review")], work).result()
        except DecidedError:
            return ""
        return label

    with ThreadPoolExecutor(9) as pool:
        winners = [name for name in pool.map(attempt, range(9)) if name]
    for one in services:
        one.close()
    (winner,) = winners
    found = cases.one(audit.engine, id)
    assert found is not None and found["state"] == "decided" and found["class"] == "cat"
    assert found["label"] == found["decided_by"] == winner
    with audit.engine.begin() as connection:
        written = connection.scalars(select(AUDIT.c.output).where(AUDIT.c.action == "review")).all()
    assert written == [f'{{"class":"{winner.removeprefix("by ")}"}}']


def test_urgent_cases_come_first_and_then_the_oldest(audit: Audit) -> None:
    ids = put(audit, "review", "auto", "urgent", "refused", "urgent", "review")
    expected = [ids[place] for place in (2, 4, 0, 3, 5)]
    found: list[str] = []
    before: str | None = None
    for _ in range(3):
        rows, before = cases.queue(audit.engine, "open", 2, before)
        found += [row["id"] for row in rows]
        assert (before is None) == (len(found) == 5)
    assert found == expected
    assert cases.waiting(audit.engine) == {0: 2, 1: 3}
    for place in (3, 0):
        decided(audit, ids[place])
    first, before = cases.queue(audit.engine, "decided", 1, None)
    second, last = cases.queue(audit.engine, "decided", 1, before)
    assert [row["id"] for row in first + second] == [ids[0], ids[3]] and last is None
    assert [row["id"] for row in cases.queue(audit.engine, "all", 9, None)[0]] == sorted(
        expected, reverse=True
    )
    assert cases.queue(audit.engine, "open", 9, "0" * 32) == ([], None)


def test_the_history_is_of_own_predictions_and_of_the_queue(audit: Audit) -> None:
    ids = put(audit, "auto", "review") + put(audit, "auto", "urgent", actor="other")

    def shown(of: str | None, route: str | None = None, before: str | None = None) -> list[str]:
        return [row["id"] for row in cases.newest(audit.engine, 9, before, route, of)[0]]

    assert shown(None) == ids[::-1]
    assert shown("a1b2") == [ids[3], ids[1], ids[0]]
    assert shown("other", "auto") == [ids[2]]
    assert shown(None, before=ids[2]) == [ids[1], ids[0]]
    assert cases.newest(audit.engine, 2, None, None, None)[1] == ids[2]


def test_a_picture_is_deleted_at_the_decision_or_once_it_is_exported(audit: Audit) -> None:
    first, second = put(audit, "review", "review")
    assert cases.picture(audit.engine, first) == PNG
    decided(audit, first)
    decided(audit, second, is_exported=True)
    assert cases.picture(audit.engine, second) is None
    found = cases.one(audit.engine, second)
    assert found is not None and not found["has_picture"]
    (waiting,) = cases.to_export(audit.engine, 9)
    assert waiting == (second, PNG, 8, "dog", "0" * 64)  # the study's, where no patient is known
    audit.write([], partial(drop_pictures, ids=[second])).result()
    with audit.engine.begin() as connection:
        assert connection.execute(select(PICTURES)).all() == []


def test_what_nobody_decides_is_closed(audit: Audit) -> None:
    old, waiting, late = put(audit, "review", "review", "review")
    decided(audit, waiting, is_exported=True)  # of which nobody takes the label
    rows, is_old = cases.overdue(audit.engine, late, 9)
    assert [row["id"] for row in rows] == [old] and is_old
    audit.write([event(action="review_expired")], partial(expire, ids=[old], before=late)).result()
    assert cases.overdue(audit.engine, late, 9) == ([], False)
    states = [
        found["state"] for id in (old, waiting, late) if (found := cases.one(audit.engine, id))
    ]
    assert states == ["expired", "decided", "open"]
    assert cases.picture(audit.engine, late) == PNG
    with pytest.raises(ClosedError):
        decided(audit, old)
    with pytest.raises(DecidedError):  # somebody was faster
        audit.write([], partial(expire, ids=[waiting], before=late)).result()
    with pytest.raises(DecidedError):  # read before it was changed
        decided(audit, late, etag="another")
    with pytest.raises(UnknownCaseError):
        decided(audit, late, verdict=verdict("0" * 32))


def test_feedback_counts_what_people_said_of_a_version(audit: Audit) -> None:
    ids = put(audit, "review", "urgent", "review") + put(audit, "refused", label=None)
    for id, label in zip(ids[:3], ("cat", "cat", "dog"), strict=True):
        decided(audit, id, label)
    decided(audit, ids[3], verdict=Verdict(ids[3], "override", "dog", None, "c3d4", None))
    found = feedback(audit.engine, "pets", 1, 0.9)
    assert (found.total.reviewed, found.total.right, found.refused) == (3, 2, 1)
    assert {route: (one.reviewed, one.right) for route, one in found.by_route.items()} == {
        "review": (2, 1),
        "urgent": (1, 1),
    }
    assert not found.alarm  # of so few
    assert feedback(audit.engine, "pets", 2, None).total.interval is None


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_a_deleted_picture_is_in_no_file(audit: Audit, place: Place) -> None:
    png = np.random.default_rng(0).bytes(20_000)
    pieces = [png[at : at + 64] for at in range(0, len(png), 1000)]
    (id,) = put(audit, "review", png=png)

    def left() -> int:
        assert place.file is not None
        files = [file for file in place.file.parent.iterdir() if file.is_file()]
        return sum(piece in file.read_bytes() for file in files for piece in pieces)

    assert left() >= len(pieces)
    decided(audit, id)
    assert left() > 0  # in the log
    reader = opened_to_read(place)
    with reader.begin() as reading:
        reading.execute(select(PICTURES)).all()
        put(audit, "auto")
        assert not forget(audit.engine)
    reader.dispose()
    assert forget(audit.engine)
    assert left() == 0


def test_ids_are_in_the_order_in_which_they_are_made() -> None:
    now = time.time()
    made = [new_id(place) for place in range(3)]
    found = [least_id(now - 1), *made, least_id(now + 60)]
    assert sorted(found) == found and {len(id) for id in made} == {32}
