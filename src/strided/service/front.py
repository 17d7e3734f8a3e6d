"""What stands before all addresses: the id of a request, its count, its line in the log."""

import asyncio
import re
import secrets
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from strided.service.faults import log_fault
from strided.service.headers import browser_headers, with_browser_headers
from strided.service.lines import log_request
from strided.service.problems import ProblemError
from strided.service.schema import ProblemDetails
from strided.service.service import Service

CLIENT_LEFT = "client_left"  # in place of a problem: nobody was answered
PROBLEM_TYPE = "application/problem+json"
RETRY_AFTER = {"queue_full": "1", "rate_limited": "2", "starting": "2", "draining": "5"}  # seconds

_ID = re.compile(rb"[A-Za-z0-9_-]{1,64}")


class Front:
    """An ASGI application around the one of the routes: it buffers nothing."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service
        self._headers = browser_headers(service.settings.protection.tls is not None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", "the server offers nothing else"
        loop = asyncio.get_running_loop()
        began = loop.time()
        request_id = scope["request_id"] = _request_id(scope)
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = (b"x-request-id", request_id.encode())
                headers = with_browser_headers(list(message["headers"]), self._headers)
                message["headers"] = [*headers, own]
            await send(message)

        self._service.metrics.inflight.inc()
        try:
            if not self._service.settings.protection.enabled and _is_foreign(scope):
                answer = problem_response(scope, ProblemError("foreign_page"))
                await answer(scope, receive, send_with_id)
            else:
                await self._app(scope, receive, send_with_id)
        except (Exception, asyncio.CancelledError) as error:
            # the routes have answered with a problem, unless the stop has cut them off
            if not isinstance(error, asyncio.CancelledError):
                log_fault("a fault of the service", error)
            if not status:
                code = "draining" if isinstance(error, asyncio.CancelledError) else "internal"
                await problem_response(scope, ProblemError(code))(scope, receive, send_with_id)
        finally:
            self._service.metrics.inflight.dec()
            self._note(scope, status, loop.time() - began)

    def no_http(self) -> bytes:
        """The whole answer to what is no HTTP, and has no request."""
        scope: Scope = {"request_id": secrets.token_hex(16), "method": "", "headers": []}
        response = problem_response(scope, ProblemError("malformed_request"))
        self._note(scope, response.status_code, 0.0)
        response.headers["x-request-id"] = scope["request_id"]
        response.headers["connection"] = "close"
        lines = [b"%s: %s" % pair for pair in response.raw_headers]
        return b"\r\n".join([b"HTTP/1.1 400 Bad Request", *lines, b"", bytes(response.body)])

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        metrics, route = self._service.metrics, _route(scope)
        if code := scope.get("problem"):
            metrics.rejected.labels(code).inc()
        if code != CLIENT_LEFT:
            metrics.requests.labels(route, str(status)).inc()
        if not scope.get("recorded"):
            log_request(scope["method"], route, status, scope["request_id"], seconds)


def problem_response(scope: Scope, problem: ProblemError) -> Response:
    """The answer for a problem, which is then counted."""
    scope["problem"] = problem.code
    details = ProblemDetails(
        type=f"/docs#{problem.code}",
        title=problem.title,
        status=problem.status,
        code=problem.code,
        detail=problem.detail,
        request_id=scope["request_id"],
    )
    headers = {"Retry-After": RETRY_AFTER[problem.code]} if problem.code in RETRY_AFTER else {}
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(details.model_dump_json(), problem.status, headers, PROBLEM_TYPE)


def nobody_waits(scope: Scope) -> Response:
    """What stands for an answer that nobody receives."""
    scope["problem"] = CLIENT_LEFT
    return Response(status_code=503)


def _is_foreign(scope: Scope) -> bool:
    """Whether a page of another site asks, through the browser of someone at this machine.

    Such a page may send forms to any address (Origin), or let its own name lead here (Host). Keys
    are a better guard, which it does not have.
    """
    for name, value in scope["headers"]:
        if name == b"host" and not _is_loopback(f"//{value.decode('latin-1')}"):
            return True
        if name == b"origin" and not _is_loopback(value.decode("latin-1")):
            return True
    return False


def _is_loopback(address: str) -> bool:
    try:
        host = urlsplit(address).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _request_id(scope: Scope) -> str:
    """The client's, if it is a plain word; else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _ID.fullmatch(value):
            return str(value.decode())
    return secrets.token_hex(16)


def _route(scope: Scope) -> str:
    """The address as the routes name it: what a client types is in no label."""
    return getattr(scope.get("route"), "path", "other")
