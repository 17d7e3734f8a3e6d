"""What the audit holds of a request: written, and on the disk, before the answer leaves."""

from collections.abc import Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Any

from starlette.types import Scope

from strided.audit.row import Event, plain_json
from strided.audit.writer import Audit, Work
from strided.review.deciding import Picture, add
from strided.service.case import Answered, Case
from strided.service.loaded import Loaded
from strided.service.schema import Predictions, Result
from strided.serving.manifest import OF_DECISION, Manifest

_SAID = {"confidence", "probabilities", "prediction_set", "uncertainty", "reasons"}


class Recorder:
    """Writes what callers do. All methods raise AuditError if it cannot be written.

    `exports`: the labels of people are exported, by groups of patients.
    """

    def __init__(self, audit: Audit, *, exports: bool) -> None:
        self._audit = audit
        self._exports = exports

    async def predictions(
        self, scope: Scope, model: Loaded, cases: Sequence[Case], answer: Predictions
    ) -> None:
        """Write a row for each file of a request, its prediction and its place in the queue."""
        calibration = calibration_of(model.bundle.manifest)
        events = [
            Event(
                **_who(scope),
                action="predict",
                object=case.object or None,  # none: its time was over before it was read
                input=case.digest or None,
                model=answer.model.name,
                version=answer.model.version,
                sha256=answer.model.sha256,
                calibration=calibration,
                output=_output(result),
                route=result.route,
                reasons=" ".join(reason.code for reason in result.reasons) or None,
            )
            for case, result in zip(cases, answer.results, strict=True)
        ]
        told = [
            (case, result, event)
            for case, result, event in zip(cases, answer.results, events, strict=True)
            if result.route
        ]
        rows = [_row(result, event) for _, result, event in told]
        frame = model.frame
        pictures = [
            Picture(result.id, case.outcome.picture, frame, self._patient(case))
            for case, result, _ in told
            if isinstance(case.outcome, Answered) and case.outcome.picture
        ]
        work = partial(add, predictions=rows, pictures=pictures) if rows else None
        await self._audit.record(events, work)

    def _patient(self, case: Case) -> str | None:
        """Whose picture it is, as far as the file says; None where nobody needs it."""
        return (case.patient or case.object) if self._exports else None

    async def case(
        self,
        scope: Scope,
        action: str,
        row: Mapping[str, Any],
        work: Work | None = None,
        **more: Any,
    ) -> None:
        """Write what a caller does with an earlier prediction. Raises what `work` raises, too."""
        same = {name: row[name] for name in ("object", "model", "version", "sha256", "route")}
        said = plain_json({"id": row["id"], **more})
        await self._audit.record([Event(**_who(scope), action=action, output=said, **same)], work)

    async def action(self, scope: Scope, action: str, /, **output: Any) -> None:
        """Write that a caller does something."""
        said = plain_json(output) if output else None
        await self._audit.record([Event(**_who(scope), action=action, output=said)])


def calibration_of(manifest: Manifest) -> str:
    """The sha256 of all that turns logits into a decision, as the manifest has it."""
    parts = {key: getattr(manifest, key) for key in OF_DECISION}
    return sha256(plain_json(parts).encode()).hexdigest()


def _who(scope: Scope) -> dict[str, Any]:
    caller = scope["caller"]
    return {"actor": caller.id, "role": caller.role, "request_id": scope["request_id"]}


def _row(result: Result, event: Event) -> dict[str, Any]:
    """The prediction that the history shows."""
    return {
        "id": result.id,
        "time": event.time,
        "actor": event.actor,
        "object": event.object,
        "model": event.model,
        "version": event.version,
        "sha256": event.sha256,
        "route": result.route,
        "class": result.class_,
        "said": result.model_dump_json(include=_SAID, by_alias=False),
    }


def _output(result: Result) -> str:
    if result.error:
        return plain_json({"error": result.error.code})
    said = {
        "id": result.id,
        "class": result.class_,
        "confidence": result.confidence,
        "probabilities": result.probabilities,
        "prediction_set": result.prediction_set,
    }
    return plain_json({key: value for key, value in said.items() if value is not None})
