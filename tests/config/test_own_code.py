"""`--config-dir` is where Python looks last, and only for the modules that `trust=` names."""

import importlib
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import strided
from strided.cli import main
from strided.config.targets import locate, trusting
from strided.config.yaml_files import CONF_DIR
from strided.data.pixels.filling import Job
from strided.data.preprocessing import Preprocessing
from strided.errors import UserError

NET = """
from torch import nn
{imports}

class Net(nn.Sequential):
    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(nn.Flatten(), nn.LazyLinear(num_classes))

def read(index: int) -> None:
    raise RuntimeError("read")
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder `mine` of the current directory, with modules that no other test has."""
    folder = tmp_path / "mine"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "own.yaml").write_text("_target_: own_net.Net\n")
    (folder / "own_net.py").write_text(NET.format(imports=""))
    (folder / "own_blocks.py").write_text("open('ran', 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]


def test_a_module_is_found_if_it_is_named_and_for_no_longer(mine: Path) -> None:
    path = list(sys.path)
    with trusting(["own_net"], Path("mine")):
        assert locate("own_net.Net", "model").__module__ == "own_net"
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("own_blocks")
    del sys.modules["own_net"]
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("own_net")
    assert sys.path == path and not Path("ran").exists()


@pytest.mark.parametrize("trust", [[], ["config-dir"], ["lightning"], ["own"]])
def test_without_its_name_in_trust_nothing_is_found(mine: Path, trust: list[str]) -> None:
    with trusting(trust, mine), pytest.raises(ModuleNotFoundError):
        importlib.import_module("own_blocks")
    assert not Path("ran").exists()


def test_what_is_installed_comes_first(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (mine.parent / "installed").mkdir()
    (mine.parent / "installed" / "own_net.py").write_text(NET.format(imports=""))
    (mine / "own_net.py").write_text("open('ran', 'w').close()\n")
    monkeypatch.syspath_prepend(str(mine.parent / "installed"))
    with trusting(["own_net"], mine):
        found = sys.modules[locate("own_net.Net", "model").__module__].__file__
    assert found == str(mine.parent / "installed" / "own_net.py") and not Path("ran").exists()


def test_a_module_beside_it_has_to_be_named_too(mine: Path) -> None:
    (mine / "own_net.py").write_text(NET.format(imports="import own_blocks"))
    with trusting(["own_net"], mine), pytest.raises(UserError) as raised:
        locate("own_net.Net", "model")
    assert "own_net imports own_blocks" in str(raised.value)
    assert "Try trust=[own_net,own_blocks]" in str(raised.value) and not Path("ran").exists()
    with trusting(["own_net", "own_blocks"], mine):
        locate("own_net.Net", "model")
    assert Path("ran").exists()


def test_a_module_that_needs_one_which_is_not_installed_says_so(mine: Path) -> None:
    (mine / "own_net.py").write_text(NET.format(imports="import own_missing.part"))
    with trusting(["own_net"], mine), pytest.raises(UserError, match="Try pip install own_missing"):
        locate("own_net.Net", "model")


def test_the_message_of_a_module_that_is_not_found_names_the_folder(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "model._target_=own_nett.Net", "trust=[own_nett]"]
    assert main(words) == 1
    assert "Try --config-dir <the folder that holds own_nett.py>" in capsys.readouterr().err
    assert main([*words, "--config-dir", "mine"]) == 1
    assert f"installed or in {mine}/; expected {mine}/own_nett.py" in capsys.readouterr().err


def test_a_process_that_starts_anew_finds_what_it_is_sent(mine: Path) -> None:
    with trusting(["own_net"], Path("mine")):
        read = importlib.import_module("own_net").read
        sent = pickle.dumps(Job(read, Preprocessing(1, 1), mine))
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).read.__module__)"
    received = subprocess.run(
        [sys.executable, "-c", code],
        input=sent,
        capture_output=True,
        cwd=CONF_DIR.parent / "src",  # as where strided is installed
    )
    assert received.stdout.strip() == b"own_net", received.stderr.decode()


def test_from_python_the_folder_is_an_argument(mine: Path) -> None:
    words = ["model=own", "trust=[own_net]"]
    assert strided.compose(words, config_dir="mine")["model"] == {"_target_": "own_net.Net"}
