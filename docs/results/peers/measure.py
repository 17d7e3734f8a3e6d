"""How fast strided trains beside timm's and torchvision's own scripts, in alternating rounds.

    git clone https://github.com/huggingface/pytorch-image-models elsewhere/timm
    git clone https://github.com/pytorch/vision elsewhere/vision
    python docs/results/peers/measure.py <folder of cifar10.zip and flowers.zip> peers.json \
        --timm elsewhere/timm/train.py \
        --torchvision elsewhere/vision/references/classification/train.py

Nothing of these scripts is here: they are started as their documentation says, with this Python and
its packages, on as many threads as this process has cores (`taskset -c 0 python ...`: one). All
tools read the same folder of JPEGs, with the same network, batch size, precision, optimizer and
augmentation. Networks train for two epochs; the second is measured, in images a second. A frozen
network trains for ten; the whole process is measured, in seconds. The commands are printed and kept
in the JSON, with every round and what makes the tools unequal.
"""

import argparse
import json
import os
import re
import resource
import shlex
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from dataclasses import asdict, dataclass, replace
from datetime import date
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

from tasks import COMMANDS, ROWS, Row

from strided.runs.metrics_csv import read_rows
from strided.system.machine import cores

ROOT = Path(__file__).parents[3]
THREADS = cores()
# of strided's results.json
KEPT = ("git", "versions", "hardware", "data_fingerprint", "splits", "parameters", "macs")
STEPS = {  # a line of the log after each step of the second epoch
    "timm": re.compile(r"Train: 1 \[ *(\d+)/"),
    "torchvision": re.compile(r"^Epoch: \[1\] +\[ *(\d+)/"),
}


@dataclass(frozen=True)
class Run:
    """A finished process: `lines` with the seconds of their arrival."""

    seconds: float
    cpu_seconds: float
    lines: list[tuple[float, str]]


def write_images(archive: Path, row: Row, folder: Path) -> Path:
    """Write the first images of each class to train/, and a batch of the test each to val/, test/.

    Raises SystemExit where the archive is not there.
    """
    images = folder / f"{row.data_set}-{row.images}"
    if images.exists():
        return images
    if not archive.exists():
        raise SystemExit(f"no {archive}; expected a zip of train/<class>/ and test/<class>/")
    few = row.batch // row.classes
    seen: Counter[tuple[str, str]] = Counter()
    with zipfile.ZipFile(archive) as opened:
        for name in sorted(one for one in opened.namelist() if one.endswith(".jpg")):
            part, label, file = Path(name).parts[-3:]
            count, most = seen[part, label], {"train": row.images, "test": 2 * few}.get(part, 0)
            seen[part, label] += 1
            if count < most:
                split = "val" if part == "test" and count < few else part
                (images / split / label).mkdir(parents=True, exist_ok=True)
                (images / split / label / file).write_bytes(opened.read(name))
    return images


def run(command: list[str], folder: Path) -> Run:
    """Run a command to its end in a folder. Raises SystemExit with its last lines if it fails."""
    print("$", shlex.join(command), flush=True)
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS), "PYTHONUNBUFFERED": "1"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    before, start = cpu_seconds(), time.perf_counter()
    with subprocess.Popen(command, cwd=folder, env=environment, **pipes) as process:
        lines = [(time.perf_counter() - start, line) for line in process.stdout or ()]
    seconds = time.perf_counter() - start
    if process.returncode:
        last = "".join(line for _, line in lines[-20:])
        raise SystemExit(f"{last}\nexit code {process.returncode} of {shlex.join(command)}")
    return Run(seconds, cpu_seconds() - before, lines)


