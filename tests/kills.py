"""Kill training runs at random moments, resume them, and compare with runs that were left alone.

    make kills                                        # 20 kills of runs on digits
    make kills ARGS="--kills=40 --seed=3"             # others
    make kills ARGS="--data-root=/folder/of/MNIST"    # a third of them on MNIST

Each run is a process of its own (or three, with two devices), killed with SIGKILL at a moment drawn
from its whole life (start, decoding, training, saving, validation, test, report), some several
times, and resumed until it finishes. It is forked from this process, which has imported torch
already: most kills would hit the imports otherwise. Weights (best and last, averaged and raw),
metrics.csv without its timing, predictions.csv and test metrics must be those of an uninterrupted
run, bit for bit. Ends with exit code 1 where one is not.
"""

import argparse
import csv
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import torch

import strided.report.document
import strided.verbs.train  # noqa: F401  # before forking
from strided.cli import main as strided_main

TIMING = ("epoch_seconds", "images_per_second")
SHARED = (
    "model.dropout=0.3",
    "callbacks.ema.decay=0.9",
    "callbacks.early_stopping.patience=2",
    "callbacks.checkpoint.every_n_train_steps=3",
)
DIGITS = ("data=digits", "data.train_fraction=0.4", "data.batch_size=32", "trainer.max_epochs=8")
MNIST = (
    "data=mnist",
    "data.train_fraction=0.05",
    "data.batch_size=128",
    "trainer.max_epochs=4",
    "trainer.limit_val_batches=10",
)
MLP = ("model=mlp", *SHARED)
LENET = ("model=lenet5", *SHARED[1:])
CASES = {
    "digits mlp strong cosine": (*DIGITS, *MLP, "augment=strong", "scheduler=cosine"),
    "digits lenet5 standard plateau": (
        *DIGITS,
        *LENET,
        "augment=standard",
        "scheduler=plateau",
        "scheduler.patience=0",
        "trainer.val_check_interval=0.5",
    ),
    "digits mlp two processes": (
        *DIGITS,
        *MLP,
        "augment=strong",
        "scheduler=one_cycle",
        "trainer=ddp_cpu",
    ),
    "mnist mlp strong plateau": (*MNIST, *MLP, "augment=strong", "scheduler=plateau"),
    "mnist lenet5 standard cosine": (*MNIST, *LENET, "augment=standard", "scheduler=cosine"),
}


@dataclass(frozen=True)
class Reference:
    """An uninterrupted run of a case: its folder, and how many seconds it lived.

    `decoding_too` is that of a run that found no decoded images.
    """

    words: tuple[str, ...]
    folder: Path
    seconds: float
    decoding_too: float


def start(words: tuple[str, ...], log_dir: Path, cache: Path) -> ForkProcess:
    """Start the train verb in a process, its output appended to a file."""
    log_dir.mkdir(parents=True, exist_ok=True)
    process = multiprocessing.get_context("fork").Process(
        target=_train, args=(words, log_dir / "output.txt", cache)
    )
    process.start()
    return process


def _train(words: tuple[str, ...], output: Path, cache: Path) -> None:
    with output.open("ab") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    os.environ.update(XDG_CACHE_HOME=str(cache), OMP_NUM_THREADS="1")
    torch.set_num_threads(1)
    sys.exit(strided_main(["train", *words]))


def family(pid: int) -> list[int]:
    """Return a process and all that came from it: the workers have sessions of their own."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        threads = Path(f"/proc/{pid}/task").iterdir()
        for task in threads:
            children += (task / "children").read_text().split()
    except OSError:
        return [pid]
    return [pid, *(other for child in dict.fromkeys(children) for other in family(int(child)))]


def kill(process: ForkProcess) -> None:
    """Kill a run with all its processes, at once."""
    assert process.pid is not None
    for pid in family(process.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.join()


def reached(folder: Path | None) -> str:
    """Say how far a killed run had come, by the files it left."""
    if folder is None:
        return "no config.yaml"
    last = folder / "checkpoints" / "last.ckpt"
    if not last.is_file():
        return "nothing saved"
    state = torch.load(last, weights_only=True, mmap=True)
    where = f"epoch {state['epoch']} step {state['global_step']}"
    left = [file.name for file in folder.rglob("*.tmp")]
    if (folder / "predictions.csv").is_file():
        where += ", tested"
    return f"{where}, while writing {', '.join(left)}" if left else where


def run_folder(log_dir: Path) -> Path | None:
    """Return the newest run folder that can be resumed."""
    found = sorted(log_dir.glob("train/*/*/config.yaml"), key=lambda file: file.stat().st_mtime)
    return found[-1].parent if found else None


def differences(one: Path, two: Path) -> list[str]:
    """Return what is not the same in two finished run folders."""
    found = []
    for name in ("best.ckpt", "last.ckpt"):
        first, second = (
            torch.load(f / "checkpoints" / name, weights_only=True) for f in (one, two)
        )
        for part in ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers"):
            if not same(first.get(part), second.get(part)):
                found.append(f"{name} {part}")
    for what in (rows, test_results, predictions):
        if what(one) != what(two):
            found.append(what.__name__)
    return found


def same(one: Any, two: Any) -> bool:
    """Compare nested dicts and lists of tensors and numbers, bit for bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(two, torch.Tensor) and torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    return bool(one == two)


