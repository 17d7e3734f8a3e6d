from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.audit.postgres import PASSWORD, cluster, with_database

from strided.audit.database import opened
from strided.audit.place import Place, place_of
from strided.audit.row import Event
from strided.audit.writer import Audit


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a server, whose password is in the environment only while it is needed."""
    with cluster() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return place_of(str(tmp_path / "service.sqlite"), "database")
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    url = with_database(request.getfixturevalue("postgres"), request.node.name)
    return place_of(url, "database")


@pytest.fixture
def audit(place: Place) -> Iterator[Audit]:
    opening = Audit(opened(place))
    yield opening
    opening.close()


def event(number: int = 0, action: str = "predict") -> Event:
    return Event(actor="a1b2", role="clinician", action=action, output=f'{{"class":"{number}"}}')
