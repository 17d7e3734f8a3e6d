"""From the start of a command to the first training step: strided beside timm and torchvision.

    python docs/results/peers/first_step.py <folder of cifar10.zip> first_step.json \
        --timm elsewhere/timm/train.py \
        --torchvision elsewhere/vision/references/classification/train.py

ResNet-18 on CIFAR-10 as in measure.py: all tools read one folder of 50,000 JPEGs, whose store
strided has filled before. `bare` makes the network and an optimizer with torch and torchvision, and
has no data. `--before` is another checkout of strided. Each round begins with another tool. wandb,
which timm's script imports where it is installed, is hidden from the scripts.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

from measure import ROOT, THREADS, shown, write_images
from tasks import COMMANDS, ROWS

ROW = replace(ROWS["resnet18_32px_float32"], images=5000, batch=64)
BARE = """
import torch, torchvision
network = torchvision.models.resnet18(num_classes=10)
torch.optim.SGD(network.parameters(), lr=0.01)
network(torch.zeros(64, 3, 32, 32))
"""
OURS = ("strided", "before")
UNTIL = Path(__file__).with_name("until_first_step.py")


def commands(args: argparse.Namespace, images: Path, folder: Path) -> dict[str, list[str]]:
    """The command of each tool; the scripts write where they are told."""
    (folder / "bare.py").write_text(BARE)
    sources = {"strided": folder / "cache", "timm": args.timm, "torchvision": args.torchvision}
    found = {"bare": [sys.executable, str(folder / "bare.py")]}
    for tool, source in sources.items():
        if source:
            (folder / tool).mkdir()
            found[tool] = COMMANDS[tool](ROW, images, folder / tool, source.resolve()) or []
    if args.before:
        python, script, *words = found["strided"]
        script = script.replace(str(ROOT), str(args.before.resolve()))
        found["before"] = [python, script, *words]
    return found


def first_step(command: list[str], is_ours: bool) -> dict[str, float]:
    """Run a command until its first training step. Raises SystemExit if it has none."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS), "BEGAN": str(time.time())}
    environment |= {} if is_ours else {"HIDDEN": "wandb"}
    python, *words = command
    done = subprocess.run(
        [python, str(UNTIL), *words], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{done.stdout[-2000:]}{done.stderr[-2000:]}")
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


def measured(tools: dict[str, list[str]], rounds: int) -> list[dict[str, Any]]:
    """All rounds, each begun by another tool, with the load of the machine at its start."""
    names, found = list(tools), []
    for turn in range(-1, rounds):  # the first one fills the store, and caches of files and modules
        told: dict[str, Any] = {"load_average": round(os.getloadavg()[0], 2)}
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            told[name] = first_step(tools[name], name in OURS)
        if turn >= 0:
            found.append(told)
            print(json.dumps(told), flush=True)
    return found


def typed() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("data", type=Path, help="folder of cifar10.zip")
    parser.add_argument("out", type=Path, help="the JSON that is written")
    parser.add_argument("--timm", type=Path, help="its train.py")
    parser.add_argument("--torchvision", type=Path, help="its references/classification/train.py")
    parser.add_argument("--before", type=Path, help="another checkout of strided")
    parser.add_argument("--rounds", type=int, default=7)
    return parser.parse_args()


def told(
    args: argparse.Namespace,
    tools: dict[str, list[str]],
    folder: Path,
    rounds: list[dict[str, Any]],
) -> dict[str, Any]:
    """What the JSON says: commands with short names for places, medians, and all rounds."""
    scripts = {tool: file for tool in ("timm", "torchvision") if (file := vars(args)[tool])}
    places = {str(folder): "WORK"} | {str(p.resolve()): f"${t.upper()}" for t, p in scripts.items()}
    places |= {str(args.before.resolve()): "$BEFORE"} if args.before else {}
    return {
        "threads": THREADS,
        "sha256": {tool: sha256(file.read_bytes()).hexdigest() for tool, file in scripts.items()},
        "commands": {tool: shown(words, places) for tool, words in tools.items()},
        "medians": {
            tool: {k: round(median(one[tool][k] for one in rounds), 2) for k in rounds[0][tool]}
            for tool in tools
        },
        "rounds": rounds,
    }


def main() -> None:
    """Measure all rounds, write the JSON and print the medians."""
    args = typed()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        images = write_images(args.data.resolve() / "cifar10.zip", ROW, folder)
        tools = commands(args, images, folder)
        found = told(args, tools, folder, measured(tools, args.rounds))
        args.out.write_text(json.dumps(found, indent=1) + "\n")
        print(json.dumps(found["medians"], indent=1))


if __name__ == "__main__":
    main()
