"""Connections that ask for nothing end, so that others find a place."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from strided.service import connections

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def answers(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the names of the headers, the body and a last word."""
    request = Request(scope, receive)
    body = await request.body()
    said = f"{' '.join(request.headers)} {body.decode()} here"
    await PlainTextResponse(said)(scope, receive, send)


def listening(
    test: Callable[[Callable[[], Any]], Coroutine[Any, Any, None]],
    app: Any = answers,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Run a test with what opens a connection to a server of the service's protocol."""

    async def run() -> None:
        config = uvicorn.Config(app, lifespan="off", log_config=None)
        config.load()
        state = ServerState()
        place = connections.Listener(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        place.bind(("127.0.0.1", 0))
        listener = await asyncio.get_running_loop().create_server(
            lambda: connections.Connection(config=config, server_state=state, app_state={}),
            sock=place,
            ssl=tls,
        )
        async with listener:
            await test(lambda: asyncio.open_connection(*listener.sockets[0].getsockname()))

    asyncio.run(asyncio.wait_for(run(), 30))


@pytest.mark.parametrize(
    ("has_asked", "sent"),
    [(False, b""), (False, b"\r\n"), (False, REQUEST[:-2]), (True, b"\r\n"), (True, REQUEST[:-2])],
)
def test_headers_that_do_not_come_end_the_connection(
    has_asked: bool, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_HEADERS_S", 0.2)

    async def test(connect: Callable[[], Any]) -> None:
        reader, writer = await connect()
        if has_asked:
            writer.write(REQUEST)
            assert (await reader.readuntil(b"here")).startswith(b"HTTP/1.1 200")
        writer.write(sent)
        assert await reader.read() == b""
        writer.close()

    listening(test)


def test_trailers_are_no_headers() -> None:
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"

    async def test(connect: Callable[[], Any]) -> None:
        reader, writer = await connect()
        writer.write(head + b"3\r\nabc\r\n0\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n")
        answer = await reader.readuntil(b" here")
        assert answer.endswith(b"\r\n\r\ntransfer-encoding abc here")
        writer.close()

    listening(test)


def test_an_offer_of_another_protocol_is_passed_over() -> None:
    head = (
        b"POST / HTTP/1.1\r\nContent-Length: 3\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
        b"Connection: Upgrade, HTTP2-Settings\r\n\r\n"
    )

    async def test(connect: Callable[[], Any]) -> None:
        reader, writer = await connect()
        writer.write(head + b"abc" + head + b"d")
        assert (await reader.readuntil(b" here")).endswith(b"connection abc here")
        writer.write(b"ef" + REQUEST)
        assert (await reader.readuntil(b" here")).endswith(b"connection def here")
        assert (await reader.readuntil(b" here")).endswith(b"host  here")
        writer.close()

    listening(test)


def test_who_does_not_take_the_answer_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_TAKE_S", 0.1)
    lost = []
    monkeypatch.setattr(connections.Connection, "connection_lost", lambda *_: lost.append(1))

    async def test(connect: Callable[[], Any]) -> None:
        _, writer = await connect()  # which reads 128 KB ahead
        writer.write(REQUEST)
        while not lost:
            await asyncio.sleep(0.01)
        writer.close()

    listening(test, PlainTextResponse("here" * 5_000_000))


def test_who_never_agrees_on_tls_counts_as_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_most_connections", lambda: 2)

    async def test(connect: Callable[[], Any]) -> None:
        kept = [await connect() for _ in range(2)]
        reader, writer = await connect()
        assert await reader.read() == b""
        for _, one in [(reader, writer), *kept]:
            one.close()

    listening(test, tls=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))


def test_more_connections_than_there_are_files_for_are_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "_most_connections", lambda: 2)

    async def test(connect: Callable[[], Any]) -> None:
        kept = [await connect() for _ in range(2)]
        reader, writer = await connect()
        assert await reader.read() == b""
        writer.close()
        for reader, writer in kept:
            writer.write(REQUEST)
            assert (await reader.readuntil(b"here")).startswith(b"HTTP/1.1 200")
            writer.close()

    listening(test)
