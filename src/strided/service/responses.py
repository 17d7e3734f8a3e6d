"""What a route answers, and what the OpenAPI document says of it."""

from typing import Any

from fastapi import Response

from strided.service.front import PROBLEM_TYPE
from strided.service.problems import CODES
from strided.service.schema import ProblemDetails, Schema

_HEADERS = {"X-Request-ID": {"schema": {"type": "string"}, "description": "As given, or made."}}


def answered(content: Schema) -> Response:
    """The answer that a schema is."""
    return Response(content.model_dump_json(), media_type="application/json")


def said(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The responses of a route, for OpenAPI."""
    said: dict[int | str, dict[str, Any]] = {200: {"headers": _HEADERS}}
    for status in sorted({400, *statuses}):
        codes = [code for code, (own, _) in CODES.items() if own == status]
        said[status] = {
            "description": f"code: {', '.join(codes)}",
            "headers": _HEADERS,
            "content": {PROBLEM_TYPE: {"schema": ProblemDetails.model_json_schema()}},
        }
    return said


def guarded(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The responses of a route that asks who asks."""
    return said(401, 403, 429, 503, *statuses)
