"""Buckets of tokens, the count of failed log-ins, and whose address counts."""

import json

import pytest

from strided.access.rates import Buckets, FailedLogins, client_of


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_tokens_come_back_with_time() -> None:
    clock = Clock()
    buckets = Buckets(6, clock)
    assert [buckets.take("a") for _ in range(6)] == [0.0] * 6
    assert buckets.take("a") == pytest.approx(10)
    assert buckets.take("b") == 0
    clock.now += 4
    assert buckets.take("a") == pytest.approx(6)
    clock.now += 6
    assert buckets.take("a") == 0
    clock.now += 3600
    assert [buckets.take("a") for _ in range(6)] == [0.0] * 6
    assert buckets.take("a") > 0


def test_many_names_do_not_fill_the_memory() -> None:
    clock = Clock()
    buckets = Buckets(1, clock)
    assert not any(buckets.take(str(number)) for number in range(10_000))
    assert buckets.take("one more") == 0 and buckets.take("and another") > 0  # they share one
    clock.now += 61
    assert buckets.take("and another") == 0 and buckets.take("another yet") == 0


def test_a_flood_of_failures_is_a_few_rows() -> None:
    clock = Clock()
    failed = FailedLogins(clock)
    rows = [failed.note("10.0.0.1", "unknown_key", "id") for _ in range(5000)]
    first = rows[0]
    assert first is not None and first.request_id == "id" and rows[1:] == [None] * 4999
    assert json.loads(first.output or "") == {"address": "10.0.0.1", "count": 1}
    assert failed.due() == []
    clock.now += 60
    (more,) = failed.due()
    assert json.loads(more.output or "")["count"] == 4999 and more.reasons == "unknown_key"
    assert failed.due()[0].output == more.output  # it could not be written
    failed.note_unwritten("10.0.0.1", "unknown_key")  # of the minute that is now
    assert len(failed.due()) == 1 and len(failed.due(all_=True)) == 2
    failed.due()
    failed.forget_due()
    assert failed.due() == []


def test_failures_of_many_addresses_are_a_few_rows_too() -> None:
    failed = FailedLogins(Clock())
    rows = [failed.note(f"10.0.{n // 256}.{n % 256}", "bad_token", "id") for n in range(5000)]
    assert sum(row is not None for row in rows) == 101
    counts = [json.loads(row.output or "") for row in failed.due(all_=True)]
    assert counts == [{"address": "others", "count": 4899}]


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("10.0.0.7", "", "10.0.0.7"),
        ("10.0.0.7", "1.2.3.4", "10.0.0.7"),  # no proxy: what it says does not count
        ("10.0.0.1", "1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4", "1.2.3.4"),  # the client may have begun the list
        ("10.0.0.1", "1.2.3.4, 10.0.0.2", "1.2.3.4"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "Jane Doe", "unknown"),
        ("2001:db8:1:2:3:4:5:6", "", "2001:db8:1:2::/64"),
        ("::ffff:1.2.3.4", "", "1.2.3.4"),
        ("::ffff:10.0.0.1", "1.2.3.4", "1.2.3.4"),  # a proxy, of a service at host=::
        ("10.0.0.1", "1.2.3.4, ::ffff:10.0.0.2", "1.2.3.4"),
    ],
)
def test_whose_address_counts(peer: str, forwarded: str, expected: str) -> None:
    assert client_of(peer, forwarded, frozenset(("10.0.0.1", "10.0.0.2"))) == expected
