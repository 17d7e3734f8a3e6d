"""A chain stays whole, whatever ends a service, and whoever else writes it."""

import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from tests.audit.postgres import PASSWORD, cluster, with_database
from tests.served import Served, encoded, form, noise, served

from strided.audit.anchor import anchors_of
from strided.audit.checking import checked
from strided.audit.database import opened_to_read, rows
from strided.audit.place import place_of
from strided.review import tables

KILLS = int(os.environ.get("KILLS", "2"))  # more: KILLS=20 make slow
CLIENTS = 8
PICTURES = [encoded(noise(8, 8, seed=seed)) for seed in range(5)]


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with cluster() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def address(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str | None:
    """audit.url: None is a file of SQLite in the state folder."""
    if request.param == "sqlite":
        return None
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    return with_database(request.getfixturevalue("postgres"), request.node.name)


def audited(database: str) -> list[dict[str, Any]]:
    engine = opened_to_read(place_of(database, "database"))
    found = list(rows(engine))
    with engine.begin() as connection:
        predictions = set(connection.scalars(select(tables.PREDICTIONS.c.id)))
        queued = set(connection.scalars(select(tables.REVIEWS.c.id)))
        pictures = set(connection.scalars(select(tables.PICTURES.c.id)))
    engine.dispose()
    answered = (json.loads(row["output"]) for row in found if row["action"] == "predict")
    assert predictions == {said["id"] for said in answered if "id" in said}
    assert predictions == queued >= pictures  # without a policy all are for people
    verdict = checked(found)
    assert verdict.bad is None, verdict
    return found


def read_until_it_ends(service: Served, key: str, read: list[dict[str, Any]]) -> None:
    """Ask for predictions, and keep every answer that was read whole."""
    with suppress(httpx.HTTPError), service.client(key) as client:
        for number in range(10**6):
            answer = client.post("/v1/predict", files=form(PICTURES[number % len(PICTURES)]))
            if answer.status_code == 200:
                read.append(answer.json())


def require_rows(found: list[dict[str, Any]], read: list[dict[str, Any]]) -> None:
    """Require the row of each answer, with what it said."""
    by_request = {row["request_id"]: row for row in found if row["action"] == "predict"}
    for answer in read:
        said = json.loads(by_request[answer["request_id"]]["output"])
        assert said["class"] == answer["results"][0]["class"]


@pytest.mark.slow
def test_what_a_client_has_read_before_a_kill_is_in_the_chain(
    exported: Path, tmp_path: Path, address: str | None
) -> None:
    state = tmp_path / "state"
    words = [f"state={state}", "access.rate_per_minute=1000000"]
    words += [f"audit.url='{address}'"] if address else []
    read: list[dict[str, Any]] = []
    key = ""
    for _ in range(KILLS):
        with served(exported, tmp_path, *words) as service:
            key = key or service.keys["clinician"]
            with ThreadPoolExecutor(CLIENTS) as clients:
                for _ in range(CLIENTS):
                    clients.submit(read_until_it_ends, service, key, read)
                seen = len(read)
                while len(read) < seen + 20:
                    time.sleep(0.01)
                time.sleep(0.3)
                service.process.kill()
        found = audited(address or str(state))
        require_rows(found, read)
    assert len(read) >= 20 * KILLS
    assert [row["action"] for row in found].count("started") == KILLS


def require_one_winner(one: Served, two: Served, key: str) -> None:
    """Require that of two who decide a case at once, at two services, one does."""
    with one.client(key) as here, two.client(key) as there, ThreadPoolExecutor(2) as pool:
        for _ in range(3):
            (result,) = here.post("/v1/predict", files=form(PICTURES[0])).json()["results"]
            case = there.get(f"/v1/predictions/{result['id']}").json()
            body = {"decision": "confirm", "etag": case["review"]["etag"]}
            attempts = [
                pool.submit(client.post, f"/v1/review/{case['id']}", json=body)
                for client in (here, there)
            ]
            assert sorted(attempt.result().status_code for attempt in attempts) == [200, 409]


@pytest.mark.parametrize("address", ["postgresql"], indirect=True)
def test_two_services_of_one_database_keep_one_chain(
    exported: Path, tmp_path: Path, address: str
) -> None:
    words = [f"audit.url='{address}'", "access.rate_per_minute=1000000"]
    read: list[dict[str, Any]] = []
    with (
        served(exported, tmp_path, *words, f"state={tmp_path}/one") as one,
        served(exported, tmp_path, *words, f"state={tmp_path}/two") as two,
    ):
        assert two.keys == {}  # the first has made them
        key = one.keys["clinician"]
        require_one_winner(one, two, key)
        with ThreadPoolExecutor(CLIENTS) as clients:
            for number in range(CLIENTS):
                clients.submit(read_until_it_ends, (one, two)[number % 2], key, read)
            while len(read) < 60:
                time.sleep(0.05)
            with one.client(one.keys["admin"]) as client:  # what it revokes, the other forgets
                client.delete(f"/v1/keys/{key.split('_')[1]}")
            with two.client(key) as client:
                while client.get("/v1/model").status_code == 200:
                    time.sleep(0.2)
            one.process.kill()
            two.process.kill()
    found = audited(address)
    require_rows(found, read)
    assert [row["action"] for row in found].count("started") == 2


def test_the_anchor_gets_the_head_of_the_chain(exported: Path, tmp_path: Path) -> None:
    anchor = tmp_path / "anchor.txt"
    with served(exported, tmp_path, f"audit.anchor={anchor}") as service:
        service.predict(PICTURES[0])
        with service.client() as client:
            said = client.get("/v1/audit/verify").json()
            assert (said["anchored"], said["bad"], said["why"]) == (True, None, "")
            whole = anchor.read_text()
            anchor.write_text(f"{whole}1 {'0' * 64} 2026-01-01T00:00:00Z\n")  # of another database
            said = client.get("/v1/audit/verify").json()
            assert not said["anchored"] and "anchor cannot be used" in said["why"]
            anchor.write_text(whole)
        service.stop()
    found = audited(str(service.state))
    anchors = anchors_of(anchor)
    assert anchors[found[-1]["seq"]] == found[-1]["hash"]
    assert checked(found[:-1], anchors).bad == found[-1]["seq"]


def test_a_database_that_cannot_be_written_is_no_answer(exported: Path, tmp_path: Path) -> None:
    with served(exported, tmp_path) as service:
        assert service.predict(PICTURES[0]).status_code == 200
        engine = opened_to_read(place_of(str(service.state), "database"))
        before = len(list(rows(engine)))
        engine.dispose()
        holder = "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], isolation_level=None)"
        holder += "; c.execute('BEGIN IMMEDIATE'); print('held', flush=True); time.sleep(60)"
        file = str(service.state / "service.sqlite")
        with subprocess.Popen(
            [sys.executable, "-c", holder, file], stdout=subprocess.PIPE, text=True
        ) as other:
            assert other.stdout is not None and other.stdout.readline() == "held\n"
            answer = service.predict(PICTURES[1])
            assert (answer.status_code, answer.json()["code"]) == (503, "not_recorded")
            other.kill()
        assert service.predict(PICTURES[2]).status_code == 200
    found = audited(str(service.state))
    # the row of what was not answered may have come after all, and one that there was a gap
    assert before + 1 <= len(found) <= before + 3


def test_a_state_serves_one_service(exported: Path, tmp_path: Path) -> None:
    with (
        served(exported, tmp_path, f"state={tmp_path}/state"),
        pytest.raises(AssertionError, match="another process is at work in"),
        served(exported, tmp_path, f"state={tmp_path}/state"),
    ):
        pass


def test_a_certificate_makes_it_https(exported: Path, tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-out", cert, "-keyout", key],
        check=True, capture_output=True,
    )  # fmt: skip
    words = [f"tls.cert={cert}", f"tls.key={key}", "access.enabled=true"]
    with served(exported, tmp_path, *words) as service:
        assert service.url.startswith("https://")
        trusted = ssl.create_default_context(cafile=cert)
        headers = {"Authorization": f"Bearer {service.keys['clinician']}"}
        answer = httpx.post(
            f"{service.url}/v1/predict", files=form(PICTURES[0]), headers=headers, verify=trusted
        )
        assert answer.status_code == 200
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
