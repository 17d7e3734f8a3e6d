"""The addresses at which an admin makes and ends keys."""

from typing import Annotated

from fastapi import FastAPI, Path, Request, Response

from strided.access.keys import Key, LastAdminError, UnknownKeyError
from strided.access.roles import Role
from strided.service.problems import ProblemError
from strided.service.responses import answered, guarded
from strided.service.schema import Schema
from strided.service.state import State


class KeyFacts(Schema):
    """A key, without its secret. revoked: since when it counts no more."""

    id: str
    role: str
    created: str
    created_by: str
    revoked: str | None


class KeyList(Schema):
    """All keys that were ever made, the oldest first."""

    keys: list[KeyFacts]


class Wanted(Schema):
    """What a new key shall be for."""

    role: Role


class NewKey(Schema):
    """A new key, whose text is shown this once."""

    key: str
    id: str
    role: str


Ident = Annotated[str, Path(pattern="^[0-9a-f]{8}$", description="The id of a key.")]


def add_keys(app: FastAPI, state: State) -> None:
    """Add the routes of keys to an application."""

    @app.get("/v1/keys", response_model=KeyList, responses=guarded())
    async def keys() -> Response:
        """All keys, without their secrets."""
        return answered(KeyList(keys=[_facts(key) for key in state.keys.all()]))

    @app.post("/v1/keys", response_model=NewKey, responses=guarded(413))
    async def make(request: Request, wanted: Wanted) -> Response:
        """Make a key for a role."""
        scope = request.scope
        text, key = await state.keys.make(wanted.role, scope["caller"], scope["request_id"])
        return answered(NewKey(key=text, id=key.id, role=key.role))

    @app.delete("/v1/keys/{id}", response_model=KeyFacts, responses=guarded(404, 409))
    async def revoke(request: Request, id: Ident) -> Response:
        """End a key."""
        scope = request.scope
        try:
            key = await state.keys.revoke(id, scope["caller"], scope["request_id"])
        except UnknownKeyError:
            raise ProblemError("unknown_key") from None
        except LastAdminError:
            raise ProblemError("last_admin", "Make another key for an admin first.") from None
        return answered(_facts(key))


def _facts(key: Key) -> KeyFacts:
    return KeyFacts(
        id=key.id,
        role=key.role,
        created=key.created,
        created_by=key.created_by,
        revoked=key.revoked,
    )
