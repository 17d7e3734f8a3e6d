"""Step: what a user sees when numbers overflow, and with more processes than GPUs."""

import subprocess
import sys
from pathlib import Path

from tests.gpu.visit import Found, Visit

ROOT = Path(__file__).parents[2]
SMALL = ["data=synthetic", "data.num_images=400", "trainer.max_epochs=1"]
CODES = {  # that each must end with
    "overflow": 1,
    "ddp, one GPU": 0,
    "two processes, one GPU": 1,
    "two processes on the CPU": 0,
}


def work(visit: Visit) -> None:
    """Start the troubles at once; a wrong run must end with a sentence, not hang."""
    overflow = ["model=lenet5", *SMALL, "optimizer=sgd", "optimizer.lr=1e12"]
    overflow += visit.trainer if visit.tiny else ["trainer=gpu", "trainer.precision=16-mixed"]
    runs = {"overflow": visit.start("overflow", "train", *overflow)}
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    commands = {
        "ddp, one GPU": ["src/train.py", "trainer=ddp"],
        "two processes, one GPU": [*torchrun, "src/train.py", "trainer=gpu"],
        "two processes on the CPU": ["src/train.py", "trainer=ddp_cpu"],
    }
    for name, words in ({} if visit.tiny else commands).items():
        runs[name] = visit.fork(name, command, [*words, *SMALL, f"log_dir={visit.logs(name)}"])
    for name, process in runs.items():
        process.join(max(0, visit.left() - 3))
        text = visit.output(name)
        errors = [line[:250] for line in text.splitlines() if "rror" in line][:2]
        said = errors or [visit.said(name)]
        visit.keep(name, ended(process.exitcode, CODES[name], text, said))


def command(words: list[str]) -> int:
    """Run the train verb as typed, maybe by a launcher."""
    return subprocess.run([sys.executable, *words], cwd=ROOT).returncode


def ended(code: int | None, expected: int, text: str, said: list[str]) -> Found:
    """How a process ended; torchrun shows a traceback of its own."""
    own = "Traceback" in text.partition("torch/distributed/elastic")[0]
    row: Found = {"exit_code": code, "said": said, "traceback": own}
    if code != expected or own:
        row["error"] = f"expected exit code {expected}, and no traceback"
    return row


def lines(found: Found) -> list[str]:
    """A line each."""
    return [
        f"{name}: exit code {row['exit_code']}{', TRACEBACK' if row['traceback'] else ''}, "
        f"{' | '.join(row['said'])[:300]}"
        for name, row in found.items()
    ]