def cpu_seconds() -> float:
    """Seconds of processor of all processes that have ended, with their own."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def figure(tool: str, row: Row, done: Run, out: Path) -> float:
    """Images a second of the second epoch; of a frozen network the seconds of the process."""
    if row.frozen:
        return done.seconds
    if tool == "strided":
        return float(read_rows(next(out.rglob("metrics.csv")))[1]["images_per_second"])
    found = [(at, STEPS[tool].search(line)) for at, line in done.lines]
    steps = [(at, int(step[1])) for at, step in found if step]
    (start, first), (end, last) = steps[0], steps[-1]
    return row.batch * (last - first) / (end - start)


def one_run(tool: str, row: Row, images: Path, source: Path, folder: Path) -> dict[str, Any] | None:
    """Run a tool once; None for what it does not do."""
    with tempfile.TemporaryDirectory(dir=folder) as made:
        out = Path(made)
        command = COMMANDS[tool](row, images, out, source)
        if command is None:
            return None
        done = run(command, out)
        told: dict[str, Any] = {
            "figure": round(figure(tool, row, done, out), 2),
            "seconds": round(done.seconds, 2),
            "cpu_seconds": round(done.cpu_seconds, 2),
            "command": shown(
                command, {str(out): "OUT", str(folder): "WORK", str(source): f"${tool.upper()}"}
            ),
        }
        if (out / "config.yaml").exists():
            told["config.yaml"] = (out / "config.yaml").read_text()
        if tool == "strided":
            results = json.loads(next(out.rglob("results.json")).read_text())
            told["results"] = {key: results.get(key) for key in KEPT}
    return told


def shown(command: list[str], names: dict[str, str]) -> str:
    """The command with short names for the places of this machine."""
    text = shlex.join(command).replace(sys.executable, "python").replace(f"{ROOT}/", "")
    for place, name in names.items():
        text = text.replace(place, name)
    return text


def measured(
    row: Row, data: Path, sources: dict[str, Path], rounds: int, folder: Path
) -> dict[str, Any]:
    """All rounds of a row, each begun by another tool, and their ratios."""
    images = write_images(data / f"{row.data_set}.zip", row, folder)
    tools, found = list(sources), []
    for turn in range(rounds):
        load, first = os.getloadavg()[0], turn % len(tools)
        told: dict[str, Any] = {"load_average": round(load, 2)}
        for tool in tools[first:] + tools[:first]:
            if one := one_run(tool, row, images, sources[tool], folder):
                told[tool] = one
                print(f"{tool}: {one['figure']}", flush=True)
        found.append(told)
    unit = "seconds of the process" if row.frozen else "images a second of the second epoch"
    return {"unit": unit, "task": asdict(row), "ratios": ratios(row, found), "rounds": found}


def ratios(row: Row, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """How many times as fast strided is as each peer, round by round."""
    found: dict[str, Any] = {}
    for tool in STEPS:
        pairs = [(one["strided"]["figure"], one[tool]["figure"]) for one in rounds if tool in one]
        each = [round(b / a if row.frozen else a / b, 3) for a, b in pairs]
        if each:
            spread = {"median": median(each), "lowest": min(each), "highest": max(each)}
            found[tool] = {"rounds": each, **spread}
    return found


def table(rows: dict[str, Any]) -> str:
    """The medians as Markdown, with the range of the ratios."""
    head = ["", *COMMANDS, *(f"of {tool}" for tool in STEPS)]
    lines = [head, ["---"] * len(head)]
    for name, row in rows.items():
        cells = [name]
        for tool in COMMANDS:
            each = [one[tool]["figure"] for one in row["rounds"] if tool in one]
            cells.append(f"{median(each):,.1f}" if each else "")
        for tool in STEPS:
            ratio = row["ratios"].get(tool)
            text = "**{median:.2f}** ({lowest:.2f} to {highest:.2f})"
            cells.append(text.format(**ratio) if ratio else "")
        lines.append(cells)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def typed() -> argparse.Namespace:
    """What was typed; paths are made absolute, as the tools run in folders of their own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("data", type=Path, help="folder of cifar10.zip and flowers.zip")
    parser.add_argument("out", type=Path, help="the JSON that is written")
    parser.add_argument("--timm", type=Path, help="its train.py")
    parser.add_argument("--torchvision", type=Path, help="its references/classification/train.py")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, help="of a class in training, for a trial")
    return parser.parse_args()


def main() -> None:
    """Measure the rows, write the JSON after each, and print the table."""
    args = typed()
    scripts = {tool: Path(file).resolve() for tool in STEPS if (file := vars(args)[tool])}
    told: dict[str, Any] = {
        "date": date.today().isoformat(),
        "threads": THREADS,
        "sha256": {tool: sha256(file.read_bytes()).hexdigest() for tool, file in scripts.items()},
        "rows": {},
    }
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        sources = {"strided": folder / "cache", **scripts}
        for name in args.rows:
            row = replace(ROWS[name], images=args.images or ROWS[name].images)
            told["rows"][name] = measured(row, args.data.resolve(), sources, args.rounds, folder)
            args.out.write_text(json.dumps(told, indent=1) + "\n")
    print(table(told["rows"]))


if __name__ == "__main__":
    main()
