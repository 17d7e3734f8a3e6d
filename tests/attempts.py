"""What a stranger's file may try (docs/security.md): shared by the files test_attacks_*.py.

An attempt writes a file as somebody else may have made it and returns what a user would type about
it. The command has to end as a user's mistake ends: exit code 1, words that help, nothing that ran,
nothing written.
"""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tests.conftest import files

from strided.cli import main

SMALL = ("trainer=cpu", "debug=fast_dev_run")
MARKER = "{marker}"
Change = Callable[[dict[str, Any]], object]


@dataclass(frozen=True)
class Scene:
    """theirs: the stranger's files. marker: what their code would leave. run: a finished run."""

    theirs: Path
    marker: Path
    run: Path

    def write(self, name: str, content: str | bytes) -> Path:
        """Write one of the stranger's files."""
        file = self.theirs / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def experiment(self, node: dict[str, Any], package: str = "_global_") -> list[str]:
        """Write an experiment YAML; return what runs it."""
        text = f"# @package {package}\n" + yaml.safe_dump(node, sort_keys=False)
        self.write("conf/experiment/theirs.yaml", text)
        return ["train", "--config-dir", str(self.theirs / "conf"), "experiment=theirs", *SMALL]

    def resumed(self, change: Change) -> list[str]:
        """Copy the run and change its config.yaml; return what resumes it."""
        folder = shutil.copytree(self.run, self.theirs / "run")
        config = yaml.safe_load((folder / "config.yaml").read_text())
        change(config)
        (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        return ["train", f"resume={folder}", "trainer.max_epochs=3"]

    def checkpoint(self, change: Change, *, name: str = "theirs.ckpt") -> list[str]:
        """Write the run's checkpoint, changed; return what measures it."""
        content = torch.load(self.run / "checkpoints" / "best.ckpt", weights_only=True)
        change(content)
        torch.save(content, self.theirs / name)
        return ["eval", f"checkpoint={self.theirs / name}"]


Attempt = tuple[Callable[[Scene], list[str]], str]  # with words of the answer
ATTEMPTS: dict[str, dict[str, Attempt]] = {}  # by the module that adds them


def attempts(
    name: str, says: str, cases: Iterable[Any] = ("",)
) -> Callable[[Callable[..., list[str]]], Callable[..., list[str]]]:
    """Add a function of (a case, the scene) for each case; it returns what the user types.

    The attempt has to be answered by words with `says` in them.
    """

    def add(make: Callable[..., list[str]]) -> Callable[..., list[str]]:
        of_file = ATTEMPTS.setdefault(make.__module__, {})
        for case in cases:
            full = f"{name}: {case}"
            assert full not in of_file, full
            of_file[full] = partial(make, case), says
        return make

    return add


def refused(module: str) -> Callable[..., None]:
    """Return the test that each attempt which a module has added is refused."""

    @pytest.mark.parametrize("name", ATTEMPTS[module])
    def test(
        name: str,
        tmp_path: Path,
        trained_run: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        for folder in ("theirs", "here"):
            (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / "here")
        scene = Scene(tmp_path / "theirs", tmp_path / "marker", trained_run)
        _check_refused(ATTEMPTS[module][name], scene, capsys, tmp_path / "logs")

    return test


def _check_refused(
    attempt: Attempt, scene: Scene, capsys: pytest.CaptureFixture[str], logs: Path
) -> None:
    """Run an attempt; fail unless it ends as a user's mistake ends."""
    make, says = attempt
    words = make(scene)
    if "resume=" not in " ".join(words):
        words.append(f"log_dir={logs}")
    theirs = files(scene.theirs)
    code, answer = main(words), capsys.readouterr().err
    print(answer)
    assert code == 1
    assert answer.startswith("error: ") and says in answer and len(answer.splitlines()) <= 15
    assert "traceback=true" not in answer, "taken for a fault of strided, not of the file"
    assert not scene.marker.exists()
    assert not files(Path.cwd())
    assert "config.yaml" not in files(scene.theirs) - theirs


def put(place: str, node: Any) -> Change:
    """Return a function that sets `a.b.c` of a config."""

    def change(config: dict[str, Any]) -> None:
        *above, last = place.split(".")
        for key in above:
            config = config.setdefault(key, {})
        config[last] = node

    return change
