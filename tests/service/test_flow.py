"""A service under load: its queue, deadlines, versions and end lose nothing that was accepted."""

import json
import shutil
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from tests.served import Served, encoded, form, noise, served

GOOD = encoded(noise(8, 8))


@pytest.fixture(scope="module")
def registry(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three versions of a name: the third is damaged."""
    name = Path(shutil.copytree(exported, tmp_path_factory.mktemp("registry") / "digits"))
    for version in ("2", "3"):
        shutil.copytree(name / "1", name / version)
    (name / "3" / "model.onnx").write_bytes(b"damaged")
    return name


@pytest.fixture(scope="module")
def slow(registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service that takes 0.3 seconds for a picture, and has places for four."""
    words = ["queue.images=4", "queue.deadline_s=2", "limits.files=4", "batch.max=1"]
    with served(registry, tmp_path_factory.mktemp("slow"), *words, slow=0.3) as found:
        yield found


def at_once(service: Served, count: int, *files: bytes) -> list[httpx.Response]:
    """The answers to requests that come together."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: service.predict(*files), range(count)))


def test_more_images_than_may_wait_are_refused_and_the_others_answered(slow: Served) -> None:
    answers = at_once(slow, 12, GOOD)
    codes = sorted(answer.status_code for answer in answers)
    assert codes.count(200) >= 4 and set(codes) == {200, 429}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["code"] == "queue_full" and refused.headers["retry-after"] == "1"
    assert slow.predict(GOOD).status_code == 200
    slow.wait_for_images(0)


def test_places_are_of_images_and_not_of_requests(slow: Served) -> None:
    codes = sorted(answer.status_code for answer in at_once(slow, 2, GOOD, GOOD, GOOD))
    assert codes == [200, 429]
    slow.wait_for_images(0)


def test_a_full_queue_is_not_ready(slow: Served) -> None:
    with ThreadPoolExecutor(1) as pool, slow.client() as client:
        answer = pool.submit(slow.predict, GOOD, GOOD, GOOD, GOOD)
        slow.wait_for_images(4)
        assert client.get("/readyz").json()["code"] == "queue_full"
        assert client.get("/livez").status_code == 200
        assert answer.result().status_code == 200
        assert client.get("/readyz").status_code == 200


def test_an_answer_that_is_too_late_is_a_problem(registry: Path, tmp_path: Path) -> None:
    with served(registry, tmp_path, "queue.deadline_s=0.5", "batch.max=1", slow=2) as service:
        began = time.monotonic()
        answer = service.predict(GOOD, GOOD)
        assert answer.status_code == 504 and answer.json()["code"] == "deadline"
        assert time.monotonic() - began < 2  # without waiting for the network
        counts = service.counts()
        assert counts['strided_rejected_total{reason="deadline"}'] == 1
        service.wait_for_images(0)
        # the second one was no longer wanted when its turn came
        assert service.counts()["strided_batch_size_sum"] == 1


def test_a_body_that_is_too_slow_gives_its_place_back(slow: Served) -> None:
    host, port = slow.url.removeprefix("http://").split(":")
    head = "POST /v1/predict HTTP/1.1\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(f"{head}123".encode())
        slow.wait_for_images(1)
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")
    slow.wait_for_images(0)


def test_what_a_client_has_left_is_not_run(slow: Served) -> None:
    before = slow.counts()
    with slow.client() as client, pytest.raises(httpx.ReadTimeout):
        client.post("/v1/predict", files=form(GOOD, GOOD, GOOD), timeout=0.1)
    slow.wait_for_images(0)
    after = slow.counts()
    left = 'strided_rejected_total{reason="client_left"}'
    assert after[left] - before.get(left, 0) == 1
    assert after["strided_batch_size_sum"] - before["strided_batch_size_sum"] < 3
    predicted = 'strided_requests_total{code="200",route="/v1/predict"}'
    assert after.get(predicted) == before.get(predicted)


def test_versions_change_under_load_without_a_failed_request(
    registry: Path, tmp_path: Path
) -> None:
    with served(registry, tmp_path, slow=0.01) as service, ThreadPoolExecutor(5) as pool:
        switches = [2, 1, 2]
        answers = [pool.submit(service.predict, GOOD, GOOD) for _ in range(120)]
        with service.client() as client:
            for version in switches:
                switched = client.post(f"/v1/models/{version}/activate")
                assert switched.json()["model"]["version"] == version
                assert service.predict(GOOD).json()["model"]["version"] == version
            refused = client.post("/v1/models/3/activate")
            assert (refused.status_code, refused.json()["code"]) == (409, "not_activated")
            assert client.get("/v1/model").json()["active"]["version"] == 2
            assert json.loads((registry / "active.json").read_text()) == {"version": 2}
            assert [client.post("/v1/models/rollback").json()["model"]["version"]
                    for _ in switches] == [1, 2, 1]  # fmt: skip
            assert client.post("/v1/models/rollback").status_code == 409
            assert client.get("/readyz").status_code == 200
        assert json.loads((registry / "active.json").read_text()) == {"version": 1}
        found = [answer.result() for answer in answers]
        assert {answer.status_code for answer in found} == {200}
        assert {answer.json()["model"]["version"] for answer in found} == {1, 2}
        (info,) = [name for name in service.counts() if name.startswith("strided_model_info")]
        assert 'version="1"' in info


def test_a_stop_finishes_what_was_accepted(registry: Path, tmp_path: Path) -> None:
    words = ["drain.delay_s=1", "batch.max=1"]
    with (
        served(registry, tmp_path, *words, slow=0.3) as service,
        ThreadPoolExecutor(8) as pool,
        service.client() as client,
    ):
        answers = [pool.submit(service.predict, GOOD) for _ in range(8)]
        service.wait_for_images(8)
        service.process.terminate()
        while (ready := client.get("/readyz")).status_code == 200:
            pass
        assert ready.json()["code"] == "draining" and ready.headers["retry-after"]
        assert client.post("/v1/predict", files=form(GOOD)).status_code == 200  # until the delay
        assert [answer.result().status_code for answer in answers] == [200] * 8
        assert service.process.wait(30) == 143
        results = json.loads((service.folder / "results.json").read_text())
        assert results["state"] == "interrupted"
        for line in (service.folder / "run.log").read_text().splitlines():
            json.loads(line)


def test_a_stop_has_a_limit(registry: Path, tmp_path: Path) -> None:
    words = ["drain.limit_s=1", "queue.deadline_s=60", "batch.max=1"]
    with (
        served(registry, tmp_path, *words, slow=5) as service,
        ThreadPoolExecutor(1) as pool,
    ):
        answer = pool.submit(service.predict, GOOD)
        service.wait_for_images(1)
        code, seconds = service.stop()
        assert code == 143 and seconds < 5
        assert answer.result().json()["code"] == "draining"
