"""One process of a run that has several.

`python -m strided.jobs.rank <run folder> <exchange folder>`
"""

import json
import os
import sys
import threading
import time
from pathlib import Path
from signal import SIGTERM

from strided.config.targets import trusting
from strided.config.unused import insisting_on
from strided.errors import describe_error
from strided.jobs.job import run_job
from strided.runs.folder import read_config
from strided.system.processes import LostProcessError, is_joined, place
from strided.system.signals import Interrupted, Interruption, stop_with_parent
from strided.system.starting import starting
from strided.system.verbosity import showing


def main() -> int:
    """Do this process's part of the run; leave an error where `launching` reads it."""
    folder, exchange = map(Path, sys.argv[1:])
    rank = place().rank
    job = json.loads((exchange / "job.json").read_text())
    try:
        with (
            starting(),
            Interruption().listening(),
            trusting(job["trust"], Path(job["config_dir"]) if job["config_dir"] else None),
            insisting_on(job["insisted_on"]),
            showing(job["shown_from"]),
        ):
            (exchange / f"{rank}.pid").write_text(str(os.getpid()))  # signals can come from here on
            _leave_before_meeting(exchange / "signal")
            stop_with_parent(os.getppid())
            run_job("train", read_config(folder), folder, job["command"], job["resumed_with"])
    except Interrupted:
        return 0  # saved; with another code the agent would kill the others before they are done
    except LostProcessError:
        return 1  # that process says why, or its exit code does
    except Exception as error:
        (exchange / f"{rank}.error").write_text(describe_error(error), encoding="utf-8")
        return 1
    return 0


def _leave_before_meeting(signal: Path) -> None:
    """End this process if a signal came before all have met; nothing has started by then.

    Others may have ended for it already. A process that waits for them is inside torch, where no
    signal handler is called.
    """

    def watch() -> None:
        while not is_joined():
            if signal.exists():
                os._exit(0)
            time.sleep(0.1)

    if signal.exists():
        raise Interrupted(SIGTERM)
    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
