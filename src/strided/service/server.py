"""The process of a service: it listens, and stops without losing what it has accepted."""

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from strided.errors import UserError
from strided.service.app import create_app
from strided.service.connections import Connection, Listener
from strided.service.front import Front
from strided.service.guard import Guard
from strided.service.service import Service
from strided.service.settings import Settings
from strided.service.state import State, kept
from strided.system.signals import Interrupted, heeded

log = logging.getLogger(__name__)

_KEEP_ALIVE = 75  # seconds of an idle connection: above the 60 that proxies take
_BACKLOG = 128  # connections that asyncio accepts before it looks at the first
_TICKS = 0.3  # seconds that uvicorn takes to notice that it should stop


def serve(settings: Settings) -> None:
    """Answer until a signal comes. Raises Interrupted then, UserError if it cannot begin."""
    with bound(settings.host, settings.port) as listener, kept(settings.protection) as state:
        for role, key in state.first_keys.items():  # on the terminal only: no log may hold a key
            print(f"{role}: {key}", flush=True)
        signum = asyncio.run(_run(settings, state, listener))
    raise Interrupted(signum)


def bound(host: str, port: int) -> socket.socket:
    """A socket of this address. Raises UserError if the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends at once (TCP_NODELAY) only where the protocol is named: else a pause of 40 ms
    listener = Listener(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise UserError(
            f"host={host} port={port} cannot be listened on ({error.strerror}); expected a port "
            "that is free. Try port=8001, or port=0 for any free one"
        ) from error
    return listener


async def _run(settings: Settings, state: State, listener: socket.socket) -> int:
    """Answer until a signal comes; return its number. Raises UserError."""
    service = Service(settings, state)
    # it and uvicorn would write lines of their own about each bad request, which has its line
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    certificate, key = settings.protection.tls or (None, None)
    server = _Server(
        uvicorn.Config(
            Front(Guard(create_app(service, state), state), service),
            ssl_certfile=certificate,
            ssl_keyfile=key,
            http=Connection,
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            log_level=logging.ERROR,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=max(  # type: ignore[arg-type]  # it may be a float
                0.1, settings.drain_limit - settings.drain_delay - _TICKS
            ),
        )
    )
    stop = _Stop(service, server)
    loading = asyncio.create_task(_start(service, server, listener))
    keeping = asyncio.create_task(state.keep(service.keeper.due))
    await server.serve(sockets=[listener])
    keeping.cancel()
    if loading.done():
        loading.result()  # or what went wrong
    return stop.signum


class _Server(uvicorn.Server):
    """uvicorn without its own way to stop, which would end the process by the signal again."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Stop:
    """What a signal does: not ready any more, then closed, then the end of what was accepted."""

    def __init__(self, service: Service, server: uvicorn.Server) -> None:
        self.signum = 0
        self._service, self._server = service, server
        self._loop = asyncio.get_running_loop()
        for number in heeded():
            self._loop.add_signal_handler(number, self._begin, number)

    def _begin(self, signum: int) -> None:
        if self.signum:  # the second one
            self._close()
            self._server.force_exit = True
            return
        self.signum = signum
        self._service.is_draining = True
        text = "stopping: what was accepted is finished"
        log.info(text, extra={"fields": {"event.action": "stop"}})
        self._loop.call_later(self._service.settings.drain_delay, self._close)

    def _close(self) -> None:
        self._service.is_closed = True
        self._server.should_exit = True


async def _start(service: Service, server: uvicorn.Server, listener: socket.socket) -> None:
    """Load the model, while requests are told that it is being loaded."""
    try:
        await service.start()
    except BaseException:
        server.should_exit = True
        raise
    host, port, *_ = listener.getsockname()
    scheme = "https" if service.settings.protection.tls else "http"
    at = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    model = service.models.active
    assert model is not None, "it has started"
    settings = service.settings
    log.info(
        "version %d of %s answers at %s with %d sessions of %s; that is a page, for programs see "
        "%s/docs",
        *(model.facts.version, model.facts.name, at, settings.sessions, settings.runtime, at),
        extra={"fields": {"event.action": "start"}},
    )
