"""Files that a stranger changed: a message says what is wrong, and nothing reaches the terminal."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from strided.cli import main
from strided.errors import one_line, printable
from strided.explain.inputs import safe_names

pytestmark = pytest.mark.usefixtures("blank_figures")

ESCAPES = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202egnp.\u2066\x00\x7f\r"


def test_no_control_character_is_printable_and_tabs_and_newlines_stay() -> None:
    shown = printable(f"a\tb\n{ESCAPES}é日🙂")
    assert shown.startswith(
        "a\tb\n\\x1b[2J\\x1b]0;owned\\x07\\x9b31m\\u202egnp.\\u2066\\x00\\x7f\\r"
    )
    assert shown.endswith("é日🙂")
    assert one_line(shown) == shown.replace("\t", r"\t").replace("\n", r"\n")
    every = {chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))} - {"\t", "\n"}
    assert not any(printable(character) == character for character in every)


def test_names_of_files_and_classes_do_not_reach_the_terminal(
    tmp_path: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = "\x1b[2J\u202ea\x07\tb\nc"
    for name in (odd, "=b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(8):
            picture = Image.new("RGB", (8, 8), (index * 9, 99 * (name == odd), 0))
            picture.save(tmp_path / "images" / name / f"{odd}{index}.png")
    words = ["data=image_folder", f"data.root={tmp_path / 'images'}", "data.image_size=8",
             "model=mlp", "trainer=cpu", "trainer.max_epochs=1", f"log_dir={log_dir}"]  # fmt: skip
    assert main(["train", *words, "loss.class_weights=auto", "name=run"]) == 0
    (run,) = log_dir.glob("train/run/*")
    file = tmp_path / "images" / odd / f"{odd}0.png"
    for verb in ("predict", "explain"):
        assert main([verb, f"checkpoint={run}", f"input={file}", f"log_dir={log_dir}"]) == 0
    (tmp_path / "images" / odd / f"{odd}0.png").write_bytes(b"broken")
    assert main(["train", *words, "name=broken"]) == 1
    said = "".join(capsys.readouterr())
    said += "".join(log.read_text() for log in log_dir.rglob("run.log"))
    assert not set(said) & {"\x1b", "\x07", "\u202e", "\t"} and "\\x1b[2J" in said
    assert r"\tb\nc 8, =b 8" in said and "b\nc" not in said
    pages = "".join(page.read_text() for page in log_dir.rglob("*.html"))
    assert "b\nc" not in pages and r"\tb\nc" in pages
    table = next(log_dir.glob("predict/*/*/predictions.csv")).read_text()
    assert odd in table and "'=b" not in table.splitlines()[0].split(",")[0]
    inside = {path.relative_to(log_dir).parts[0] for path in log_dir.rglob("*")}
    assert inside == {"train", "predict", "explain"}


def test_names_of_classes_make_names_of_files() -> None:
    odd = ["../../x", "/etc/passwd", "..", "a\0b", "con", "NUL", "x" * 300, "a\nb", "é", ""]
    names = safe_names(odd)
    assert len(set(names)) == len(odd)
    for name in names:
        assert name.replace("_", "a").replace("-", "a").isalnum() and len(name) < 60
        assert name.lower() not in ("con", "nul")


def edited(folder: Path, file: str, change: Callable[[Any], Any]) -> None:
    path = folder / file
    if file.endswith(".yaml"):
        path.write_text(yaml.safe_dump(change(yaml.safe_load(path.read_text()))))
    else:
        path.write_text(json.dumps(change(json.loads(path.read_text()))))


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("config.yaml", lambda config: {**config, "trainer": "abc"}),
        ("config.yaml", lambda config: {**config, "trainer": {}}),
        ("config.yaml", lambda config: {**config, "data": None}),
        ("config.yaml", lambda config: {**config, "callbacks": "abc"}),
        ("config.yaml", lambda config: {**config, "logger": ["abc"]}),
        ("config.yaml", lambda config: {k: v for k, v in config.items() if k != "optimizer"}),
        ("config.yaml", lambda config: {**config, "seed": "abc"}),
        ("config.yaml", lambda config: {**config, "tags": {"a": 1}}),
        ("config.yaml", lambda config: ["abc"]),
        ("results.json", lambda results: {**results, "resumed_with": "abc"}),
        ("results.json", lambda results: {**results, "command": {"a": 1}}),
        ("results.json", lambda results: {**results, "classes": "abc"}),
        ("results.json", lambda results: ["abc"]),
    ],
)
def test_a_changed_file_of_a_run_folder_is_a_mistake_that_says_what_to_try(
    file: str, change: Callable[[Any], Any], copied_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edited(copied_run, file, change)
    assert main(["train", f"resume={copied_run}", "trainer.max_epochs=3"]) == 1
    said = capsys.readouterr().err
    assert "expected" in said and "traceback=true" not in said


@pytest.mark.parametrize(
    ("key", "value"),
    [("preprocessing", {"extra": 1}), ("preprocessing", "abc"), ("data", "abc"), ("classes", 3),
     ("model", "abc"), ("scheduler", None)],
)  # fmt: skip
def test_a_changed_checkpoint_is_a_mistake_that_says_what_to_try(
    key: str, value: Any, copied_run: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = copied_run / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(file, weights_only=True)
    known = checkpoint["hyper_parameters"][key]
    merged = {**known, **value} if isinstance(known, dict) and isinstance(value, dict) else value
    checkpoint["hyper_parameters"][key] = merged
    torch.save(checkpoint, file)
    code = main(["eval", f"checkpoint={copied_run}", f"log_dir={log_dir}"])
    said = capsys.readouterr().err
    assert "traceback=true" not in said
    assert code == (0 if key == "scheduler" else 1)


def test_no_file_of_a_run_may_be_a_pipe(
    copied_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copied_run / "run.log").unlink()
    os.mkfifo(copied_run / "run.log")  # would wait for ever
    assert main(["train", f"resume={copied_run}"]) == 1
    assert "is no file" in capsys.readouterr().err
