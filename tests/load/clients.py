"""Clients that keep a connection each and send the next picture when they have an answer."""

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any

_BOUNDARY = b"strided-load-0123456789"
_LIMIT_S = 60.0  # of an answer


@dataclass
class Answered:
    """What the clients of one measurement met.

    seconds: of each request that was answered with 200. codes: how often each status came. lost:
    requests that got no answer; closed: those sent to a server that was about to end.
    """

    seconds: list[float] = field(default_factory=list)
    codes: Counter[int] = field(default_factory=Counter)
    bodies: list[Any] = field(default_factory=list)
    lost: int = 0
    closed: int = 0

    def note(self, code: int, body: bytes, taken: float, keep: bool) -> None:
        """Count an answer."""
        self.codes[code] += 1
        if code == 200:
            self.seconds.append(taken)
        if keep:
            self.bodies.append(json.loads(body))

    def percentiles(self) -> dict[str, float]:
        """Milliseconds: p50, p95 and p99."""
        if len(self.seconds) < 2:
            return {}
        cuts = quantiles(self.seconds, n=100, method="inclusive")
        return {f"p{at}_ms": round(cuts[at - 1] * 1000, 1) for at in (50, 95, 99)}


def form(picture: bytes, path: str) -> bytes:
    """A whole request that posts a picture as the part `file` of a form."""
    body = (
        b"--" + _BOUNDARY + b'\r\nContent-Disposition: form-data; name="file"; filename="x.jpg"\r\n'
        b"Content-Type: image/jpeg\r\n\r\n" + picture + b"\r\n--" + _BOUNDARY + b"--\r\n"
    )
    return request("POST", path, body, f"multipart/form-data; boundary={_BOUNDARY.decode()}")


def request(method: str, path: str, body: bytes = b"", kind: str = "") -> bytes:
    """A whole request of HTTP/1.1."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    if kind:
        lines.append(f"Content-Type: {kind}")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """Read an answer: its status, its body, whether the server closes the connection.

    Raises IncompleteReadError if it has closed it already.
    """
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = head.partition("\r\ncontent-length:")[2].partition("\r\n")[0]
    body = await reader.readexactly(int(length or 0))
    return int(head.split(" ", 2)[1]), body, "\r\nconnection: close" in head


async def ask(port: int, message: bytes) -> tuple[int, Any]:
    """Send one request on a connection of its own; return the status and the JSON."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(message)
        code, body, _ = await asyncio.wait_for(answer_of(reader), _LIMIT_S)
        return code, json.loads(body)
    finally:
        writer.close()


async def load(
    port: int,
    messages: list[bytes],
    clients: int,
    seconds: float,
    *,
    keep: bool = False,
    beside: Callable[[], Awaitable[float | None]] | None = None,
) -> Answered:
    """Let so many clients ask for so long; what they have asked by then is still awaited.

    `beside` runs at the same time, and returns the moment from which on the server may close
    connections (time.perf_counter()), or None if it must not.
    """
    found, end = Answered(), time.perf_counter() + seconds
    ending: list[float] = []

    async def disturb() -> None:
        if beside is not None and (moment := await beside()) is not None:
            ending.append(moment)

    turns = itertools.cycle(messages)
    every = (_client(port, turns, end, found, ending, keep) for _ in range(clients))
    await asyncio.gather(disturb(), *every)
    return found


async def _client(
    port: int,
    turns: Iterator[bytes],
    end: float,
    found: Answered,
    ending: list[float],
    keep: bool,
) -> None:
    writer: asyncio.StreamWriter | None = None
    started = 0.0
    try:
        while (started := time.perf_counter()) < end:
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(next(turns))
            code, body, closes = await asyncio.wait_for(answer_of(reader), _LIMIT_S)
            found.note(code, body, time.perf_counter() - started, keep)
            if closes:
                writer.close()
                writer = None
    except (OSError, asyncio.IncompleteReadError, TimeoutError):
        if ending and started > ending[0]:
            found.closed += 1
        else:
            found.lost += 1
    finally:
        if writer is not None:
            writer.close()
