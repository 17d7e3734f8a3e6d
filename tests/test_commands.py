"""Every command that README, docs/, --help, the launchers and conf/ show is run, small.

`tests/documented.py` finds them. `tests/commands_place.py` makes the files that they name. Each
runs by `main`, in one process, on one batch; `tests/commands_small.py` says what that changes.
Those of large networks are slow tests.
"""

import importlib.util
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.commands_place import (
    MADE,
    PLACEHOLDERS,
    write_all_weights,
    write_data,
    write_files_of_pages,
    write_pictures,
    write_runs,
)
from tests.commands_small import smaller
from tests.documented import FENCE, PAGES, ROOT, STRIDED, shown

import strided
from strided.cli import main
from strided.config.overrides import normalise
from strided.config.yaml_files import CONF_DIR
from strided.evaluation.classifier import Classifier
from strided.explain import attribution
from strided.flags import parse
from strided.sweeps.experiments import plain_vs_residual
from strided.sweeps.search import search, worker
from strided.verbs.table import VERBS

pytestmark = pytest.mark.usefixtures("blank_figures")

# Commands that are not run, by how they begin or a word that they have, with the reason.
NOT_RUN = {
    "git clone": "needs a network",
    "cd ": "belongs to the shell",
    "cp ": "belongs to the shell",
    "mkdir ": "belongs to the shell",
    "chown ": "belongs to the shell",
    "chmod ": "belongs to the shell",
    "docker-compose ": "needs a container engine; test_container.py reads its file",
    "source ": "belongs to the shell",
    "pip install": "needs a network; test_wheel.py installs strided",
    "wandb sweep": "needs an account",
    "wandb agent": "needs an account",
    "wandb sync": "needs an account",
    "tensorboard --logdir": "a server that does not end",
    "mlflow ui": "a server that does not end, of the full mlflow package",
    "torchrun": "needs several machines; jobs/test_launching.py starts two agents",
    "srun": "needs SLURM; jobs/test_launching.py sets its variables",
    "trainer=ddp ": "needs GPUs",
    '"data.fold=range(5)" data=csv': "verbs/test_folds.py runs folds of a table",
    'src/compare.py "pool=': "compare/test_pool.py pools folds",
    "trainer=gpu": "needs GPUs",
    "openvino=true": "wants a process of its own; export/test_export.py starts one",
    "gate=registry/digits": "needs a version that answers; export/test_export.py has one",
    "trainer=ddp_cpu": "starts processes of its own; jobs/test_launching.py does it",
    "src/serve.py": "a server that does not end; service/test_predict.py asks one",
    "docker run": "needs a container engine",
    "data.extra=labels/labels.csv": "needs what people decided; service/test_loop.py runs it",
    "src/audit.py": "needs the state of a service; audit/test_checking.py has one",
    "src/keys.py": "needs the state of a service; service/test_access.py has one",
    "curl ": "asks a server; service/test_predict.py asks one",
    "compile=true": "needs a C++ compiler and minutes; training/test_execution.py compiles",
    "logger.mlflow.tracking_uri=http": "needs a server; loggers/test_mlflow_logger.py has one",
}
# What makes a command take seconds on one batch: networks of 224 pixels, benchmarks, many jobs.
# `make slow` runs these, except most of the README; `make test` only composes them.
LARGE = re.compile(
    "alexnet|vgg|googlenet|inception|densenet|resnet50|vit_|two_stage|pooled=|experiment=xray|"
    "transfer_vs_scratch|plain_vs_residual|mlp_vs_cnn|logger=.wandb,mlflow|benchmark.py .*model|"
    "benchmark.py .*repeats|trainer.max_epochs=8"
)
COMMANDS = shown()
EXPERIMENTS = [  # those that no page shows
    f"python src/train.py experiment={file.stem}"
    for file in sorted(CONF_DIR.glob("experiment/*.yaml"))
    if not any(f"experiment={file.stem} " in f"{command} " for command in COMMANDS)
]
OF_STRIDED = [*(command for command in COMMANDS if STRIDED.search(command)), *EXPERIMENTS]


def reason(command: str) -> str | None:
    """Why a command is not run; None if it is."""
    return next((NOT_RUN[part] for part in NOT_RUN if f" {part}" in f" {command} "), None)


def is_slow(command: str) -> bool:
    """Whether `make slow` runs a command, in place of `make test`."""
    small = "README.md" in COMMANDS.get(command, ()) and "benchmark" not in command
    return bool(LARGE.search(command)) and not small


