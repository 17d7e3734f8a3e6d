"""What the audit holds of a request: written, and on the disk, before the answer leaves."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from starlette.types import Scope

from strided.audit.row import Event, plain_json
from strided.audit.writer import Audit
from strided.service.case import Case
from strided.service.loaded import Loaded
from strided.service.schema import Predictions, Result
from strided.serving.manifest import OF_DECISION, Manifest


class Recorder:
    """Writes what callers do. All methods raise AuditError if it cannot be written."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    async def predictions(
        self, scope: Scope, model: Loaded, cases: Sequence[Case], answer: Predictions
    ) -> None:
        """Write a row for each file of a request, in one commit."""
        calibration = calibration_of(model.bundle.manifest)
        events = [
            Event(
                **_who(scope),
                action="predict",
                object=case.object,
                input=case.digest,
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
        await self._audit.record(events)

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
