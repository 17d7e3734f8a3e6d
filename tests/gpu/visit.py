"""What the steps of the GPU check share: a place for what they find, and runs of strided."""

import csv
import json
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import torch

from strided.cli import main as strided_main

Found = dict[str, Any]
_FORK = multiprocessing.get_context("fork")  # torch is imported once, before CUDA starts


@dataclass
class Visit:
    """One step at work. `found` is written at each `keep`, so that a time-out loses nothing."""

    step: str
    tiny: bool  # on the CPU, in tiny sizes
    scratch: Path
    cifar: Path | None  # the folder of cifar10.zip
    ends: float  # time.monotonic() when the step is stopped
    found: Found = field(default_factory=dict)

    @property
    def trainer(self) -> list[str]:
        """The trainer's words: one GPU in bf16-mixed, or the CPU."""
        return ["trainer=cpu"] if self.tiny else ["trainer=gpu"]

    @property
    def device(self) -> torch.device:
        """The device that is measured."""
        return torch.device("cpu" if self.tiny else "cuda")

    def left(self) -> float:
        """Seconds until the step is stopped."""
        return self.ends - time.monotonic()

    def keep(self, name: str, row: Any) -> None:
        """Put a row into what was found."""
        self.found[name] = row
        file = self.scratch / f"{self.step}.json"
        file.with_suffix(".tmp").write_text(json.dumps(self.found, default=str))
        file.with_suffix(".tmp").replace(file)

    def log(self, name: str) -> Path:
        """The file with the output of a process."""
        return self.scratch / "output" / f"{self.step}-{name}.txt"

    def start(self, name: str, *words: str) -> ForkProcess:
        """Start a verb as typed, in a process; its runs lie in `runs(name)`."""
        return self.fork(name, strided_main, [*words, f"log_dir={self.logs(name)}"])

    def fork(self, name: str, work: Callable[..., object], *given: object) -> ForkProcess:
        """Start `work` in a process whose output goes to `log(name)`; it ends with its result."""
        process = _FORK.Process(target=redirected, args=(self.log(name), work, given))
        process.start()
        return process

    def logs(self, name: str) -> Path:
        """log_dir of the runs started by this name."""
        return self.scratch / "logs" / f"{self.step}-{name}"

    def run_folder(self, name: str) -> Path | None:
        """The newest run folder of a name."""
        found = sorted(self.logs(name).glob("*/*/*/"), key=lambda folder: folder.stat().st_mtime)
        return found[-1] if found else None

    def said(self, name: str) -> str:
        """The last line of a process's output."""
        lines = self.output(name).strip().splitlines()
        return lines[-1][:250] if lines else ""

    def output(self, name: str) -> str:
        """What a process has printed so far."""
        return self.log(name).read_text(errors="replace") if self.log(name).is_file() else ""


def redirected(log: Path, work: Callable[..., object], given: tuple[object, ...]) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    try:
        result = work(*given)
    except Exception:
        traceback.print_exc()
        result = 1
    sys.stdout.flush()
    sys.exit(result if isinstance(result, int) else 0)


def read_results(folder: Path | None) -> Found:
    """results.json of a run; empty if there is none."""
    file = folder / "results.json" if folder else None
    return dict(json.loads(file.read_text())) if file and file.is_file() else {}


def read_epochs(folder: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv."""
    with (folder / "metrics.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def one_line(error: BaseException) -> str:
    """An error as a cell of the table."""
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:400]


def freed() -> None:
    """Give a GPU's unused memory back, and start its peak anew."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_megabytes() -> int | None:
    """The most memory that torch has held on the GPU since `freed`."""
    return round(torch.cuda.max_memory_allocated() / 2**20) if torch.cuda.is_available() else None
