"""The addresses at which people see earlier predictions, and decide cases."""

from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Request, Response

from strided.review.cases import State
from strided.service.responses import answered, guarded
from strided.service.review_schema import Decided, History, Prediction, Queue
from strided.service.schema import Route
from strided.service.service import Service

Limit = Annotated[int, Query(ge=1, le=200)]
Ident = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="The id of a prediction.")]
Before = Annotated[str | None, Query(pattern="^[0-9a-f]{32}$", description="next of an answer.")]

_PNG = {"image/png": {"schema": {"type": "string", "format": "binary"}}}
_PICTURE: dict[int | str, dict[str, Any]] = {200: {"content": _PNG}}


def add_reviews(app: FastAPI, service: Service) -> None:
    """Add the routes of predictions and of the queue to an application."""
    _add_history(app, service)
    _add_queue(app, service)


def _add_history(app: FastAPI, service: Service) -> None:
    @app.get("/v1/predictions", response_model=History, responses=guarded())
    async def predictions(
        request: Request,
        limit: Limit = 50,
        before: Before = None,
        route: Annotated[Route | None, Query()] = None,
    ) -> Response:
        """The newest predictions: for a clinician the own ones, and those of the queue."""
        caller = request.scope["caller"]
        return answered(await service.reviews.history(caller, limit, before, route))

    @app.get("/v1/predictions/{id}", response_model=Prediction, responses=guarded(404))
    async def prediction(request: Request, id: Ident) -> Response:
        """One prediction."""
        return answered(await service.reviews.one(request.scope["caller"], id))

    @app.get(
        "/v1/predictions/{id}/image",
        response_class=Response,
        responses={**guarded(404), **_PICTURE},
    )
    async def picture(request: Request, id: Ident) -> Response:
        """What the network saw of a case that waits for a decision; the audit has who looked."""
        content = await service.reviews.picture(request.scope, id)
        headers = {"Cache-Control": "no-store"}
        return Response(content, media_type="image/png", headers=headers)


def _add_queue(app: FastAPI, service: Service) -> None:
    @app.get("/v1/review", response_model=Queue, responses=guarded())
    async def review(
        request: Request,
        state: Annotated[State, Query()] = "open",
        limit: Limit = 50,
        before: Before = None,
    ) -> Response:
        """Cases for people: open ones, urgent first, then the oldest; others, the newest first."""
        model, _ = service.answering
        caller = request.scope["caller"]
        return answered(await service.reviews.queue(caller, state, limit, before, model))

    @app.post("/v1/review/{id}", response_model=Prediction, responses=guarded(404, 409, 413, 422))
    async def decide(request: Request, id: Ident, wanted: Decided) -> Response:
        """Confirm what the network says of a case, or override it. Both opinions stay."""
        model, classes = service.answering
        scope = request.scope
        return answered(await service.reviews.decide(scope, id, wanted, classes, model))
