"""The service behind the addresses: one model, one queue, one count of what happened."""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from contextlib import closing
from typing import Any

from starlette.requests import Request
from starlette.types import Receive, Scope

from strided.service.case import Case, Job
from strided.service.lines import log_prediction
from strided.service.loaded import Loaded
from strided.service.metrics import Metrics
from strided.service.models import Models
from strided.service.pipeline import Pipeline
from strided.service.problems import ClientLeftError, ProblemError, worst
from strided.service.recording import Recorder
from strided.service.results import result_of, timing_of
from strided.service.review_keeping import Keeper
from strided.service.reviews import Reviews
from strided.service.schema import Activated, Model, ModelFacts, Predictions, ReviewFacts
from strided.service.settings import Settings
from strided.service.state import State
from strided.service.upload import files_of
from strided.serving.manifest import Manifest

log = logging.getLogger(__name__)

_LEAST_S = 1  # to record files that have no answer, which may be so since their time is over


class Service:
    """What the routes call; all methods are for the loop's thread.

    Each answer is recorded before it is sent: a prediction that cannot be recorded is not given.
    """

    def __init__(self, settings: Settings, state: State) -> None:
        self.settings = settings
        self._audit = state.audit
        self.recorder = Recorder(state.audit, exports=settings.review.export is not None)
        self.metrics = Metrics()
        self.keeper = Keeper(state, settings.review, self.metrics, self._facts)
        self.reviews = Reviews(state, settings.review, self.recorder, self.keeper)
        self.pipeline = Pipeline(settings, state.pseudonyms, self._count)
        self.models = Models(settings, self.pipeline.deliver)
        self.metrics.queue_images.set_function(lambda: self.pipeline.images)
        self.is_draining = False  # not ready, but answering
        self.is_closed = False  # answering what was accepted
        self._loop = asyncio.get_running_loop()

    async def start(self) -> None:
        """Load the model. Raises UserError."""
        await self.models.start()
        self.metrics.show_model(self._active().facts)

    def require_ready(self) -> None:
        """Raise ProblemError unless pictures are taken."""
        self._active()
        if self.is_draining:
            raise ProblemError("draining")
        if self.pipeline.is_full:
            raise ProblemError("queue_full")
        if self._audit.is_failing:
            raise ProblemError("not_recorded", "The audit cannot be written; the log says why.")

    def _active(self) -> Loaded:
        if self.models.active is None:
            raise ProblemError("starting")
        return self.models.active

    def _facts(self) -> Model | None:
        return self.models.active.facts if self.models.active else None

    @property
    def answering(self) -> tuple[Model, list[str]]:
        """The version that answers, and its classes. Raises ProblemError while it is loaded."""
        model = self._active()
        return model.facts, model.bundle.classes

    async def predict(
        self, request: Request, heatmap: bool, target: str | None, picture: bool
    ) -> Predictions:
        """Answer for the files of a request. Raises ProblemError, and ClientLeftError."""
        began = self._loop.time()
        self._require_open()
        job, model = await self._accepted(request, began, heatmap, target, picture)
        await self._finished(job, request.receive)
        problems = [case.outcome for case in job.cases if isinstance(case.outcome, ProblemError)]
        answer = self._answer(request, model, job.cases, began)
        until = began + self.settings.deadline
        if len(problems) == len(job.cases):
            until = max(until, self._loop.time() + _LEAST_S)
            await self._record(request, model, job.cases, answer, until)
            raise worst(problems)
        for problem in problems:
            self.metrics.rejected.labels(problem.code).inc()
        await self._record(request, model, job.cases, answer, until)
        self._note(request, answer, began)
        return answer

    async def _accepted(
        self, request: Request, began: float, heatmap: bool, target: str | None, picture: bool
    ) -> tuple[Job, Loaded]:
        """Read the files, and send them on their way. Raises ProblemError, and ClientLeftError."""
        deadline = began + self.settings.deadline
        self.pipeline.reserve(1)
        held = 1
        try:
            files = await self._upload(request, deadline)
            self.pipeline.reserve(len(files) - 1)
            held = len(files)
            model = self._active()
            _require_class(model, target)
            cases = [Case(file, deadline, heatmap, target, picture) for file in files]
            job = self.pipeline.submit(cases, model, deadline)
            held = 0  # each picture gives back its own
        finally:
            self.pipeline.release(held)
        return job, model

    def _require_open(self) -> None:
        if self.is_closed:
            raise ProblemError("draining")
        self._active()

    async def _upload(self, request: Request, deadline: float) -> list[bytes]:
        try:
            async with asyncio.timeout_at(deadline):
                return await files_of(request, self.settings)
        except TimeoutError:
            raise ProblemError("malformed_request", "The body did not arrive in time.") from None

    async def _finished(self, job: Job, receive: Receive) -> None:
        """Wait for the outcomes. Raises ClientLeftError if nobody waits for them."""
        connection = asyncio.ensure_future(receive())  # ends when the client leaves
        connection.add_done_callback(lambda ended: None if ended.cancelled() else job.leave())
        try:
            await job.finished()
        finally:
            connection.cancel()
        if job.client_left:
            raise ClientLeftError

    def _answer(
        self, request: Request, model: Loaded, cases: Sequence[Case], began: float
    ) -> Predictions:
        return Predictions(
            request_id=request.scope["request_id"],
            model=model.facts,
            notice=model.bundle.manifest.notice,
            results=[result_of(case, index) for index, case in enumerate(cases)],
            timing_ms=timing_of(cases, self._loop.time() - began),
        )

    async def _record(
        self,
        request: Request,
        model: Loaded,
        cases: Sequence[Case],
        answer: Predictions,
        until: float,
    ) -> None:
        """Write what is answered, or refused, into the audit. Raises ProblemError, AuditError."""
        try:
            async with asyncio.timeout_at(until):
                await self.recorder.predictions(request.scope, model, cases, answer)
        except TimeoutError as error:
            raise ProblemError("not_recorded") from error

    def _note(self, request: Request, answer: Predictions, began: float) -> None:
        """Log and count what is answered."""
        log_prediction(answer)
        request.scope["recorded"] = True
        self.metrics.stage_seconds.labels("total").observe(self._loop.time() - began)
        for result in answer.results:
            if result.route:
                self.metrics.images.labels(result.route, result.class_ or "").inc()

    def _count(self, cases: Sequence[Case]) -> None:
        """Count pictures that are through; those of a batch come together."""
        if size := cases[0].batch:
            self.metrics.batch_size.observe(size)
        for case in cases:
            for stage in ("decode", "queue", "run"):
                if seconds := getattr(case, stage):
                    self.metrics.stage_seconds.labels(stage).observe(seconds)

    async def facts(self) -> ModelFacts:
        """What the active version is."""
        model = self._active()
        return ModelFacts(
            active=model.facts,
            available=await self.models.available(),
            manifest=model.bundle.manifest.to_dict(),
            review=ReviewFacts(
                comments=self.settings.review.comments,
                keep_hours=self.settings.review.keep / 3600,
                exported=self.settings.review.export is not None,
            ),
        )

    async def activate(self, scope: Scope, version: int) -> Activated:
        """Let another version answer. Raises ProblemError, and AuditError."""
        return await self._switched(scope, self.models.activate(version), version)

    async def rollback(self, scope: Scope) -> Activated:
        """Let the version before answer again. Raises ProblemError, and AuditError."""
        return await self._switched(scope, self.models.rollback(), None)

    async def _switched(
        self, scope: Scope, change: Coroutine[Any, Any, Loaded], wanted: int | None
    ) -> Activated:
        """Change the version, once it is recorded that this was asked for; then what came of it."""
        with closing(change):  # if it is never awaited
            before = self._active().facts.version
            await self.recorder.action(scope, "model_change", before=before, wanted=wanted)
            try:
                model = await change
            except ProblemError as problem:
                await self.recorder.action(scope, "model_kept", now=before, why=problem.code)
                raise
        self.metrics.show_model(model.facts)
        fields = {"event.action": "activate"}
        text = "version %d of %s answers"
        log.info(text, model.facts.version, model.facts.name, extra={"fields": fields})
        await self.recorder.action(
            scope,
            "model_changed",
            now=model.facts.version,
            sha256=model.facts.sha256,
            gate=_gate_of(model.bundle.manifest),
        )
        return Activated(model=model.facts)


def _gate_of(manifest: Manifest) -> dict[str, Any] | None:
    """How a version did beside the one that answered when it was made; None: nobody looked."""
    found = manifest.comparison
    return found and {key: value for key, value in found.items() if key != "stress"}


def _require_class(model: Loaded, target: str | None) -> None:
    if target is not None and target not in model.bundle.classes:
        raise ProblemError(
            "bad_parameter", "class is none of the model's; GET /v1/model lists these."
        )
