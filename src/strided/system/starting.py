"""Start a command without garbage collection: what it imports comes to stay."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_resting: ContextVar[bool] = ContextVar("resting", default=False)


@contextmanager
def starting() -> Iterator[None]:
    """Let Python's garbage collector rest until `started` is called, or until the block ends.

    It would go through half a million objects of torch and Lightning again and again, for a sixth
    of the time to the first training step. A process that has torch already is left as it is: not
    all of its objects are there to stay.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    token = _resting.set(True)
    gc.disable()
    try:
        yield
    finally:
        _resting.reset(token)
        gc.enable()


def started() -> None:
    """End the rest that `starting` began: the collector passes over all that is there by now."""
    if _resting.get():
        _resting.set(False)
        gc.freeze()
        gc.enable()
