"""What people see of earlier predictions, and what they decide.

All methods are for the loop's thread; the database is read in others.
"""

import json
from typing import Any

from starlette.types import Scope

from strided.access.roles import Caller
from strided.review import cases
from strided.review.cases import Row
from strided.review.deciding import ClosedError, DecidedError, Verdict, decide
from strided.review.feedback import Feedback, Figures
from strided.service.problems import ProblemError
from strided.service.recording import Recorder
from strided.service.review_keeping import Keeper
from strided.service.review_schema import Accuracy, Decided, History, Prediction, Queue, Review
from strided.service.review_schema import Feedback as Told
from strided.service.schema import Model
from strided.service.settings import Reviewing
from strided.service.state import State
from strided.service.threads import in_thread

NOTICE = (
    "Only cases that people have decided count, of the version that answers now. Mostly the hard "
    "ones are sent to people, so this is not the accuracy on all cases. Refused cases, in which "
    "the network named no class, are in no accuracy."
)
_REFUSED = "refused"


class Reviews:
    """The history and the queue of a service. Raises ProblemError, and AuditError."""

    def __init__(
        self, state: State, settings: Reviewing, recorder: Recorder, keeper: Keeper
    ) -> None:
        self._reader = state.reader
        self._settings = settings
        self._recorder = recorder
        self._keeper = keeper

    async def history(
        self, caller: Caller, limit: int, before: str | None, route: str | None
    ) -> History:
        """The newest predictions that a caller may see."""
        of = caller.id if _sees_part(caller) else None
        rows, then = await in_thread(cases.newest, self._reader, limit, before, route, of)
        return History(predictions=[_prediction(row, caller) for row in rows], next=then)

    async def one(self, caller: Caller, id: str) -> Prediction:
        """A prediction that the caller may see."""
        return _prediction(await self._seen(caller, id), caller)

    async def picture(self, scope: Scope, id: str) -> bytes:
        """The PNG of a case, once it is recorded that it is looked at."""
        row = await self._seen(scope["caller"], id)
        found = await in_thread(cases.picture, self._reader, id)
        if found is None:
            raise ProblemError("no_picture")
        await self._recorder.case(scope, "view", row)
        return found

    async def queue(
        self, caller: Caller, state: cases.State, limit: int, before: str | None, model: Model
    ) -> Queue:
        """The cases of a state, and how often people have agreed."""
        rows, then = await in_thread(cases.queue, self._reader, state, limit, before)
        waiting = await in_thread(cases.waiting, self._reader)
        return Queue(
            cases=[_prediction(row, caller) for row in rows],
            next=then,
            open=sum(waiting.values()),
            urgent=waiting.get(0, 0),
            feedback=_told(await self._keeper.feedback(model)),
        )

    async def decide(
        self, scope: Scope, id: str, wanted: Decided, classes: list[str], model: Model
    ) -> Prediction:
        """Decide a case. Of several who decide it at once, one does."""
        caller = scope["caller"]
        row = await self._seen(caller, id)
        if row["state"] is None:  # it was never queued
            raise ProblemError("unknown_prediction")
        if wanted.comment and not self._settings.comments:
            raise ProblemError("comment_not_allowed")
        verdict = Verdict(
            id=id,
            decision=wanted.decision,
            label=_label(row, wanted, classes),
            predicted=row["class"],
            by=caller.id,
            comment=wanted.comment or None,
        )
        await self._decided(scope, row, verdict, wanted.etag)
        await self._keeper.after_decision(model)
        return await self.one(caller, id)

    async def _decided(self, scope: Scope, row: Row, verdict: Verdict, etag: str) -> None:
        exports = self._settings.export is not None
        said = {"decision": verdict.decision, "class": verdict.label, "network": verdict.predicted}
        try:
            await self._recorder.case(
                scope,
                "review",
                row,
                lambda connection: decide(connection, verdict, etag, is_exported=exports),
                **said,
            )
        except DecidedError:
            raise ProblemError("already_decided") from None
        except ClosedError:
            raise ProblemError("review_closed") from None

    async def _seen(self, caller: Caller, id: str) -> Row:
        row = await in_thread(cases.one, self._reader, id)
        is_hidden = _sees_part(caller) and row and row["actor"] != caller.id
        if row is None or (is_hidden and row["state"] is None):
            raise ProblemError("unknown_prediction")
        return row


def _sees_part(caller: Caller) -> bool:
    """Whether somebody sees own predictions, and those that were in the queue; others see all."""
    return caller.role == "clinician"


def _label(row: Row, wanted: Decided, classes: list[str]) -> str:
    """The class of a decision. Raises ProblemError."""
    known = list(json.loads(row["said"])["probabilities"] or classes)
    predicted, given = row["class"], wanted.class_
    if wanted.decision == "confirm":
        if predicted is None:
            text = "The network has refused the picture: override it with a class."
            raise ProblemError("unknown_class", text)
        if given not in (None, predicted):
            text = "To confirm is to name no other class; override it instead."
            raise ProblemError("unknown_class", text)
        return str(predicted)
    if given is None or given not in known or given == predicted:
        raise ProblemError("unknown_class", "An override names another class of the model.")
    return given


def _prediction(row: Row, caller: Caller) -> Prediction:
    return Prediction(
        id=row["id"],
        time=row["time"],
        actor=row["actor"],
        mine=row["actor"] == caller.id,
        model=Model(name=row["model"], version=row["version"], sha256=row["sha256"]),
        class_=row["class"],
        **json.loads(row["said"]),
        route=row["route"],
        has_picture=row["has_picture"],
        review=_review(row),
    )


def _review(row: Row) -> Review | None:
    if row["state"] is None:
        return None
    return Review(
        state=row["state"],
        etag=row["etag"],
        decision=row["decision"],
        class_=row["label"],
        by=row["decided_by"],
        time=row["decided_at"],
        comment=row["comment"],
    )


def _told(found: Feedback) -> Told:
    by_route = {route: Accuracy(**_figures(one)) for route, one in found.by_route.items()}
    if found.refused:
        none = Accuracy(reviewed=found.refused, right=0, accuracy=None, interval=None)
        by_route[_REFUSED] = none
    total = _figures(found.total)
    return Told(**total, by_route=by_route, notice=NOTICE, floor=found.floor, alarm=found.alarm)


def _figures(one: Figures) -> dict[str, Any]:
    return {
        "reviewed": one.reviewed,
        "right": one.right,
        "accuracy": one.accuracy,
        "interval": one.interval,
    }
