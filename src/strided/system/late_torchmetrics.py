"""Import what Lightning uses of torchmetrics without the rest of it, SciPy and matplotlib."""

import logging
import sys
import threading
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

_WHOLE = "torchmetrics"
_PLOT = "torchmetrics.utilities.plot"
_LOCK = threading.Lock()


class _Waiting(ModuleType):
    """A module that is executed when it is asked for a name that it has not got yet."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__all__":  # inspect asks every module for such names
            raise AttributeError(name)
        _execute(self)
        return getattr(self, name)


def import_torchmetrics() -> None:
    """Import the two classes of torchmetrics that Lightning uses; the rest waits until it is used.

    Lightning asks whether a value is a metric. All of torchmetrics brings SciPy's signals (for one
    metric of audio), matplotlib (for plots of metrics) and 250 modules of its own: a fifth of the
    time to the first training step. Where a version of torchmetrics is laid out in another way, it
    is imported whole, as it is if this is never called.
    """
    with _LOCK:  # notebooks and services train in threads: none goes on with half of it
        if _WHOLE not in sys.modules and (spec := find_spec(_WHOLE)) is not None:
            _import_little(spec)


def _import_little(spec: ModuleSpec) -> None:
    from importlib.metadata import version  # torch imports it too, but --help does not

    whole: Any = module_from_spec(spec)
    sys.modules[_WHOLE] = whole
    try:
        whole.__version__ = version(_WHOLE)
        whole._logger = logging.getLogger(_WHOLE)  # its modules take it from there
        sys.modules[_PLOT] = plot = _waiting_plot(whole)
        utilities: Any = import_module("torchmetrics.utilities")  # first: it imports metric
        utilities.plot = plot
        whole.Metric = import_module("torchmetrics.metric").Metric
        whole.MetricCollection = import_module("torchmetrics.collections").MetricCollection
        whole.__class__ = _Waiting
    except Exception:  # of any kind, as in another version: Lightning imports it whole then
        for name in [name for name in sys.modules if name.partition(".")[0] == _WHOLE]:
            del sys.modules[name]


def _waiting_plot(whole: ModuleType) -> ModuleType:
    """The module that draws metrics, with what the two classes take from it."""
    spec = PathFinder.find_spec(_PLOT, [f"{folder}/utilities" for folder in whole.__path__])
    if spec is None:
        raise ImportError(f"no {_PLOT}")
    plot: Any = module_from_spec(spec)

    def plot_single_or_multi_val(*args: Any, **kwargs: Any) -> Any:
        _execute(plot)
        return plot.plot_single_or_multi_val(*args, **kwargs)

    plot.plot_single_or_multi_val = plot_single_or_multi_val
    plot._AX_TYPE = plot._PLOT_OUT_TYPE = object  # as they are where there is no matplotlib
    plot.__class__ = _Waiting
    return plot


def _execute(module: ModuleType) -> None:
    """Execute a module that has waited, once."""
    if isinstance(module, _Waiting):
        spec: Any = module.__spec__
        module.__class__ = ModuleType  # type: ignore[assignment]
        spec.loader.exec_module(module)
