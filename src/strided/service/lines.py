"""The lines of a service's log: one for a request, which names no file and quotes no client."""

import logging

from strided.service.schema import Predictions

log = logging.getLogger(__name__)


def log_request(
    method: str, route: str, status: int, request_id: str, seconds: float, **more: object
) -> None:
    """Write the line of a request: for run.log, and below what a terminal shows without -v."""
    fields = {
        "log.level": "info",
        "event.action": route,
        "event.duration": round(seconds * 1e9),
        "event.outcome": "success" if 0 < status < 400 else "failure",
        "http.request.id": request_id,
        "http.request.method": method,
        "http.response.status_code": status,
        **more,
    }
    log.debug("%s %s %d", method, route, status, extra={"fields": fields})


def log_prediction(answer: Predictions) -> None:
    """Write the line of an answer."""
    routes = [result.route or "error" for result in answer.results]
    log_request(
        "POST",
        "/v1/predict",
        200,
        answer.request_id,
        answer.timing_ms.total / 1000,
        **{
            "strided.model.name": answer.model.name,
            "strided.model.version": answer.model.version,
            "strided.routes": routes,
        },
    )
