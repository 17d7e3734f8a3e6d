"""The page at /, for people: files that are in the package, each under its exact name."""

from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files

from fastapi import FastAPI, Request, Response

from strided.service.problems import ProblemError
from strided.service.responses import answered, guarded
from strided.service.schema import Schema
from strided.service.settings import Settings

_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
_INDEX = "index.html"
_ASKS_FOR_A_KEY, _ASKS_FOR_NONE = b'data-access="key"', b'data-access="none"'


@dataclass(frozen=True)
class File:
    """A file of the page; `tag` changes with its content (RFC 9110, 8.8.3)."""

    content: bytes
    kind: str
    tag: str


class Limits(Schema):
    """Of a request: body_bytes of all its files together."""

    body_bytes: int
    files: int


class CallerFacts(Schema):
    """Who asks, in which role, and how much may be sent at once."""

    id: str
    role: str
    limits: Limits


def add_page(app: FastAPI, settings: Settings) -> None:
    """Add the page and its files to an application."""
    found = page_files(settings.protection.enabled)
    index = found.pop(_INDEX)

    @app.get("/", include_in_schema=False)
    async def start(request: Request) -> Response:
        return _sent(request, index)

    @app.get("/static/{name}", include_in_schema=False)
    async def static(request: Request, name: str) -> Response:
        if name not in found:
            raise ProblemError("not_found")
        return _sent(request, found[name])

    @app.get("/v1/caller", response_model=CallerFacts, responses=guarded())
    async def caller(request: Request) -> Response:
        """Who asks, as the key or the token says."""
        known = request.scope["caller"]
        limits = Limits(body_bytes=settings.body, files=settings.files)
        return answered(CallerFacts(id=known.id, role=known.role, limits=limits))


def page_files(asks_for_key: bool) -> dict[str, File]:
    """The files of the page by their names; the first one says whether a key is needed."""
    found = {}
    for entry in files("strided.service").joinpath("static").iterdir():
        kind = _TYPES.get(entry.name.rpartition(".")[2])
        if kind is None:
            continue
        content = entry.read_bytes()
        if entry.name == _INDEX and not asks_for_key:
            content = content.replace(_ASKS_FOR_A_KEY, _ASKS_FOR_NONE)
        found[entry.name] = File(content, kind, f'"{sha256(content).hexdigest()[:16]}"')
    return found


def _sent(request: Request, file: File) -> Response:
    """The file, or that the browser has it already."""
    headers = {"Cache-Control": "no-cache", "ETag": file.tag, "Content-Type": file.kind}
    if file.tag in request.headers.get("if-none-match", ""):
        del headers["Content-Type"]
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers)
