"""What a run records about itself: run.log, and results.json however the run ends."""

import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from copy import copy
from logging.handlers import RotatingFileHandler
from pathlib import Path, PurePath
from typing import TextIO

from strided.errors import UserError, describe_error, one_line, printable
from strided.runs.environment import SERVED_BY, git_state, hardware, processor, versions
from strided.runs.folder import RunFolder, read_results
from strided.runs.json_log import JsonLines, line_of
from strided.runs.results import Results, by_name
from strided.system.durable import is_full, write_json
from strided.system.machine import alone_in
from strided.system.processes import from_first, is_first
from strided.system.signals import Interrupted
from strided.system.verbosity import shown_from

# of a file of a service's log, and how many older ones are kept: 1 GB in all
_MOST_BYTES, _OLDER = 100_000_000, 9

# what a resumed run measures anew, beside test/* and val/*
_AGAIN = ("error", "tested", "confusion", "overlap", "val_confusion", "val_overlap")


@contextmanager
def recorded(folder: Path, command: list[str], *, is_service: bool = False) -> Iterator[Results]:
    """Log into run.log, and write results.json at the end, also if the run fails or is stopped.

    Yields the results so far (from an earlier session, if any); the caller adds to them. A service
    has no torch; its run.log is lines of JSON.
    """
    if is_first():
        with alone_in(RunFolder(folder).log):
            try:
                yield from _recorded(folder, command, is_service)
            except OSError as error:  # results.json itself had no room
                if is_full(error):
                    _make_room(folder)
                    raise UserError(_full(folder)) from error
                raise
    else:
        yield from _followed(folder)


def _followed(folder: Path) -> Iterator[Results]:
    """Serve another process than the first: it writes nothing except the reason if it fails."""
    with _quiet_lightning(), _logging_to([logging.NullHandler()]):
        try:
            yield from_first(None)
        except Exception as error:
            _log_to_file_only(folder, error, is_service=False)
            raise


def _recorded(folder: Path, command: list[str], is_service: bool) -> Iterator[Results]:
    results = read_results(folder) or Results(command=command)
    for key in list(results):  # of an earlier session: measured again, or outdated
        if key in _AGAIN or key.startswith(("test/", "val/")):
            del by_name(results)[key]
    results["state"] = "running"  # a killed run keeps this state
    write_json(RunFolder(folder).results, results)
    has_bars = sys.stderr.isatty() and not is_service
    handlers: list[logging.Handler] = [
        _BesideBars(sys.stdout) if has_bars else logging.StreamHandler(sys.stdout),
        _json_lines(RunFolder(folder).log) if is_service else _lines(RunFolder(folder).log),
    ]
    handlers[0].setLevel(shown_from())
    with nullcontext() if is_service else _quiet_lightning(), _logging_to(handlers):
        try:
            results.update(_surroundings(is_service))
            from_first(results)
            yield results
        except BaseException as error:
            with suppress(OSError):  # the reason itself matters more
                _record_failure(folder, results, error, is_service)
            if is_full(error):
                raise UserError(_full(folder)) from error
            raise
        results["state"] = "finished"
        write_json(RunFolder(folder).results, results)


def _lines(file: Path) -> logging.Handler:
    return logging.FileHandler(file, encoding="utf-8", errors="surrogateescape")


def _json_lines(file: Path) -> logging.Handler:
    """The log of a service, which may run for years: full files become run.log.1 and so on."""
    handler = RotatingFileHandler(
        file, maxBytes=_MOST_BYTES, backupCount=_OLDER, encoding="utf-8", errors="surrogateescape"
    )
    handler.setFormatter(JsonLines())
    return handler


def _record_failure(folder: Path, results: Results, error: BaseException, is_service: bool) -> None:
    """Keep the reason in results.json and its traceback in run.log, as far as there is room."""
    results["state"] = "interrupted" if _is_stop(error) else "failed"
    if not _is_stop(error):
        results["error"] = _full(folder) if is_full(error) else describe_error(error)
    if is_full(error):
        _make_room(folder)
    try:
        _log_to_file_only(folder, error, is_service)
    finally:
        write_json(RunFolder(folder).results, results)


