"""Faults in the log: the traceback of each once a minute, however many requests meet it."""

import logging
import time
from threading import Lock

log = logging.getLogger(__name__)

_MINUTE = 60.0  # seconds
_lock = Lock()
_told: dict[tuple[type, str, int], tuple[float, int]] = {}  # when, and how many more since


def log_fault(text: str, error: Exception) -> None:
    """Log a fault with its traceback, from any thread.

    More of the kind and from the same line are counted for a minute; the next one tells how many.
    Each request has its own line all the same.
    """
    kind = (type(error), *_origin(error))
    now = time.monotonic()
    with _lock:
        told, more = _told.get(kind, (-_MINUTE, 0))
        is_due = now - told >= _MINUTE
        _told[kind] = (now, 0) if is_due else (told, more + 1)
    if is_due:
        text += f"; {more} more of this kind since it was told last" if more else ""
        log.error(text, exc_info=error)


def _origin(error: Exception) -> tuple[str, int]:
    """The file and line that raised an error."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return (trace.tb_frame.f_code.co_filename, trace.tb_lineno) if trace else ("", 0)
