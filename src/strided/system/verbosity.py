"""How much of a run its terminal shows: with -q, with nothing, with -v, and of a job among many.

A message has a level of `logging`, or one of the two here that lie between them.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

ONCE = (
    logging.INFO - 5
)  # what a single run says at its start and end; each job of a sweep is spared
ENDING = logging.INFO + 5  # what came out, and where it lies: with warnings, all that -q shows

_shown_from: ContextVar[int] = ContextVar("shown_from", default=ONCE)


@contextmanager
def showing(level: int) -> Iterator[None]:
    """Show messages from this level on inside the block."""
    token = _shown_from.set(level)
    try:
        yield
    finally:
        _shown_from.reset(token)


def shown_from() -> int:
    """Return the level from which on messages are shown here: DEBUG with -v, ENDING with -q."""
    return _shown_from.get()


def among_many() -> int:
    """Return the level from which on the messages of a job among many are shown."""
    return logging.INFO if shown_from() == ONCE else shown_from()


def shows_bars() -> bool:
    """Whether bars of progress are drawn: on a terminal only, and not with -q."""
    return sys.stderr.isatty() and shown_from() <= logging.INFO