def words_of(command: str) -> tuple[str, list[str]]:
    """The verb and the words of a command of strided, with what placeholders stand for."""
    for word, meaning in sorted(PLACEHOLDERS.items(), reverse=True):
        command = command.replace(word, meaning)
    assert "<" not in command, f"PLACEHOLDERS does not say what is meant in {command}"
    match = STRIDED.search(command)
    assert match, command
    words = [word for word in shlex.split(match[3] or "") if word != "..."]
    return match[1] or match[2], words


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, trained_run: Path) -> Iterator[Path]:
    """The current directory of the commands, with all that they name."""
    folder = tmp_path_factory.mktemp("shown") / "strided"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TORCH_HOME", str(folder / "torch"))
        patch.setattr(plain_vs_residual, "AT_START", (8, 14))  # not 1,202 layers
        patch.setattr(attribution, "STEPS", (4,))  # of the integral
        patch.setattr(attribution, "PATCHES", 4)  # of occlusion, along a side
        patch.setattr(worker, "stop_with_parent", lambda parent: None)
        patch.setattr(search, "start_worker", work_here)
        write_data(folder / "data")
        (folder.parent / "shared").mkdir()
        (folder.parent / "shared" / "data").symlink_to(folder / "data")
        write_pictures(folder)
        write_files_of_pages(folder)
        write_runs(trained_run)
        yield folder


@pytest.fixture(scope="module")
def large_weights(place: Path) -> None:
    """What the commands of large networks load."""
    write_all_weights(place, place / "torch")


def work_here(message: str, number: int, lock: int | None) -> "subprocess.Popen[bytes]":
    """Stands for the start of a search's worker: this process does its trials."""
    assert worker.main(message) == 0
    return subprocess.Popen(["true"])


def different() -> list[str]:
    """The commands that are run, one of those that are the same but for where the data lie."""
    found: dict[tuple[str, ...], str] = {}
    for command in OF_STRIDED:
        if not reason(command):
            verb, words = words_of(command)
            small = {*smaller(verb, words)} - {"data.root=data"}
            found.setdefault((verb, *sorted(small)), command)
    return list(found.values())


@pytest.mark.parametrize(
    "command",
    [pytest.param(c, marks=pytest.mark.slow if is_slow(c) else ()) for c in different()],
    ids=str,
)
def test_the_command_runs(command: str, place: Path, request: pytest.FixtureRequest) -> None:
    if is_slow(command):
        request.getfixturevalue("large_weights")
    torch.set_num_threads(1)
    before = set(place.glob("logs/**/results.json"))
    verb, words = words_of(command)
    assert main([verb, *smaller(verb, words)]) == 0
    for file in set(place.glob("logs/**/results.json")) - before:
        assert json.loads(file.read_text())["state"] == "finished"


PYTHON = [
    block
    for page in PAGES
    for language, block in FENCE.findall(page.read_text("utf-8"))
    if language == "python" and "import strided\n" in block
]


@pytest.mark.parametrize("block", PYTHON)
def test_the_python_of_the_pages_runs(block: str, place: Path) -> None:
    named: dict[str, Any] = {}
    block = block.replace('max_epochs=3"', 'max_epochs=3", "log_dir=logs"')
    exec(block.replace("<date_time>", PLACEHOLDERS["<date_time>"]), named)
    assert isinstance(named["classifier"], Classifier)
    assert named.get("results", {"state": "finished"})["state"] == "finished"


@pytest.mark.parametrize("command", [c for c in OF_STRIDED if reason(c) or is_slow(c)])
def test_a_command_of_strided_that_is_not_run_composes(command: str) -> None:
    verb, words = words_of(command)
    typed = parse(verb, words)
    if typed.multirun:
        assert normalise(verb, typed.words, multirun=True)
    else:
        assert strided.compose(verb, typed.words)


def test_other_commands_name_what_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for command in set(COMMANDS) - set(OF_STRIDED):
        program, *words = shlex.split(command)
        if program == "make":
            assert words[0] in targets, command
            files = [word for word in words if word.startswith("ARGS=tests/")]
            assert all((ROOT / word.removeprefix("ARGS=")).exists() for word in files), command
        elif program == "python" and words[0] == "-m":
            assert importlib.util.find_spec(words[1]), command
        elif program == "python":
            code = words[1] if words[0] == "-c" else (ROOT / words[0]).read_text("utf-8")
            compile(code, words[0], "exec")
        else:
            assert reason(command), f"NOT_RUN has no reason for {command}"


def test_each_reason_belongs_to_a_command() -> None:
    for part in NOT_RUN:
        assert any(f" {part}" in f" {command} " for command in COMMANDS), part


def test_the_readme_shows_each_verb() -> None:
    in_readme = [c for c, files in COMMANDS.items() if "README.md" in files and STRIDED.search(c)]
    assert {words_of(command)[0] for command in in_readme} == set(VERBS)
    assert MADE in " ".join(in_readme)
