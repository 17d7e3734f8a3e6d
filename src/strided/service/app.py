"""The addresses of the service, as FastAPI serves them."""

import re
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException

from strided.access.roles import ALLOWED
from strided.audit.writer import AuditError
from strided.service import metrics, schema
from strided.service.audit_routes import add_audit
from strided.service.docs_page import page
from strided.service.front import nobody_waits, problem_response
from strided.service.key_routes import add_keys
from strided.service.page_routes import add_page
from strided.service.problems import ClientLeftError, ProblemError
from strided.service.responses import answered, guarded, said
from strided.service.review_routes import add_reviews
from strided.service.service import Service
from strided.service.state import State
from strided.service.upload import FIELD, FORM, RAW
from strided.version import __version__

_FILE = {"type": "string", "format": "binary"}
_BODY = {
    FORM: {
        "schema": {
            "type": "object",
            "required": [FIELD],
            "additionalProperties": False,
            "properties": {FIELD: {"type": "array", "minItems": 1, "items": _FILE}},
        }
    },
    **{kind: {"schema": _FILE} for kind in RAW},
}
_VERSION = {
    "name": "version",
    "in": "path",
    "required": True,
    "description": "One that the registry has.",
    "schema": {"type": "integer", "minimum": 1},
}
_OF_STATUS = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}
_NUMBER = re.compile("[1-9][0-9]{0,8}")


def create_app(service: Service, state: State) -> FastAPI:
    """Build the application of a service, for a guard to stand before."""
    app = FastAPI(
        title="strided",
        version=__version__,
        description="Predictions of one image classifier. For research and teaching.",
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    _add_predictions(app, service)
    _add_models(app, service)
    _add_health(app, service)
    add_reviews(app, service)
    add_page(app, service.settings)
    add_keys(app, state)
    add_audit(app, state, service.recorder)
    _describe(app, asks=state.protection.enabled)
    for kind, answer in _ANSWERS.items():
        app.add_exception_handler(kind, answer)
    return app


def _add_predictions(app: FastAPI, service: Service) -> None:
    @app.post(
        "/v1/predict",
        response_model=schema.Predictions,
        responses=guarded(413, 415, 422, 504),
        openapi_extra={"requestBody": {"required": True, "content": _BODY}},
    )
    async def predict(
        request: Request,
        heatmap: Annotated[bool, Query(description="Show where the logit comes from.")] = False,
        class_: Annotated[
            str | None, Query(alias="class", description="Of the heatmap; the predicted one.")
        ] = None,
        picture: Annotated[bool, Query(description="Show what the network saw.")] = False,
    ) -> Response:
        """Answer for 1 or more pictures: JPEG, PNG or DICOM."""
        _require_known(request, ("heatmap", "class", "picture"))
        answer = await service.predict(request, heatmap, class_, picture)
        return answered(answer)


def _add_models(app: FastAPI, service: Service) -> None:
    @app.get("/v1/model", response_model=schema.ModelFacts, responses=guarded())
    async def model() -> Response:
        """What the active version is, and which others there are."""
        return answered(await service.facts())

    @app.post("/v1/models/rollback", response_model=schema.Activated, responses=guarded(409))
    async def rollback(request: Request) -> Response:
        """Let the version that answered before this one answer again."""
        return answered(await service.rollback(request.scope))

    @app.post(
        "/v1/models/{version}/activate",
        response_model=schema.Activated,
        responses=guarded(404, 409),
        openapi_extra={"parameters": [_VERSION]},
    )
    async def activate(request: Request) -> Response:
        """Load another version beside this one, then let it answer."""
        version = request.path_params["version"]
        if not _NUMBER.fullmatch(version):
            raise ProblemError("unknown_version")
        return answered(await service.activate(request.scope, int(version)))


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/livez", response_model=schema.Health, responses=said())
    async def livez() -> Response:
        """Whether the process answers at all."""
        return answered(schema.Health(status="live"))

    @app.get("/readyz", response_model=schema.Health, responses=said(503))
    async def readyz() -> Response:
        """Whether it takes pictures: the model is warm, the queue not full, the audit written."""
        service.require_ready()
        return answered(schema.Health(status="ready"))

    @app.get("/metrics", response_class=Response, responses=guarded())
    async def prometheus() -> Response:
        """What Prometheus reads."""
        return Response(service.metrics.text(), headers={"Content-Type": metrics.CONTENT_TYPE})

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        return HTMLResponse(page(app.openapi(), f"{request.url.scheme}://{request.url.netloc}"))


def _describe(app: FastAPI, asks: bool) -> None:
    """Let the OpenAPI document tell the truth: of errors, and of the key that routes ask for."""
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        document = describe()
        if asks:
            keys = {"key": {"type": "http", "scheme": "bearer"}}
            document["components"]["securitySchemes"] = keys
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if "HTTPValidationError" in str(operation["responses"].get("422")):
                    del operation["responses"]["422"]  # FastAPI's own: they are 400 here
                if asks and (method.upper(), path) in ALLOWED:
                    operation["security"] = [{"key": []}]
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI documents it


def _require_known(request: Request, names: tuple[str, ...]) -> None:
    if set(request.query_params) - set(names):
        raise ProblemError("bad_parameter", f"Expected no parameters but {', '.join(names)}.")


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError), "registered for these"
    return problem_response(request.scope, error)


async def _unrecorded(request: Request, _: Exception) -> Response:
    return problem_response(request.scope, ProblemError("not_recorded"))


async def _invalid(request: Request, error: Exception) -> Response:
    """Answer for values of parameters that do not fit."""
    assert isinstance(error, RequestValidationError), "registered for these"
    names = {str(found["loc"][-1]) for found in error.errors()}
    text = f"The value of {', '.join(sorted(names))} does not fit."
    return problem_response(request.scope, ProblemError("bad_parameter", text))


async def _http(request: Request, error: Exception) -> Response:
    """Answer in place of Starlette: addresses and methods that there are not, large bodies."""
    assert isinstance(error, HTTPException), "registered for these"
    code = _OF_STATUS.get(error.status_code, "malformed_request")
    response = problem_response(request.scope, ProblemError(code))
    response.headers.update(error.headers or {})
    return response


async def _left(request: Request, _: Exception) -> Response:
    return nobody_waits(request.scope)


async def _fault(request: Request, _: Exception) -> Response:
    return problem_response(request.scope, ProblemError("internal"))


_ANSWERS = {
    ProblemError: _problem,
    AuditError: _unrecorded,
    RequestValidationError: _invalid,
    HTTPException: _http,
    ClientLeftError: _left,
    Exception: _fault,  # which is raised again, for the log
}