def rows(folder: Path) -> list[dict[str, str]]:
    """Return metrics.csv without its timing."""
    with (folder / "metrics.csv").open(newline="") as stream:
        return [{k: v for k, v in row.items() if k not in TIMING} for row in csv.DictReader(stream)]


def test_results(folder: Path) -> dict[str, Any]:
    """Return what results.json says of the end, the best epoch and the test."""
    results = json.loads((folder / "results.json").read_text())
    named = ("state", "tested", "confusion", "split_hash", "data_fingerprint")
    return {k: v for k, v in results.items() if k in named or k.startswith(("test/", "best_"))}


def predictions(folder: Path) -> bytes:
    """Return predictions.csv."""
    return (folder / "predictions.csv").read_bytes()


def finish(words: tuple[str, ...], log_dir: Path, cache: Path) -> Path | None:
    """Run to the end without a kill; return the run folder, None if it failed."""
    process = start(words, log_dir, cache)
    process.join()
    return None if process.exitcode else run_folder(log_dir)


def disturbed(
    reference: Reference, log_dir: Path, cache: Path, moments: list[float]
) -> tuple[list[tuple[float, str]], list[str]]:
    """Run a case, killing it at the moments; return what each kill met, and the differences.

    A run that has ended before its moment was not killed, and leaves nothing for later ones.
    """
    met = []
    typed = (*reference.words, f"log_dir={log_dir}")
    words = typed
    for moment in moments:
        process = start(words, log_dir, cache)
        process.join(moment)
        if not process.is_alive():
            break
        kill(process)
        stopped = run_folder(log_dir)
        words = (f"resume={stopped}",) if stopped else typed
        met.append((moment, reached(stopped) + ("" if stopped else ": started again")))
    if not met:
        return [], []
    folder = finish(words, log_dir, cache)
    if folder is None:
        return met, [f"its failure to finish: {log_dir / 'output.txt'}"]
    return met, differences(folder, reference.folder)


def main() -> int:
    """Print a line per kill and a summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--data-root", default=None, help="folder of MNIST; none: digits only")
    parser.add_argument("--folder", type=Path, default=None, help="keep the runs here")
    typed = parser.parse_args()
    draw = random.Random(typed.seed)
    print(f"seed {typed.seed}", flush=True)
    folder = typed.folder or Path(tempfile.mkdtemp(prefix="kills-"))
    names = [name for name in CASES if typed.data_root or not name.startswith("mnist")]
    references: dict[str, Reference] = {}
    exact = kills = tries = 0
    while kills < typed.kills:
        name = names[tries % len(names)]
        if name not in references:
            references[name] = reference_of(name, folder, typed.data_root)
        reference = references[name]
        fresh = draw.random() < 0.3
        life = reference.decoding_too if fresh else reference.seconds
        several = min(draw.choice((1, 1, 2)), typed.kills - kills)
        moments = [draw.uniform(0, life) for _ in range(several)]
        cache = folder / (f"cache-{tries}" if fresh else "cache")
        met, wrong = disturbed(reference, folder / f"run-{tries}", cache, moments)
        tries += 1
        outcome = "bit-identical" if not wrong else f"DIFFERS in {', '.join(wrong)}"
        for moment, where in met:
            kills += 1
            exact += not wrong
            print(f"{kills:3}  {name:31} {moment:5.1f} s  {where:42} {outcome}", flush=True)
    print(f"{exact} of {kills} bit-identical; runs in {folder}")
    return int(exact < kills)


def reference_of(name: str, folder: Path, data_root: str | None) -> Reference:
    """Run a case without a kill, twice: the second time the images are decoded."""
    words = CASES[name]
    if name.startswith("mnist"):
        words = (*words, f"data.root={data_root}")
    runs, seconds = [], []
    for log_dir in (folder / f"{name.replace(' ', '-')}-{which}" for which in ("first", "second")):
        started = time.perf_counter()
        runs.append(finish((*words, f"log_dir={log_dir}"), log_dir, folder / "cache"))
        seconds.append(time.perf_counter() - started)
    first, second = runs
    if first is None or second is None or differences(first, second):
        raise SystemExit(f"{name}, left alone, {'differs' if first else 'fails'}: see {folder}")
    print(f"{name}: {seconds[0]:.1f} s, {seconds[1]:.1f} s with decoded images", flush=True)
    return Reference(words, second, seconds[1], max(seconds))


if __name__ == "__main__":
    sys.exit(main())
