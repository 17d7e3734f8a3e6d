"""The load check measures what it says, on a small network and for a moment."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tests.load.bound import STEPS, measure
from tests.load.check import CLIENTS, cell
from tests.load.clients import form
from tests.load.events import ROUTE
from tests.load.naive import endpoint
from tests.load.processes import strided_server
from tests.load.summary import summary, table
from tests.served import encoded, noise

from strided.serving import Bundle

PICTURE = encoded(noise(64, 64), "JPEG")


def test_a_moment_of_load_is_measured(exported: Path, tmp_path: Path) -> None:
    bundle = Bundle.load(exported, threads=1)
    bound = measure(bundle, [PICTURE], 0.2)
    assert bound["images"] > 0 and bound["cpu_s"] == pytest.approx(sum(bound[s] for s in STEPS))
    with strided_server(exported, tmp_path) as server:
        assert server.cpu_s() > 0 and server.memory() > 2**20
        found = cell(server, [form(PICTURE, ROUTE)], 2, 0.5)
    assert set(found["found"].codes) == {200} and not found["found"].lost
    cells = {name: {number: [found, found] for number in CLIENTS} for name in ("strided", "naive")}
    told = summary(bound, cells)
    assert told["kept"] and told["times_naive_per_cpu_s"] == 1
    row = told["strided"]["8"]
    assert row["images"] == 2 * found["found"].codes[200] and row["p50_ms"] <= row["p99_ms"]
    assert sum("| strided, " in line for line in table(told)) == len(CLIENTS)


def test_the_plain_endpoint_has_the_same_network(exported: Path, trained_run: Path) -> None:
    image = noise(32, 32)
    with TestClient(endpoint(str(trained_run))) as client:
        answer = client.post("/predict", files={"file": ("x.png", encoded(image))})
    bundle = Bundle.load(exported, threads=1)
    assert list(answer.json()["probabilities"]) == bundle.classes
    (expected,) = bundle.outputs(image[None, None]).logits
    given = answer.json()["probabilities"]
    assert max(given, key=given.__getitem__) == bundle.classes[expected.argmax()]
