"""A flood of faults does not flood the log."""

import logging

import pytest

from strided.service import faults
from strided.service.faults import log_fault


def meet(text: str) -> None:
    try:
        raise ZeroDivisionError(text)
    except ZeroDivisionError as error:
        log_fault("a fault", error)


def test_a_fault_is_told_once_a_minute_with_how_often_it_came(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "_told", {})
    for number in range(50):
        meet(str(number))
    log_fault("another", KeyError("name"))
    monkeypatch.setattr(faults, "_MINUTE", 0.0)
    meet("later")
    assert [record.getMessage() for record in caplog.records] == [
        "a fault",
        "another",
        "a fault; 49 more of this kind since it was told last",
    ]
    assert all(record.exc_info and record.levelno == logging.ERROR for record in caplog.records)
