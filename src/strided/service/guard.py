"""What stands before the routes: who asks, how often, and whether that role may."""

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route
from starlette.types import Message, Receive, Scope, Send

from strided.access.rates import Buckets, client_of
from strided.access.roles import (
    ANYBODY,
    METRICS,
    NOBODY,
    PUBLIC,
    PUBLIC_FOLDER,
    Caller,
    is_allowed,
)
from strided.access.tokens import TokenError
from strided.audit.row import Event, plain_json
from strided.audit.writer import AuditError
from strided.service.front import problem_response
from strided.service.problems import ProblemError
from strided.service.state import State

_FAILURES = 30  # a minute from one address, before it is told to wait
_PICTURES = "/v1/predict"  # which bounds its bodies itself
_MOST_JSON = 65_536  # bytes of a body elsewhere, all of which FastAPI would keep


class Guard:
    """An ASGI application around the one of the routes, which reads no body, and bounds it.

    It leaves the caller in the scope. What is in no table is allowed to nobody: a route that was
    forgotten there answers 403, to all.
    """

    def __init__(self, app: FastAPI, state: State) -> None:
        self._app = app
        self._state = state
        self._rates = Buckets(state.protection.rate)
        self._failures = Buckets(_FAILURES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            scope["caller"] = await self._admitted(scope)
        except ProblemError as problem:
            await problem_response(scope, problem)(scope, receive, send)
        except AuditError:
            await problem_response(scope, ProblemError("not_recorded"))(scope, receive, send)
        else:
            bounded = receive if scope["path"] == _PICTURES else _bounded(receive)
            await self._app(scope, bounded, send)

    async def _admitted(self, scope: Scope) -> Caller:
        """Who asks. Raises ProblemError for a caller who may not, once that is recorded."""
        if not self._state.protection.enabled:
            return ANYBODY
        path = scope["path"]
        is_open = path == METRICS and self._state.protection.metrics_public
        if path in PUBLIC or path.startswith(PUBLIC_FOLDER) or is_open:
            return NOBODY
        caller = await self._caller(scope)
        if self._rates.take(caller.id):
            raise ProblemError("rate_limited")
        method, route = scope["method"], self._route(scope)
        if route is not None and not is_allowed(caller, method, route):
            said = plain_json({"method": method, "route": route})
            await self._record(scope, caller, "denied", said)
            raise ProblemError("forbidden", f"The role {caller.role} may not do this.")
        return caller

    def _route(self, scope: Scope) -> str | None:
        """The route as its document names it; None where the routes answer 404 or 405."""
        for route in self._app.router.routes:
            if isinstance(route, Route) and route.matches(scope)[0] is Match.FULL:
                return route.path
        return None

    async def _caller(self, scope: Scope) -> Caller:
        try:
            return self._known(_token(scope))
        except TokenError as error:
            reason = str(error)
        protection = self._state.protection
        peer = (scope.get("client") or ("unknown",))[0]
        forwarded = ",".join(_headers(scope, b"x-forwarded-for"))
        address = client_of(peer, forwarded, protection.proxies)
        waits = self._failures.take(address)
        if event := self._state.failed.note(address, reason, scope["request_id"]):
            try:
                await self._state.audit.record([event])
            except AuditError:
                self._state.failed.note_unwritten(address, reason)
                raise
        raise ProblemError("rate_limited" if waits else "unauthenticated")

    def _known(self, token: str) -> Caller:
        """Whose key or token it is. Raises TokenError."""
        if caller := self._state.keys.caller(token):
            return caller
        tokens = self._state.protection.tokens
        if tokens is None or token.startswith("strided_"):
            raise TokenError("unknown_key")
        return tokens.caller(token)

    async def _record(self, scope: Scope, caller: Caller, action: str, output: str) -> None:
        event = Event(
            actor=caller.id,
            role=caller.role,
            action=action,
            output=output,
            request_id=scope["request_id"],
        )
        await self._state.audit.record([event])


def _bounded(receive: Receive) -> Receive:
    """Give a body as far as it is small; then raise HTTPException, which FastAPI lets through."""
    size = 0

    async def receive_some() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > _MOST_JSON:
            raise HTTPException(413)
        return message

    return receive_some


def _headers(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def _token(scope: Scope) -> str:
    """What stands behind Bearer (RFC 6750). Raises TokenError for no header, and for several."""
    found = _headers(scope, b"authorization")
    scheme, _, token = found[0].partition(" ") if len(found) == 1 else ("", "", "")
    if scheme.lower() != "bearer" or not token.strip():
        raise TokenError("no_credentials")
    return token.strip()
