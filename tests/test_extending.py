"""docs/extending.md, run as it stands there: files written, commands typed."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import strided
from strided.cli import main
from strided.config.yaml_files import CONF_DIR

ROOT = CONF_DIR.parent
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


def test_what_the_page_shows_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(tmp_path)
    assert len(FILE.findall(PAGE)) == 6
    monkeypatch.chdir(tmp_path)
    commands = [(verb, shlex.split(words)) for verb, words in COMMAND.findall(PAGE)]
    assert [verb for verb, _ in commands] == ["train", "train", "train", "eval", "train"]
    done = subprocess.run(  # the first as it is typed, the others in this process
        [sys.executable, str(ROOT / "src" / "train.py"), *commands[0][1], "log_dir=logs"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    run = Path()
    for verb, words in commands[1:]:
        words = [word.replace("logs/train/mine/<date_time>", str(run)) for word in words]
        assert main([verb, *words, "log_dir=logs"]) == 0
        (run,) = (tmp_path / "logs" / "train").glob("mine/*")
    assert json.loads((run / "results.json").read_text())["classes"] == ["square", "disc"]

    def said(*words: str, code: int) -> str:
        capsys.readouterr()
        assert main(["train", "--config-dir", "mine", *words]) == code
        output = capsys.readouterr()
        return output.err if code else output.out

    misspelt = said("model=tiny", "model.widht=8", "trust=[tiny]", code=1)
    assert "Did you mean width?" in misspelt
    assert "trust=[tiny]" in said("model=tiny", code=1)
    offered = said("--help", code=0)
    assert "tiny" in offered and "shapes" in offered

    image = np.load(tmp_path / "mine" / "shapes.npz")["images"][0]
    (predicted,) = strided.load(str(run), trust=["tiny"], config_dir="mine")([image])  # type: ignore[misc]
    assert predicted.probabilities.keys() == {"square", "disc"}
