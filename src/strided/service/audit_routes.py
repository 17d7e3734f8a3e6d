"""The addresses at which an auditor reads the audit, checks it and takes it away."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from strided.audit.apart import checked_apart
from strided.audit.database import AUDIT, page, rows
from strided.audit.exported import FORMATS
from strided.service.recording import Recorder
from strided.service.responses import answered, guarded
from strided.service.schema import Schema
from strided.service.state import State
from strided.service.threads import in_thread

_LINES = 1000  # of an export that are sent together
_MOST = 2**63 - 1  # a row's number in either database
_TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}

# what no name of a patient fits into, since the question is written, too
Actor = Annotated[str | None, Query(pattern=r"^[A-Za-z0-9._@:|-]{1,132}$")]
Action = Annotated[str | None, Query(pattern="^[a-z_]{1,40}$")]
Object = Annotated[str | None, Query(pattern="^[0-9a-f]{64}$")]


class Row(Schema):
    """A row of the audit."""

    seq: int
    time: str
    actor: str
    role: str
    action: str
    object: str | None
    input: str | None
    model: str | None
    version: int | None
    sha256: str | None
    calibration: str | None
    output: str | None
    route: str | None
    reasons: str | None
    request_id: str | None
    previous: str
    hash: str


class Rows(Schema):
    """Rows, the newest first; `before` the last seq here gives the next."""

    rows: list[Row]


class Verified(Schema):
    """rows: how many follow each other rightly. bad: seq of the first that does not, or null.

    why: what is wrong with that row, or with an anchor that cannot be used; else empty.
    """

    rows: int
    head: str
    bad: int | None
    why: str
    anchored: bool


class Study(Schema):
    """A study by the UID that DICOM has of it (StudyInstanceUID)."""

    uid: Annotated[str, Field(pattern=r"^[0-9.]{1,64}$")]


class Pseudonym(Schema):
    """What rows of the audit call a study: `GET /v1/audit?object=` finds them."""

    object: str


def add_audit(app: FastAPI, state: State, recorder: Recorder) -> None:
    """Add the routes of the audit to an application."""
    alone = asyncio.Lock()  # one verification at a time: each may take a minute

    @app.get("/v1/audit", response_model=Rows, responses=guarded())
    async def audit(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        before: Annotated[int | None, Query(ge=1, le=_MOST)] = None,
        actor: Actor = None,
        action: Action = None,
        object: Object = None,
    ) -> Response:
        """The newest rows, of an actor, an action or a study if one is given."""
        wanted = {"actor": actor, "action": action, "object": object}
        given = {name: value for name, value in wanted.items() if value is not None}
        await recorder.action(request.scope, "audit_read", before=before, **given)
        where = [AUDIT.c[name] == value for name, value in given.items()]
        found = await in_thread(page, state.reader, limit, before, *where)
        return answered(Rows(rows=[Row(**row) for row in found]))

    @app.get("/v1/audit/verify", response_model=Verified, responses=guarded())
    async def verify(request: Request) -> Response:
        """Whether all rows are as they were written."""
        await recorder.action(request.scope, "audit_verified")
        async with alone:
            place, anchor = state.protection.place, state.protection.anchor
            found, anchored = await checked_apart(place, anchor)
        return answered(Verified(**asdict(found), anchored=anchored))

    @app.get("/v1/audit/export", response_class=StreamingResponse, responses=guarded())
    async def export(
        request: Request, format: Annotated[Literal["csv", "jsonl"], Query()] = "csv"
    ) -> Response:
        """All rows, as a file."""
        await recorder.action(request.scope, "audit_exported", format=format)
        lines = FORMATS[format](rows(state.reader))
        name = f'attachment; filename="audit.{format}"'
        headers = {"Content-Disposition": name, "Content-Type": _TYPES[format]}
        return StreamingResponse(_pieces(lines), headers=headers)

    @app.post("/v1/audit/study", response_model=Pseudonym, responses=guarded(413))
    async def study(request: Request, wanted: Study) -> Response:
        """What the audit calls a study: no address has its UID, since addresses are logged."""
        name = state.pseudonyms.of("study", wanted.uid.encode())
        await recorder.action(request.scope, "study_sought", study=name)
        return answered(Pseudonym(object=name))


async def _pieces(lines: Iterator[str]) -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    began = loop.time()
    while piece := await in_thread(_some, lines):
        yield piece
        await asyncio.sleep(loop.time() - began)  # so that half of the time is for others
        began = loop.time()


def _some(lines: Iterator[Any]) -> str:
    return "".join(line for _, line in zip(range(_LINES), lines, strict=False))
