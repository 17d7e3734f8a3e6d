"""The loggers of a run: built before any image is read, started, and closed however it ends."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import lightning.pytorch as pl
from lightning.pytorch.callbacks import DeviceStatsMonitor, LearningRateMonitor
from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers.logger import DummyLogger

from strided.config.keys import Node
from strided.config.targets import build
from strided.errors import UserError
from strided.loggers.run_logger import RunLogger, StartedRun
from strided.system.processes import is_first


def build_loggers(nodes: Node, callbacks: list[pl.Callback], *, quick: bool) -> list[Logger]:
    """Build the loggers of a run's first process; a quick run has none.

    Raises UserError if a callback needs a logger that is missing.
    """
    if quick or not is_first():
        return [DummyLogger()]  # as Lightning does for a fast_dev_run
    loggers: list[Logger] = [build(node, f"logger.{name}") for name, node in nodes.items() if node]
    for callback in callbacks:
        if isinstance(callback, LearningRateMonitor | DeviceStatsMonitor) and not loggers:
            raise UserError(
                f"{type(callback).__name__} was given, and logger=csv, which takes a row per epoch "
                "only (with a column lr); expected a logger that takes every step. "
                "Try logger=tensorboard"
            )
    return loggers


@contextmanager
def running(loggers: Iterable[Logger], run: StartedRun) -> Iterator[list[RunLogger]]:
    """Start strided's loggers, and close them at the end; Lightning's loggers need neither."""
    own = [logger for logger in loggers if isinstance(logger, RunLogger)]
    for logger in own:
        logger.start(run)
    failed = True
    try:
        yield own
        failed = False
    finally:
        for logger in own:
            logger.close(failed=failed)
