"""`trust=` lets a package in, where it was typed and nowhere else."""

import html
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import strided
from strided.cli import main
from strided.config.targets import locate, trusting
from strided.errors import UserError

# trust

MODULE = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, num_classes: int, in_channels: int, width: int = 4) -> None:
        super().__init__(
            nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * in_channels, num_classes)
        )
"""


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of an importable module that is not on the allow-list."""
    (tmp_path / "strangers_net.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "strangers_net"
    sys.modules.pop("strangers_net", None)


def own_yaml(folder: Path, file: str, text: str) -> Path:
    """Write a YAML file into a folder for --config-dir; return that folder."""
    (folder / "own" / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / "own" / file).write_text(text)
    return folder / "own"


def test_trust_lets_its_packages_in_and_only_for_a_while(stranger: str) -> None:
    with trusting([stranger]):
        assert locate(f"{stranger}.Net", "model").__name__ == "Net"
        with pytest.raises(UserError, match="not allowed"):
            locate("os.system", "model")
    with pytest.raises(UserError, match=r"trust=\[strangers_net\]"):
        locate(f"{stranger}.Net", "model")


def test_trust_that_is_typed_counts(stranger: str, tmp_path: Path, log_dir: Path) -> None:
    own = own_yaml(tmp_path, "model/mine.yaml", f"_target_: {stranger}.Net\nwidth: 8\n")
    words = ["train", "--config-dir", str(own), f"trust=[{stranger}]", "model=mine"]
    words += ["trainer.max_epochs=1", "trainer=cpu", f"log_dir={log_dir}"]
    assert main(words) == 0
    (page,) = log_dir.glob("train/*/*/report.html")
    told = html.unescape(page.read_text())
    assert shlex.join(words[:4]).partition(" ")[2] in told  # so that it can be repeated


def test_trust_that_is_typed_in_python_counts(stranger: str, tmp_path: Path) -> None:
    config = strided.compose("train", [f"model._target_={stranger}.Net", f"trust=[{stranger}]",
                                       "~model.activation", "~model.pooling"])  # fmt: skip
    assert config["model"]["_target_"] == f"{stranger}.Net"


@pytest.mark.parametrize(
    "text",
    [
        "# @package _global_\ntrust: [strangers_net]\nmodel: {_target_: strangers_net.Net}\n",
        "# @package _global_\nmodel: {_target_: strangers_net.Net, trust: [strangers_net]}\n",
        "# @package _global_\ndefaults: [override /model: mine]\ntrust: [strangers_net]\n",
    ],
)
def test_trust_in_an_experiment_does_not_count(
    text: str,
    stranger: str,
    tmp_path: Path,
    log_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    own_yaml(tmp_path, "model/mine.yaml", f"_target_: {stranger}.Net\n")
    own = own_yaml(tmp_path, "experiment/theirs.yaml", text)
    words = ["train", "--config-dir", str(own), "experiment=theirs", f"log_dir={log_dir}"]
    assert main(words) == 1
    assert "not allowed" in capsys.readouterr().err
    assert stranger not in sys.modules


def test_trust_in_the_config_of_a_run_does_not_count(
    stranger: str, copied_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = yaml.safe_load((copied_run / "config.yaml").read_text())
    config.update(model={"_target_": f"{stranger}.Net"}, trust=[stranger])
    (copied_run / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["train", f"resume={copied_run}"]) == 1
    assert "not allowed" in capsys.readouterr().err
    assert stranger not in sys.modules
