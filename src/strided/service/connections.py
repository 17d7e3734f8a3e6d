"""Connections with bounds: their number, the bytes of headers, and the time that a client takes.

Those that ask for nothing, or take nothing, must not use up the files that a process may open.
"""

import asyncio
import math
import socket
from typing import Any
from weakref import WeakSet

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from strided.service.front import Front

_MOST_HEADERS = 65_536  # bytes
# Bytes that asyncio reads at once: little of a request that may be refused, since a burst of them
# is read before the first can be.
_FIRST_READ, _READ = 16_384, 262_144
_HEADERS_S = 20  # seconds in which the headers of a request have to come
_TAKE_S = 60  # seconds in which some of an answer has to be taken
_MOST_FILES = 65_536  # that are counted on where the system allows any number


def _most_connections() -> int:
    """Half of the files that the process may open."""
    try:
        import resource
    except ImportError:  # Windows
        return _MOST_FILES // 2
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return (_MOST_FILES if most == resource.RLIM_INFINITY else min(most, _MOST_FILES)) // 2


class Listener(socket.socket):
    """Accepts connections while there are files for them, counted before they agree on TLS."""

    def __init__(self, *given: int) -> None:
        super().__init__(*given)
        self.accepted: WeakSet[socket.socket] = WeakSet()  # those that are open

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection; ConnectionAbortedError, which asyncio passes over, for too many."""
        found, address = super().accept()
        if len(self.accepted) >= _most_connections():
            found.close()
            raise ConnectionAbortedError
        return _Accepted(self, found), address


class _Accepted(socket.socket):
    def __init__(self, listener: Listener, found: socket.socket) -> None:
        super().__init__(found.family, found.type, found.proto, found.detach())
        self._listener = listener
        listener.accepted.add(self)

    def close(self) -> None:
        self._listener.accepted.discard(self)
        super().close()


class Connection(HttpToolsProtocol):
    """HTTP for a Front. What is no HTTP gets a problem, as all errors do."""

    _header_bytes = 0
    _slow: asyncio.TimerHandle | None = None  # runs while headers are to come
    _untaken: asyncio.TimerHandle | None = None  # runs while much of an answer waits to be taken

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.max_size = _FIRST_READ
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._have_headers()
        self._have_taken()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline(data[offer.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("")
        self.transport.max_size = _READ  # type: ignore[attr-defined]  # of asyncio's transports
        if self._slow is None and (self.cycle is None or self.cycle.response_complete):
            self._expect_headers()

    def _decline(self, rest: bytes) -> None:
        """Read a request as if it offered no other protocol: httptools passes over its body.

        Clients of Java make such an offer, of HTTP/2, with each request without TLS.
        """
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        kept = [pair for pair in self.headers if pair[0] != b"upgrade"]
        lines = [b"%b %b HTTP/%b" % (method, self.url, version), *(b"%b: %b" % p for p in kept)]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join([*lines, b"", rest]))

    @property
    def _is_declined(self) -> bool:
        return self.parser.should_upgrade() and any(name == b"upgrade" for name, _ in self.headers)

    def on_headers_complete(self) -> None:
        self._have_headers()
        if not self._is_declined:
            super().on_headers_complete()
            self.headers = []  # trailers go there: no proxy has looked at what they name

    def on_message_complete(self) -> None:
        if not self._is_declined:
            super().on_message_complete()

    def _expect_headers(self) -> None:
        self._slow = self.loop.call_later(_HEADERS_S, self._end)

    def _have_headers(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None

    def timeout_keep_alive_handler(self) -> None:
        self._end()

    def _end(self) -> None:
        """Close it; what the client has not taken by now is dropped."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_taken(math.inf)

    def _expect_taken(self, before: float) -> None:
        """End the connection unless less waits now than before."""
        left = self.transport.get_write_buffer_size()
        if left < before:
            self._untaken = self.loop.call_later(_TAKE_S, self._expect_taken, left)
        else:
            self.transport.abort()

    def _have_taken(self) -> None:
        if self._untaken is not None:
            self._untaken.cancel()
            self._untaken = None

    def resume_writing(self) -> None:
        self._have_taken()
        super().resume_writing()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.transport.max_size = _FIRST_READ  # type: ignore[attr-defined]

    def on_message_begin(self) -> None:
        self._header_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._bound(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._bound(len(name) + len(value) + 4)
        super().on_header(name, value)

    def _bound(self, count: int) -> None:
        self._header_bytes += count
        if self._header_bytes > _MOST_HEADERS:
            raise ValueError("the headers are too long")

    def send_400_response(self, _: str) -> None:
        front = self.app
        assert isinstance(front, Front), "the application of the configuration"
        self.transport.write(front.no_http())
        self.transport.close()
