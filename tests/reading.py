"""What the tests of train read back from a run folder."""

import csv
import json
from pathlib import Path
from typing import Any

import torch


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def results(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return loaded


def run_log(folder: Path) -> str:
    return (folder / "run.log").read_text()


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(
        folder / "checkpoints" / "last.ckpt", weights_only=True
    )["state_dict"]
    return state


def only_run(log_dir: Path) -> Path:
    (folder,) = log_dir.glob("train/*/*")
    return folder
