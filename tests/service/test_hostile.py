"""No file and no request hurts a service: it refuses, quotes nothing, and answers the next one."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from tests.load.processes import MemoryWatch, strided_server
from tests.served import encoded
from tests.service.attacked import Attacked, upload
from tests.service.hostile_files import NAMES_OF_PATIENTS, whole
from tests.service.hostile_requests import GROUPS, as_file, attacks
from tests.service.requests_sent import BODY_MB, Attack

MOST_GROWTH = 100 * 2**20


@pytest.fixture(scope="module")
def attacked(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    """A service of digits, which has answered all kinds of files that it reads."""
    digit = Image.fromarray((load_digits().images[-1] * 255 / 16).astype(np.uint8))
    logs = tmp_path_factory.mktemp("attacked")
    with strided_server(
        exported, logs, f"limits.body_mb={BODY_MB}", "queue.deadline_s=5"
    ) as server:
        found = Attacked(server, encoded(digit))
        for kind, content in whole().items():
            found.attack(kind, Attack(upload(content), frozenset({200})))
        assert not found.wrong
        yield found
        assert server.process.poll() is None, "the service has ended"
    said = "".join(file.read_text() for file in logs.rglob("*.log"))
    assert "fault of the service" not in said and "Traceback" not in said
    assert not [word for word in NAMES_OF_PATIENTS if word in said]
    (terminal,) = logs.glob("*.log")
    assert len(terminal.read_text().splitlines()) < 6, "a bad request has no line on the terminal"


def bear(attacked: Attacked, cases: dict[str, Attack]) -> None:
    """Send all cases; require refusals, the same answer to a good picture, and memory as before."""
    opened = attacked.open_files()
    with MemoryWatch(attacked.server) as memory:
        for name, attack in cases.items():
            attacked.attack(name, attack)
    wrong = attacked.wrong[:]
    attacked.wrong.clear()
    assert not wrong, "\n".join(wrong)
    assert memory.growth < MOST_GROWTH
    assert attacked.open_files() <= opened + 20


@pytest.mark.parametrize("group", GROUPS)
def test_a_hostile_file_is_refused(attacked: Attacked, group: str) -> None:
    bear(attacked, {name: as_file(content) for name, content in GROUPS[group]().items()})


def test_a_hostile_request_is_refused(attacked: Attacked) -> None:
    bear(attacked, attacks())
