"""Import torchmetrics, which Lightning imports, without the 450 modules of SciPy's signals."""

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_SIGNAL = "scipy.signal"


class _Waiting(ModuleType):
    """Stands for scipy.signal until anything of it is used."""

    hamming = None  # torchmetrics asks whether it is there, and would add it

    def __getattr__(self, name: str) -> Any:
        # inspect asks every module for its file; a part is sought in the path of the whole
        if name.startswith("__") and name != "__path__":
            raise AttributeError(name)
        _leave(self)
        return getattr(import_module(_SIGNAL), name)


def import_torchmetrics() -> None:
    """Import torchmetrics, and leave scipy.signal to be imported by whoever uses it.

    torchmetrics imports it for a name that one metric of audio wants. It takes a sixth of what
    Lightning takes to import. Nothing happens if either is imported already.
    """
    known = {"torchmetrics", _SIGNAL} & sys.modules.keys()
    if known or any(find_spec(name) is None for name in ("torchmetrics", "scipy")):
        return
    scipy: Any = import_module("scipy")
    waiting = _Waiting(_SIGNAL)
    sys.modules[_SIGNAL] = waiting
    scipy.signal = waiting
    try:
        import_module("torchmetrics")
    finally:
        _leave(waiting)


def _leave(waiting: ModuleType) -> None:
    """Let the next import find the real module."""
    if sys.modules.get(_SIGNAL) is waiting:
        del sys.modules[_SIGNAL]
        del sys.modules["scipy"].signal
