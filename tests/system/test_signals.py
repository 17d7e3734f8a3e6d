"""Signals: none is lost."""

import signal
import time

import pytest

from strided.system.signals import Interrupted, Interruption


class SignalledWhileDeleted:
    """Gets Ctrl-C in its destructor, where Python drops what is raised."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def delete_and_wait() -> None:
    thing = SignalledWhileDeleted()
    del thing
    time.sleep(10)


def test_a_signal_inside_a_destructor_is_not_lost() -> None:
    with pytest.raises(Interrupted) as caught, Interruption().listening():
        delete_and_wait()
    assert caught.value.exit_code == 130
