"""A picture on its way through the service, and the request that it belongs to."""

import asyncio
import time
from dataclasses import dataclass, field

import numpy as np

from strided.service.problems import ProblemError
from strided.service.schema import Heatmap, Input
from strided.serving.bundle import Answer


class Job:
    """The pictures of one request. All of it but `Case.gone` belongs to the loop's thread."""

    def __init__(self, cases: "list[Case]", deadline: float) -> None:
        self.cases = cases
        self.deadline = deadline  # of the loop's clock, time.monotonic
        self.client_left = False
        self._left = len(cases)
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def finished(self) -> None:
        """Wait until each picture has an outcome: at the deadline, the problem of that name."""
        timer = asyncio.get_running_loop().call_at(self.deadline, self._expire)
        try:
            await self._done
        finally:
            timer.cancel()
            self.give_up()

    def one_finished(self) -> None:
        """Note that a picture has its outcome."""
        self._left -= 1
        if not self._left and not self._done.done():
            self._done.set_result(None)

    def leave(self) -> None:
        """Nobody waits any more: what has not begun will not."""
        self.client_left = True
        self._end()

    def give_up(self) -> None:
        """Let go of the files of pictures that are on their way."""
        for case in self.cases:
            case.gone = True
            case.content = b""

    def _expire(self) -> None:
        for case in self.cases:
            if case.outcome is None:
                case.outcome = ProblemError("deadline")
        self._end()

    def _end(self) -> None:
        self.give_up()
        if not self._done.done():
            self._done.set_result(None)


@dataclass(eq=False, slots=True)
class Case:
    """One picture. Each stage fills in its own part, and only one thread has it at a time."""

    content: bytes
    deadline: float
    heat: bool = False
    target: str | None = None  # class of the heatmap; None: that of the prediction
    show: bool = False  # whether the answer has the picture
    job: Job | None = None
    gone: bool = False  # set by the loop: nobody waits for it
    arrived: float = field(default_factory=time.monotonic)
    ready: float = 0.0  # when it was decoded
    digest: str = ""  # a pseudonym of its bytes
    object: str = ""  # of the study, or of the file
    patient: str = ""  # a pseudonym; empty: the file names none
    may_have_text: bool = False  # burned into the picture
    input: Input | None = None
    pixels: np.ndarray | None = None  # uint8 (C, S, S)
    picture: bytes = b""  # a PNG of them, if it is to be shown
    decode: float = 0.0  # seconds
    queue: float = 0.0
    run: float = 0.0
    batch: int = 0  # pictures that ran together
    outcome: "Answered | ProblemError | None" = None

    def require_wanted(self) -> None:
        """Raise ProblemError if nobody waits for it, or not in time."""
        if self.gone or time.monotonic() > self.deadline:
            raise ProblemError("deadline")


@dataclass(frozen=True)
class Answered:
    """What the bundle says of a picture."""

    answer: Answer
    heatmap: Heatmap | None = None
    picture: bytes | None = None  # a PNG of what the network saw, where a person shall decide
