"""What is due of the queue without a request: old cases, labels to export, an accuracy to watch."""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial

from strided.access.roles import ITSELF
from strided.audit.database import forget
from strided.audit.row import Event, plain_json
from strided.review import cases
from strided.review.deciding import DecidedError, drop_pictures, expire
from strided.review.feedback import Feedback, feedback
from strided.review.label_folder import LabelFolder
from strided.review.tables import least_id
from strided.service.metrics import Metrics
from strided.service.schema import Model
from strided.service.settings import Reviewing
from strided.service.state import State
from strided.service.threads import in_thread

log = logging.getLogger(__name__)

_TOGETHER = 100  # cases of one step


class Keeper:
    """Keeps the promises on pictures, and the figures of feedback. For the loop's thread.

    `model`: the version that answers, None while it is loaded.
    """

    def __init__(
        self,
        state: State,
        settings: Reviewing,
        metrics: Metrics,
        model: Callable[[], Model | None],
    ) -> None:
        """Raises UserError for a folder of labels that cannot be written."""
        self._audit, self._reader = state.audit, state.reader
        self._settings = settings
        self._metrics = metrics
        self._model = model
        self._folder = LabelFolder(settings.export) if settings.export else None
        self._exporting = asyncio.Lock()
        # how often pictures were deleted, maybe also before the start; and by when none of them was
        # left in the log of SQLite
        self._deleted, self._forgotten = 1, 0
        self._alarm: int | None = None  # version, of which it was told

    async def due(self, is_new_minute: bool) -> None:
        """Do what is due; State.keep calls it now and then."""
        try:
            await self._export()
        finally:  # no picture stays longer because its label cannot be written
            await self._expire()
        seen = self._deleted  # there may be more meanwhile
        if seen != self._forgotten and await in_thread(forget, self._audit.engine):
            self._forgotten = seen
        if is_new_minute and (model := self._model()):
            await self.feedback(model)

    async def after_decision(self, model: Model) -> None:
        """Export what was decided, and look at the accuracy; what fails is done later."""
        self._deleted += 1
        try:
            await self._export()
            await self.feedback(model)
        except Exception:
            log.exception("a decision is kept, but not yet exported or counted")

    async def feedback(self, model: Model) -> Feedback:
        """How often a version was right; shown in the metrics, and told in the log if too low."""
        floor = self._settings.floor
        found = await in_thread(feedback, self._reader, model.name, model.version, floor)
        total = found.total
        self._metrics.show_feedback(model.version, total.accuracy, total.reviewed, found.alarm)
        if found.alarm and self._alarm != model.version:
            fields = {"event.action": "accuracy_below_floor"}
            log.warning(
                "version %d is right in %.3f of %d reviewed cases, below drift.accuracy_floor=%g",
                *(model.version, total.accuracy, total.reviewed, floor),
                extra={"fields": fields},
            )
        self._alarm = model.version if found.alarm else None
        return found

    async def _expire(self) -> None:
        """Close cases that nobody has decided in time, and delete their pictures."""
        before = least_id(time.time() - self._settings.keep)
        while True:
            rows, is_old = await in_thread(cases.overdue, self._reader, before, _TOGETHER)
            if not rows and not is_old:
                return
            ids = [row["id"] for row in rows]
            events = [_expired(row) for row in rows]
            # a last step deletes the pictures that were never exported
            until = before if len(rows) < _TOGETHER else ids[-1]
            try:
                await self._audit.record(events, partial(expire, ids=ids, before=until))
            except DecidedError:  # by a person, or another service: look again at the next turn
                return
            self._deleted += 1

    async def _export(self) -> None:
        """Write labelled pictures into the folder, then delete them here."""
        if self._folder is None:
            return
        async with self._exporting:
            while rows := await in_thread(cases.to_export, self._reader, _TOGETHER):
                await in_thread(self._folder.add_all, rows)
                ids = [row.id for row in rows]
                await self._audit.record([], partial(drop_pictures, ids=ids))
                self._deleted += 1


def _expired(row: cases.Row) -> Event:
    return Event(
        actor=ITSELF.id,
        role=ITSELF.role,
        action="review_expired",
        object=row["object"],
        model=row["model"],
        version=row["version"],
        sha256=row["sha256"],
        route=row["route"],
        output=plain_json({"id": row["id"]}),
    )
