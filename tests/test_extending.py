"""docs/extending.md, run as it stands there: files written, commands typed."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import strided

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text("utf-8")
FILE = re.compile(r"```(?:python|yaml)\n# (mine/\S+)\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"^python src/(\w+)\.py (.*)$", re.MULTILINE)


def write_files(folder: Path) -> None:
    for name, content in FILE.findall(PAGE):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    y, x = np.mgrid[:24, :24] - 11.5
    masks = [np.maximum(abs(y), abs(x)) < 8, y**2 + x**2 < 64]
    labels = np.arange(120) % 2
    noise = np.random.default_rng(0).integers(0, 60, (120, 24, 24))
    images = np.stack([masks[label] * 180 for label in labels]) + noise
    np.savez(folder / "mine" / "shapes.npz", images=images.astype(np.uint8), labels=labels)


def typed(folder: Path, verb: str, words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "src" / f"{verb}.py"), *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": "mine"},
        capture_output=True,
        text=True,
    )


def test_what_the_page_shows_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path)
    assert len(FILE.findall(PAGE)) == 4
    commands = [(verb, shlex.split(words)) for verb, words in COMMAND.findall(PAGE)]
    assert [verb for verb, _ in commands] == ["train", "train", "eval"]
    run = Path()
    for verb, words in commands:
        words = [word.replace("logs/train/mine/<date_time>", str(run)) for word in words]
        done = typed(tmp_path, verb, [*words, "log_dir=logs"])
        assert done.returncode == 0, done.stdout + done.stderr
        run = next(iter((tmp_path / "logs" / "train").glob("mine/*")), Path())
    assert json.loads((run / "results.json").read_text())["classes"] == ["square", "disc"]

    misspelt = typed(
        tmp_path, "train", ["--config-dir", "mine", "model=tiny", "model.widht=8", "trust=[tiny]"]
    )
    assert "Did you mean width?" in misspelt.stderr
    untrusted = typed(tmp_path, "train", ["--config-dir", "mine", "model=tiny"])
    assert "trust=[tiny]" in untrusted.stderr
    offered = typed(tmp_path, "train", ["--config-dir", "mine", "--help"])
    assert "tiny" in offered.stdout and "shapes" in offered.stdout

    monkeypatch.syspath_prepend(str(tmp_path / "mine"))
    image = np.load(tmp_path / "mine" / "shapes.npz")["images"][0]
    (predicted,) = strided.load(str(run), trust=["tiny"])([image])  # type: ignore[misc]
    assert predicted.probabilities.keys() == {"square", "disc"}
