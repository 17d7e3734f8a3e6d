"""Start the processes of a run on this machine, wait for them, and report the first failure.

Lightning would start the command again as it was typed, and with it a whole sweep. Here
torchrun's agent starts `strided.jobs.rank` on the run's folder.
"""

import json
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from strided.config.own_code import own_code
from strided.config.targets import trusted
from strided.config.unused import insisted_on
from strided.errors import UserError
from strided.runs.folder import RunFolder, read_results
from strided.runs.results import Results
from strided.system.durable import write_json
from strided.system.machine import cores
from strided.system.signals import Interrupted, heeded, leave_closed_terminal
from strided.system.verbosity import shown_from


def launch(
    folder: Path,
    num_processes: int,
    command: list[str],
    resumed_with: list[str] | None,
) -> Results:
    """Run the job of a run folder in several processes; return its results.json.

    Raises UserError with the first failure, Interrupted if a signal stopped the run.
    """
    with tempfile.TemporaryDirectory(prefix="strided-") as exchange:
        job = {
            "command": command,
            "resumed_with": resumed_with,
            "trust": trusted(),
            "config_dir": next((str(finder.folder) for finder in own_code()), None),
            "insisted_on": insisted_on(),
            "shown_from": shown_from(),
        }
        (Path(exchange) / "job.json").write_text(json.dumps(job))
        with _forwarding(Path(exchange)) as signals:
            lost = _run_agent(folder, Path(exchange), num_processes)
        results = read_results(folder)
        if results.get("state") == "finished" and not lost:
            return results
        stopped = results.get("state") == "interrupted" or signals
        if stopped and not lost:
            interrupted: Results = {"command": command, **results, "state": "interrupted"}
            write_json(RunFolder(folder).results, interrupted)
            raise Interrupted(signals[0] if signals else signal.SIGTERM)
        reason = _reason(folder, Path(exchange), lost, num_processes)
    failed: Results = {"command": command, **results, "state": "failed", "error": reason}
    write_json(RunFolder(folder).results, failed)
    raise UserError(reason)


def _run_agent(folder: Path, exchange: Path, num_processes: int) -> dict[int, int]:
    """Start the workers and wait; return exit codes of the ranks that failed.

    The agent runs in a thread, so that this process handles the signals. The agent would kill its
    workers half a minute after Ctrl-C, saved or not.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=num_processes,
        run_id=folder.name,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.1,
        logs_specs=DefaultLogsSpecs(log_dir=str(exchange)),
    )
    failures: dict[int, int] = {}
    problems: list[Exception] = []

    def run() -> None:
        try:
            words = ("-P", "-m", "strided.jobs.rank", str(folder.resolve()), str(exchange))
            elastic_launch(config, sys.executable)(*words)
        except ChildFailedError as error:
            failures.update({rank: failed.exitcode for rank, failed in error.failures.items()})
        except Exception as error:  # the agent itself failed: no port, no process
            problems.append(error)

    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # we report
    with _environment(num_processes):
        agent = threading.Thread(target=run, daemon=True)
        agent.start()
        while agent.is_alive():
            agent.join(0.2)  # in short waits, so that signals are handled in between
    if problems:
        raise UserError(
            f"{num_processes} processes could not be started: {problems[0]}; expected a machine "
            "where processes can talk to each other. Try trainer.devices=1"
        ) from problems[0]
    return failures


@contextmanager
def _environment(num_processes: int) -> Iterator[None]:
    """Environment for the workers: they import what this process can, and share the cores."""
    share = str(max(1, cores() // num_processes))
    wanted = {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", share),
        "TORCH_CPP_LOG_LEVEL": "ERROR",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _forwarding(exchange: Path) -> Iterator[list[int]]:
    """Pass signals on to the workers, which save and stop; yield what was received."""
    received: list[int] = []

    def forward(signum: int, _: FrameType | None) -> None:
        leave_closed_terminal()
        received.append(signum)
        (exchange / "signal").touch()  # for processes that are still starting
        for file in exchange.glob("*.pid"):
            try:
                os.kill(int(file.read_text()), signum)
            except (ProcessLookupError, ValueError):
                continue  # it has ended, or is about to write its number

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.getsignal(number) for number in heeded()}
    for number in before:
        signal.signal(number, forward)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _reason(folder: Path, exchange: Path, lost: dict[int, int], num_processes: int) -> str:
    """The first reason that a process gave, else which process was lost."""
    for rank in range(num_processes):
        file = exchange / f"{rank}.error"
        if file.exists():
            return file.read_text(encoding="utf-8")
    rank, code = next(iter(lost.items()), (0, 1))
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return (
        f"process {rank} of {num_processes} was lost ({how}), and with it the run; expected all to "
        f"stay. What was saved by then is kept. Try resume={folder}"
    )
