import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from strided.system.durable import write_text


def test_a_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def noted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def note(*given: Any) -> Any:
            done.append(name)
            return call(*given)

        return note

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, noted(name, getattr(os, name)))
    write_text(tmp_path / "file", "text")
    assert done == ["fsync", "replace"]  # a power cut between them leaves the old file
