import gc
import sys

import pytest

from strided.system.starting import started, starting


def test_the_collector_rests_until_a_command_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with starting():
        assert not gc.isenabled()
        started()
        assert gc.isenabled()
        assert gc.get_freeze_count()
    gc.unfreeze()
    with starting():
        assert not gc.isenabled()
    assert gc.isenabled()
    started()
    assert not gc.get_freeze_count()


def test_a_process_that_has_torch_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with starting():
        assert gc.isenabled()
        started()
    assert not gc.get_freeze_count()
