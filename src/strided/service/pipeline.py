"""The stages of a picture: a place in the queue, decoding, running. The loop does none of them.

The queue is bounded in images: those accepted, and not yet answered. A request holds a place from
its first byte on, so that the memory of bodies is bounded, too.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread

from strided.audit.pseudonyms import Pseudonyms
from strided.data.reading.dicom import start_decoder
from strided.review.framing import png_of
from strided.service.case import Answered, Case, Job
from strided.service.decoding import decoded
from strided.service.faults import log_fault
from strided.service.loaded import Loaded
from strided.service.problems import ProblemError
from strided.service.schema import Input
from strided.service.settings import Settings
from strided.system.machine import cores


class Pipeline:
    """Takes pictures and has them decoded by threads, one a core, for the threads of their model.

    Its methods are for the loop's thread. `watch` is told of pictures that are through, those of a
    batch together.
    """

    def __init__(
        self,
        settings: Settings,
        pseudonyms: Pseudonyms,
        watch: Callable[[Sequence[Case]], None],
    ) -> None:
        self._settings = settings
        self._pseudonyms = pseudonyms
        self._watch = watch
        self._loop = asyncio.get_running_loop()
        self._undecoded: SimpleQueue[tuple[Case, Loaded]] = SimpleQueue()
        self.images = 0  # that hold a place
        Thread(target=start_decoder, args=(settings.dicom,), daemon=True).start()  # takes 0.5 s
        for number in range(cores()):
            Thread(target=self._decode_all, name=f"decode-{number}", daemon=True).start()

    @property
    def is_full(self) -> bool:
        """Whether no picture would be taken now."""
        return self.images >= self._settings.queue_images

    def reserve(self, count: int) -> None:
        """Hold places for so many pictures. Raises ProblemError if there are fewer."""
        if self.images + count > self._settings.queue_images:
            raise ProblemError(
                "queue_full",
                f"{self._settings.queue_images} pictures wait at most; try again in a second.",
            )
        self.images += count

    def release(self, count: int) -> None:
        """Give places back."""
        self.images -= count

    def submit(self, cases: Sequence[Case], model: Loaded, deadline: float) -> Job:
        """Send pictures that hold places on their way. Each gives its place back by itself."""
        job = Job(list(cases), deadline)
        model.enter(len(cases))
        for case in cases:
            case.job = job
            self._undecoded.put((case, model))
        return job

    def deliver(
        self, model: Loaded, cases: Sequence[Case], outcomes: Sequence[Answered | ProblemError]
    ) -> None:
        """Give outcomes to the loop, from any thread."""
        with suppress(RuntimeError):  # the loop has ended before its time
            self._loop.call_soon_threadsafe(self._finish, model, cases, outcomes)

    def _decode_all(self) -> None:
        while True:
            case, model = self._undecoded.get()
            try:
                case.require_wanted()
                self._decode(case, model)
            except ProblemError as problem:
                self._refuse(case, model, problem)
            except Exception as error:
                log_fault("a picture could not be decoded by a fault of the service", error)
                self._refuse(case, model, ProblemError("internal"))
            else:
                model.batches.put(case)
            del case, model  # the last ones would be kept while nothing comes

    def _decode(self, case: Case, model: Loaded) -> None:
        began = time.monotonic()
        case.queue = began - case.arrived
        case.object = case.digest = self._pseudonyms.of("file", case.content)
        found = decoded(case.content, self._settings)
        if found.study:
            case.object = self._pseudonyms.of("study", found.study.encode())
        if found.patient:
            case.patient = self._pseudonyms.of("patient", found.patient.encode())
        case.may_have_text = found.may_have_text
        case.content = b""
        width, height = found.image.size
        case.input = Input(format=found.format, width=width, height=height, frames=found.frames)
        case.pixels = model.pixels(found.image)
        if case.show:
            case.picture = png_of(case.pixels)
        case.ready = time.monotonic()
        case.decode = case.ready - began

    def _refuse(self, case: Case, model: Loaded, problem: ProblemError) -> None:
        model.batches.drop()
        self.deliver(model, [case], [problem])

    def _finish(
        self, model: Loaded, cases: Sequence[Case], outcomes: Sequence[Answered | ProblemError]
    ) -> None:
        self.release(len(cases))
        model.leave(len(cases))
        self._watch(cases)
        for case, outcome in zip(cases, outcomes, strict=True):
            if case.outcome is None:  # else its time was over
                case.outcome = outcome
            assert case.job is not None, "submit() gives each its job"
            case.job.one_finished()
