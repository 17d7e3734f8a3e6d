import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from tests.audit.postgres import PASSWORD, cluster

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
    name = re.sub(r"\W", "_", request.node.name).lower()[-60:]
    found = place_of(request.getfixturevalue("postgres"), "database")
    engine = create_engine(found.url.set(password=PASSWORD), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return Place(found.url.set(database=name))


@pytest.fixture
def audit(place: Place) -> Iterator[Audit]:
    opening = Audit(opened(place))
    yield opening
    opening.close()


def event(number: int = 0, action: str = "predict") -> Event:
    return Event(actor="a1b2", role="clinician", action=action, output=f'{{"class":"{number}"}}')
