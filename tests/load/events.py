"""What a server must bear: a burst, another version under load, SIGTERM under load."""

import asyncio
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.load.clients import Answered, ask, form, load, request
from tests.load.processes import MemoryWatch, Server, strided_server
from tests.served import encoded, noise
from tests.service.attacked import Attacked, upload
from tests.service.hostile_files import whole
from tests.service.hostile_requests import attacks, files
from tests.service.requests_sent import BODY_MB, Attack

QUEUE = 64  # images, as conf/serve.yaml has it
ROUTE = "/v1/predict"
MOST_GROWTH = 50 * 2**20
_NEAR = 1e-4  # of probabilities of one version


def burst(bundle: Path, log_dir: Path, messages: list[bytes]) -> dict[str, Any]:
    """Ten times as many requests at once as the queue takes; then, is it as fast as before?"""
    with strided_server(bundle, log_dir) as server:
        port = server.port
        asyncio.run(load(port, messages, 8, 3))  # every pool and buffer has been in use
        before = _median(port, messages[0])
        with MemoryWatch(server) as memory:
            codes, lost = asyncio.run(_at_once(port, messages, 10 * QUEUE))
        ended = time.monotonic()
        time.sleep(max(0.0, 1 - (time.monotonic() - ended)))
        after = _median(port, messages[0])
    return {
        "requests": 10 * QUEUE,
        "codes": codes,
        "lost": lost,
        "memory_growth_mb": round(memory.growth / 2**20, 1),
        "p50_before_ms": before,
        "p50_a_second_later_ms": after,
        "kept": set(codes) <= {200, 429}
        and not lost
        and memory.growth <= MOST_GROWTH
        and after <= 1.5 * before,
    }


def _median(port: int, message: bytes, times: int = 15) -> float:
    """Milliseconds of a lone request."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        code, _ = asyncio.run(ask(port, message))
        assert code == 200, code
        taken.append(time.perf_counter() - started)
    return round(statistics.median(taken) * 1000, 1)


async def _at_once(port: int, messages: list[bytes], number: int) -> tuple[dict[int, int], int]:
    asked = (ask(port, messages[index % len(messages)]) for index in range(number))
    found = await asyncio.gather(*asked, return_exceptions=True)
    codes = Counter(each[0] for each in found if not isinstance(each, BaseException))
    return dict(codes), sum(isinstance(each, BaseException) for each in found)


def switches(
    bundle: Path, log_dir: Path, picture: bytes, seconds: float, number: int = 5
) -> dict[str, Any]:
    """Activate another version again and again under load: who answers, and with what?"""
    message = form(picture, ROUTE)
    with strided_server(bundle, log_dir) as server:
        first = asyncio.run(ask(server.port, request("GET", "/v1/model")))[1]["active"]["version"]
        order = [2, 1] * number if first == 1 else [1, 2] * number
        order = order[:number]
        known = {first: _probabilities(asyncio.run(ask(server.port, message))[1])}
        refused: list[int] = []

        async def switch() -> None:
            for version in order:
                await asyncio.sleep(seconds / (number + 1))
                path = f"/v1/models/{version}/activate"
                code, _ = await ask(server.port, request("POST", path))
                if code != 200:
                    refused.append(code)
                _, body = await ask(server.port, message)
                known.setdefault(version, _probabilities(body))

        found = asyncio.run(load(server.port, [message], 8, seconds, keep=True, beside=switch))
        asyncio.run(_activate(server, first))
    mixed = sum(not _one_version(body, known) for body in found.bodies)
    named = Counter(body["model"]["version"] for body in found.bodies if "model" in body)
    return {
        "switches": order,
        "refused": refused,
        "answers": dict(named),
        **_counts(found),
        "another_versions_answer": mixed,
        "versions_differ": len(set(map(str, known.values()))) == len(known),
        "kept": not refused and not mixed and not found.lost and set(found.codes) == {200},
    }


async def _activate(server: Server, version: int) -> None:
    await ask(server.port, request("POST", f"/v1/models/{version}/activate"))


def _probabilities(body: Any) -> dict[str, float]:
    found: dict[str, float] = body["results"][0]["probabilities"]
    return found


def _one_version(body: Any, known: dict[int, dict[str, float]]) -> bool:
    """Whether an answer is that of the version that it names."""
    if "model" not in body:
        return False
    own, expected = _probabilities(body), known.get(body["model"]["version"])
    return expected is not None and all(abs(own[k] - expected[k]) < _NEAR for k in expected)


def ended(bundle: Path, log_dir: Path, messages: list[bytes], seconds: float) -> dict[str, Any]:
    """SIGTERM under load: is each request answered that was sent before, and how does it end?"""
    with strided_server(bundle, log_dir) as server:

        async def end() -> float:
            await asyncio.sleep(seconds / 2)
            moment = time.perf_counter()
            server.terminate()
            return moment

        found = asyncio.run(load(server.port, messages, 32, seconds, beside=end))
        begun = time.monotonic()
        code = server.process.wait(60)
        waited = time.monotonic() - begun
    return {
        **_counts(found),
        "closed_after_the_signal": found.closed,
        "exit_code": code,
        "seconds_after_the_last_client": round(waited, 2),
        "kept": not found.lost and set(found.codes) <= {200, 503} and code in (143, -15),
    }


def hostile(bundle: Path, log_dir: Path) -> dict[str, Any]:
    """Hostile files and requests, one after the other: codes, the slowest answer, memory."""
    good = encoded(noise(64, 64))
    words = (f"limits.body_mb={BODY_MB}", "queue.deadline_s=5")
    with strided_server(bundle, log_dir, *words) as server:
        attacked = Attacked(server, good)
        for content in whole().values():
            attacked.attack("whole", Attack(upload(content), frozenset({200})))
        attacked.codes.clear()
        attacked.slowest = ("", 0.0)
        with MemoryWatch(server) as memory:
            cases = {**files(), **attacks()}
            for name, attack in cases.items():
                attacked.attack(name, attack)
    return {
        "cases": len(cases),
        "codes": dict(sorted(attacked.codes.items())),
        "slowest": attacked.slowest,
        "memory_growth_mb": round(memory.growth / 2**20, 1),
        "wrong": attacked.wrong,
        "kept": not attacked.wrong and memory.growth < 2 * MOST_GROWTH,
    }


def _counts(found: Answered) -> dict[str, Any]:
    return {"codes": dict(found.codes), "lost": found.lost}
