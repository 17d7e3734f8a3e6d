"""Check strided on a GPU: does all of it work there, and how fast. At most six minutes.

    make gpu-carry     # at home, for a machine without a network: packages and CIFAR-10
    make gpu           # there, in the checkout, with the python3 that has torch
    make gpu ARGS=--tiny           # a dry run on a CPU, in tiny sizes
    make gpu ARGS=--only=cifar,waits

Writes check.json after each step, check.log with all output, and table.txt into `--out`. A step
past its limit is stopped and keeps what it found. Ends with exit code 1 if a step failed.
"""

import argparse
import importlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import warnings
from contextlib import suppress
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LIMITS = {  # seconds of each step
    "machine": 30, "models": 75, "resume": 75, "waits": 75, "trouble": 60,
    "throughput": 120, "cifar": 95, "decoding": 45, "memory": 30,
}  # fmt: skip
PHASES = (  # processes on one GPU take turns: few at once are faster
    ["machine"],
    ["models"],
    ["throughput"],
    ["cifar"],
    ["resume"],
    ["waits", "trouble"],
    ["memory"],
    ["decoding"],
)
LEFT_OUT_OF_TINY = ("memory",)  # it would fill the machine's own memory


def typed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = Path(os.environ.get("OUT") or ROOT / "logs" / "gpu")
    parser.add_argument("--out", type=Path, default=default)
    parser.add_argument("--tiny", action="store_true", help="on the CPU, in tiny sizes")
    parser.add_argument("--only", default="", help="steps, with commas between")
    parser.add_argument("--minutes", type=float, default=6.0, help="for all of it")
    return parser.parse_args()


def prepare(scratch: Path) -> None:
    """Put strided and the carried packages on the path, here and for processes started later."""
    from tests.gpu.carry import unpack_packages

    packages = scratch / "packages"
    unpack_packages(packages)
    paths = [str(packages), str(ROOT / "src")]
    sys.path[:0] = paths
    os.environ.update(
        PYTHONPATH=os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")]).strip(os.pathsep),
        XDG_CACHE_HOME=str(scratch / "cache"),
        HF_HUB_OFFLINE="1",
        WANDB_MODE="disabled",
    )


class Check:
    """The steps, the time left, and what was found."""

    def __init__(self, options: argparse.Namespace, scratch: Path) -> None:
        self.options, self.scratch = options, scratch
        self.out: Path = options.out
        self.started = time.monotonic()
        self.found: dict[str, Any] = {}
        self.table: list[str] = []

    def phase(self, steps: list[str]) -> None:
        """Run steps at once; stop each that is past its limit."""
        chosen = self.options.only.split(",") if self.options.only else list(LIMITS)
        skipped = LEFT_OUT_OF_TINY if self.options.tiny else ()
        wanted = [step for step in steps if step in chosen and step not in skipped]
        if self.options.tiny:  # one after the other, as two cores are best used
            for step in wanted:
                self.finish(*self.start(step))
            return
        for started in [self.start(step) for step in wanted]:
            self.finish(*started)

    def start(self, step: str) -> tuple[str, ForkProcess, float]:
        """Start a step in a process of its own, which leads a group of processes."""
        left = self.options.minutes * 60 - (time.monotonic() - self.started)
        ends = time.monotonic() + max(1.0, min(LIMITS[step], left))
        context = multiprocessing.get_context("fork")
        process = context.Process(target=run_step, args=(step, self.options, self.scratch, ends))
        process.start()
        return step, process, ends

    def finish(self, step: str, process: ForkProcess, ends: float) -> None:
        """Wait for a step, then keep what it found."""
        process.join(max(0.0, ends - time.monotonic()) + 3)
        late = process.exitcode is None
        with suppress(ProcessLookupError):
            os.killpg(process.pid or 0, signal.SIGKILL)  # and what it left running
        process.kill()
        process.join()
        file = self.scratch / f"{step}.json"
        found = json.loads(file.read_text()) if file.is_file() else {}
        self.found[step] = found = found or {"error": "it found nothing"}
        lines = importlib.import_module(f"tests.gpu.{step}").lines
        said = [found["error"]] if "error" in found else lines(found)
        if late or process.exitcode:
            found["ended"] = "stopped at its limit" if late else f"exit code {process.exitcode}"
            said.append(found["ended"])
        self.say(step, said)
        self.write(step)

    def say(self, step: str, said: list[str]) -> None:
        """Print and keep lines of the table."""
        seconds = time.monotonic() - self.started
        for line in said:
            self.table.append(f"{step:11} {line}")
            print(f"[{seconds:4.0f} s] {self.table[-1]}", flush=True)

    def write(self, step: str) -> None:
        """Write what is known so far."""
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / "check.json").write_text(json.dumps(self.found, indent=1) + "\n")
        (self.out / "table.txt").write_text("\n".join(self.table) + "\n")
        with (self.out / "check.log").open("a") as log:
            for file in sorted((self.scratch / "output").glob(f"{step}*.txt")):
                log.write(f"== {file.stem}\n{file.read_text(errors='replace')}\n")

    def failed(self) -> list[str]:
        """The steps that did not give what they should."""
        return [step for step, found in self.found.items() if wrong(found)]


def run_step(step: str, options: argparse.Namespace, scratch: Path, ends: float) -> None:
    """Do the work of a step, in a process."""
    os.setpgrp()
    from tests.gpu.visit import Visit, redirected

    cifar = scratch / "cifar" if (scratch / "cifar" / "cifar10.zip").is_file() else None
    visit = Visit(step, options.tiny, scratch, cifar, ends)
    work = importlib.import_module(f"tests.gpu.{step}").work
    redirected(visit.log("itself"), work, (visit,))


def wrong(found: Any) -> bool:
    """Whether an error, or a step that ended badly, is among what was found."""
    if not isinstance(found, dict):
        return False
    return bool({"error", "ended"} & found.keys()) or any(map(wrong, found.values()))


def main() -> int:
    """Run the phases; return 1 if a step failed."""
    options = typed()
    warnings.filterwarnings("ignore", message=".*use of fork", category=DeprecationWarning)
    with tempfile.TemporaryDirectory(prefix="gpu-check-", ignore_cleanup_errors=True) as folder:
        scratch = Path(folder)
        (options.out / "check.log").unlink(missing_ok=True)
        check = Check(options, scratch)
        prepare(scratch)
        from tests.gpu.carry import unpack_pictures

        (scratch / "cifar").mkdir()
        unpack_pictures(scratch / "cifar" / "cifar10.zip")
        importlib.import_module("strided.verbs.train")  # torch and Lightning, before forking
        if options.tiny:  # threads wait for each other when something else runs
            importlib.import_module("torch").set_num_threads(1)
        for steps in PHASES:
            check.phase(steps)
            if check.failed() == ["machine"]:
                break
        bad = check.failed()
        check.say("all", [f"failed: {', '.join(bad)}" if bad else "every step is good"])
        check.write("all")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