def _surroundings(is_service: bool) -> Results:
    """What the numbers of a run depend on."""
    if is_service:
        return {"git": git_state(), "versions": versions(SERVED_BY), "hardware": processor()}
    return {"git": git_state(), "versions": versions(), "hardware": hardware()}


def _make_room(folder: Path) -> None:
    """Delete the file that could not be written to its end; results.json then has room."""
    for unfinished in folder.rglob("*.tmp"):
        unfinished.unlink()


def _full(folder: Path) -> str:
    return (
        f"a disk is full, a quota is used up, or a file grew too large for its disk: that of "
        f"{folder}, of data.cache_dir or of the temporary folder; expected room for checkpoints "
        "and decoded images. What was saved before is whole. Try making room, then "
        f"resume={folder} if it is a run of train, else again"
    )


def _log_to_file_only(folder: Path, error: BaseException, is_service: bool) -> None:
    import traceback

    with RunFolder(folder).log.open("a", encoding="utf-8", errors="surrogateescape") as stream:
        if is_service:
            stream.write(line_of(error, is_stop=_is_stop(error)))
            return
        stream.write(printable("".join(traceback.format_exception(error))))
        for name, reason in getattr(error, "files", ()):
            stream.write(f"{one_line(name)}: {one_line(reason)}\n")


def _is_stop(error: BaseException) -> bool:
    return isinstance(error, Interrupted | KeyboardInterrupt)


class _BesideBars(logging.StreamHandler[TextIO]):
    """Writes a message above the bar of progress that a terminal shows."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        with tqdm.external_write_mode(self.stream):
            super().emit(record)


class Printable(logging.Formatter):
    """Formats messages without control characters: names in them may be a stranger's."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the message as a terminal may show it, each name in it within one line."""
        if isinstance(record.args, tuple) and record.msg != "%s":  # that is a whole text
            record = copy(record)
            record.args = tuple(_in_line(word) for word in record.args or ())
        return printable(super().format(record))


def _in_line(word: object) -> object:
    return one_line(str(word)) if isinstance(word, str | PurePath) else word


@contextmanager
def _logging_to(handlers: Sequence[logging.Handler]) -> Iterator[None]:
    """Send strided's messages, and warnings, to these handlers."""
    for handler in handlers:
        if handler.formatter is None:
            handler.setFormatter(Printable("%(message)s"))
    ours = [logging.getLogger(name) for name in ("strided", "py.warnings")]
    format_before = warnings.formatwarning
    logging.captureWarnings(True)
    warnings.formatwarning = lambda message, *_: f"warning: {message}"  # without file and line
    for logger in ours:
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        logger.handlers = list(handlers)
    try:
        yield
    finally:
        for logger in ours:
            logger.handlers = []
            logger.propagate = True
        logging.captureWarnings(False)
        warnings.formatwarning = format_before
        for handler in handlers:
            handler.close()


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Leave out what Lightning says, and warnings of what users cannot change."""
    import lightning.pytorch  # noqa: F401  # now, since it sets the level of its logger

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)  # its tips and device list
    with warnings.catch_warnings():
        # Lightning's use of torch, which users cannot change
        warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated")
        # logged values have been summed over the processes already
        warnings.filterwarnings("ignore", message="It is recommended to use `self.log")
        # metrics go to the loggers once an epoch, whatever log_every_n_steps is
        warnings.filterwarnings("ignore", message="The number of training batches")
        # a run of one process needs no srun, also on a machine that has it
        warnings.filterwarnings("ignore", message="The `srun` command is available")
        # DistributedDataParallel's own streams, which Lightning asks for
        warnings.filterwarnings("ignore", message="The AccumulateGrad node's stream")
        # frozen layers are meant to be in evaluation mode
        warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")
        yield
