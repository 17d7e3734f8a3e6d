"""Completion of words: what is offered, and the shells that ask for it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from strided.cli import main
from strided.completion import matches
from strided.config.yaml_files import CONF_DIR
from strided.verbs.table import VERBS

ROOT = CONF_DIR.parent
LAUNCHER = ROOT / "src" / "train.py"


@pytest.fixture(autouse=True)
def no_word_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMP_WORDBREAKS", raising=False)


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("strided ", list(VERBS)),
        ("strided tr", ["train"]),
        ("strided train model=le", ["model=lenet5", "model=lenet5_original"]),
        ("python src/train.py model=le", ["model=lenet5", "model=lenet5_original"]),
        (".venv/bin/python3 src/eval.py split", ["split="]),
        ("strided train model=resnet_cifar trainer.max_e", ["trainer.max_epochs="]),
        ("strided train -m seed=0,1 hydra/laun", ["hydra/launcher="]),
        ("strided train hydra/laun", []),
        ("strided train name='a b' see", ["seed="]),
        ("strided train name='a b", []),
        ("strided train nonsense=1 see", []),
        ("strided nonsense see", []),
        ("strided train --config-name ", []),
    ],
)
def test_the_words_that_may_follow(line: str, offered: list[str]) -> None:
    assert matches(line) == offered


def test_bash_gets_only_what_follows_the_sign_that_ends_a_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COMP_WORDBREAKS", " =:")
    assert matches("strided train model=lenet5_o") == ["lenet5_original"]


def test_own_options_are_offered_and_nothing_that_a_shell_would_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    (tmp_path / "model").mkdir()
    for name, value in (("odd", "$(id)"), ("leaky", "${oc.env:WANDB_API_KEY}"), ("fair", "tanh")):
        text = f"_target_: strided.models.LeNet5\nactivation: '{value}'\n"
        (tmp_path / "model" / f"{name}.yaml").write_text(text)
    line = f"strided train --config-dir {tmp_path} model="
    assert matches(f"{line}fai") == ["model=fair"]
    assert matches(f"{line}fair model.activation=") == ["model.activation=tanh"]
    assert matches(f"{line}odd model.activation=") == []
    assert matches(f"{line}leaky model.activation=") == []


def test_an_unknown_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["install=tcsh"], ["bash"], []):
        assert main(["-sc", *words]) == 1
        assert "Try eval" in capsys.readouterr().err


ASK = {
    "bash": """ask() {
    COMP_LINE="$1" COMP_POINT=${#1}; COMPREPLY=(); _strided; echo "${COMPREPLY[*]}"; }""",
    "zsh": """ask() {
    emulate -L sh; COMP_LINE="$1" COMP_POINT=${#1}; COMPREPLY=(); _strided; echo "${COMPREPLY[*]}"
}""",
    "fish": """function ask
    echo (complete -C $argv[1])
end""",
}


@pytest.mark.parametrize("shell", ASK)
def test_a_shell_completes_and_starts_no_other_script(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "other.py").write_text("open('ran', 'w')\n")
    made = subprocess.run(
        [sys.executable, LAUNCHER, "-sc", f"install={shell}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    asked = [f'ask "python {LAUNCHER} model=lenet5_o"', 'ask "python other.py mo"']
    done = subprocess.run(
        [shell, "-c", "\n".join([made.stdout, ASK[shell], *asked])],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    first, second = done.stdout.splitlines()
    assert first in ("model=lenet5_original", "lenet5_original"), done.stderr
    assert not second.strip()
    assert not (tmp_path / "ran").exists()
