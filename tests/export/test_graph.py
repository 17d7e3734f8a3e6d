"""Every network of conf/model becomes one ONNX file that answers alike, or is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from strided.config.yaml_files import CONF_DIR
from strided.data import Preprocessing
from strided.errors import UserError
from strided.export.graph import ServedNetwork, write_onnx
from strided.models import build_model
from strided.serving.bundle import open_session, run_session
from strided.serving.onnx_file import require_plain_graph

NAMED = {"timm": "convnext_atto", "torchvision": "shufflenet_v2_x0_5"}
SIZES = {"mlp": 28, "mlp_small": 28, "lenet5": 32, "lenet5_original": 32, "inception_v3": 96}
POOLED = {"head": "pooled", "pooled": ["blocks.0", "blocks.3", "blocks.6"]}
LITE0 = {"_target_": "strided.models.timm_model", "name": "efficientnet_lite0", **POOLED}


def of_yaml(name: str) -> dict[str, Any]:
    node: dict[str, Any] = yaml.safe_load((CONF_DIR / "model" / f"{name}.yaml").read_text())
    kept = {key: value for key, value in node.items() if key not in ("pretrained", "weights")}
    return {**kept, "name": NAMED[name]} if name in NAMED else kept


def check(config: dict[str, Any], size: int, folder: Path) -> None:
    """Export a network, and compare it with the one in torch at three sizes of a batch."""
    torch.manual_seed(0)
    net = build_model(config, num_classes=5, in_channels=3, image_size=size).eval()
    network = ServedNetwork(net, Preprocessing(3, size, mean=(0.5,) * 3, std=(0.25,) * 3))
    write_onnx(network, folder / "model.onnx")
    content = (folder / "model.onnx").read_bytes()
    require_plain_graph(content)
    assert list(folder.iterdir()) == [folder / "model.onnx"]
    session = open_session(content, threads=1)
    names = [node.name for node in session.get_outputs()]
    assert names == ["logits", "features", "heat"][: 2 + network.has_heat]
    for batch in (1, 2, 7):
        pixels = np.random.default_rng(0).integers(0, 256, (batch, 3, size, size), np.uint8)
        with torch.no_grad():
            expected = network(torch.from_numpy(pixels))
        for found, wanted in zip(run_session(session, pixels, names), expected, strict=True):
            torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(file.stem for file in CONF_DIR.glob("model/*.yaml")))
def test_every_model_is_exported(name: str, tmp_path: Path) -> None:
    check(of_yaml(name), SIZES.get(name, 64), tmp_path)


@pytest.mark.slow
def test_the_pooled_head_is_exported(tmp_path: Path) -> None:
    check(LITE0, 64, tmp_path)


def test_shares_are_exported_with_their_network(tmp_path: Path) -> None:
    check({"_target_": "strided.models.CifarResNet", "depth": 8}, 16, tmp_path)


class Undecided(nn.Module):
    """Goes another way where the image is dark."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, images: Tensor) -> Tensor:
        means = images.mean((2, 3))
        logits: Tensor = self.head(means if means.sum() > 0 else -means)
        return logits


def test_a_network_that_decides_by_the_image_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    network = ServedNetwork(Undecided(), Preprocessing(3, 8, mean=(0.5,) * 3, std=(0.25,) * 3))
    with pytest.raises(UserError, match="Undecided cannot be exported") as refusal:
        write_onnx(network, tmp_path / "model.onnx")
    assert len(str(refusal.value)) < 600
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())
