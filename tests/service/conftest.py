"""A service that the tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.served import Served, served


@pytest.fixture(scope="session")
def service(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service with version 1 of digits, and low limits. Do not change its version."""
    words = ["limits.body_mb=0.5", "limits.files=5", "limits.pixels=1e6"]
    with served(exported, tmp_path_factory.mktemp("service"), *words) as found:
        yield found
