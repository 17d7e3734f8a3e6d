"""People decide cases: the queue, the history, both opinions, and who was faster."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.served import Served, encoded, form, noise, served

from strided.audit.checking import checked
from strided.audit.database import opened_to_read, rows
from strided.audit.place import place_of


@pytest.fixture(scope="module")
def service(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service whose cases are all for people, and whose comments and labels are kept."""
    folder = tmp_path_factory.mktemp("reviewed")
    words = [
        "access.rate_per_minute=100000",
        "review.comments=true",
        f"review.export={folder}/labels",
        "drift.accuracy_floor=0.9",
    ]
    with served(exported, folder, *words) as found:
        yield found


@pytest.fixture(scope="module")
def people(service: Served) -> Iterator[dict[str, httpx.Client]]:
    """A client for each role, and a second clinician."""
    with service.client(service.keys["admin"]) as admin:
        roles = ("viewer", "auditor", "clinician")
        made = [admin.post("/v1/keys", json={"role": role}).json()["key"] for role in roles]
        keys = dict(zip(("viewer", "auditor", "other"), made, strict=True))
        keys["clinician"] = service.keys["clinician"]
        clients = {name: service.client(key) for name, key in keys.items()}
        yield clients
        for client in clients.values():
            client.close()


def asked(client: httpx.Client, *files: bytes) -> list[dict[str, Any]]:
    """The results of new predictions."""
    return list(client.post("/v1/predict", files=form(*files)).json()["results"])


def case_of(client: httpx.Client, id: str) -> dict[str, Any]:
    answer = client.get(f"/v1/predictions/{id}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def decide(client: httpx.Client, case: dict[str, Any], **more: Any) -> httpx.Response:
    body = {"decision": "confirm", "etag": case["review"]["etag"], **more}
    return client.post(f"/v1/review/{case['id']}", json=body)


def other_class(case: dict[str, Any]) -> str:
    return next(name for name in "0123456789" if name != case["class"])


def audited(service: Served) -> list[dict[str, Any]]:
    engine = opened_to_read(place_of(str(service.state), "database"))
    found = list(rows(engine))
    engine.dispose()
    assert checked(found).bad is None
    return found


def test_a_case_is_read_as_it_was_answered(people: dict[str, httpx.Client]) -> None:
    (result,) = asked(people["clinician"], encoded(noise(8, 8, seed=1)))
    case = case_of(people["clinician"], result["id"])
    same = ("id", "class", "confidence", "probabilities", "prediction_set", "uncertainty", "route")
    assert {key: case[key] for key in same} == {key: result[key] for key in same}
    assert case["reasons"] == result["reasons"] and case["mine"] and case["has_picture"]
    assert case["review"]["state"] == "open" and case["review"]["decision"] is None
    assert not case_of(people["viewer"], result["id"])["mine"]
