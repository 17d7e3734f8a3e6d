"""Which pictures run together, and how long they wait for each other."""

import time
from threading import Thread
from typing import Any

import pytest

from strided.service.batches import Batches, quickest_batch
from strided.service.case import Case

FOREVER = 1000.0  # seconds


def case() -> Case:
    return Case(b"", FOREVER, ready=time.monotonic())


@pytest.mark.parametrize(
    ("milliseconds", "size"),
    [
        ({1: 5.3, 8: 6.0, 16: 7.2}, 1),
        ({1: 0.040, 2: 0.032, 4: 0.029, 8: 0.0295, 16: 0.0294}, 4),
        ({1: 1.0, 2: 0.97, 4: 0.94}, 4),
        ({}, 1),
    ],
)
def test_a_larger_batch_must_clearly_pay(milliseconds: dict[int, float], size: int) -> None:
    table = [{"batch": n, "threads": 1, "cpu_ms": ms} for n, ms in milliseconds.items()]
    of_two: dict[str, Any] = {"batch": 16, "threads": 2, "cpu_ms": 0.001}
    assert quickest_batch([*table, of_two]) == size


def test_a_picture_does_not_wait_if_nothing_else_is_coming() -> None:
    batches = Batches(4, FOREVER)
    batches.expect(2)
    first, second = case(), case()
    batches.put(first)
    batches.put(second)
    assert batches.take() == [first, second]


def test_a_full_batch_does_not_wait() -> None:
    batches = Batches(2, FOREVER)
    batches.expect(9)
    cases = [case() for _ in range(3)]
    for one in cases:
        batches.put(one)
    assert batches.take() == cases[:2]


def test_a_window_ends_though_others_are_coming() -> None:
    batches = Batches(4, 0.05)
    batches.expect(9)
    first = case()
    batches.put(first)
    assert batches.take() == [first]
    assert time.monotonic() - first.ready >= 0.05


def test_a_picture_that_is_not_coming_ends_the_wait() -> None:
    batches = Batches(4, FOREVER)
    batches.expect(2)
    first = case()
    batches.put(first)
    taken: list[list[Case] | None] = []
    taking = Thread(target=lambda: taken.append(batches.take()))
    taking.start()
    batches.drop()
    taking.join(30)
    assert taken == [[first]]


def test_closing_lets_each_thread_end_after_what_waits() -> None:
    batches = Batches(1, 0.0)
    batches.expect(1)
    batches.put(case())
    batches.close()
    assert batches.take() and batches.take() is None
