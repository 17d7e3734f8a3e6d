"""The network as it is served: pixels in, normalised inside; logits, features and shares out."""

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from strided.data.preprocessing import Preprocessing
from strided.decision.gate import Gate
from strided.errors import UserError, first_line
from strided.export.decomposition import (
    Averages,
    averaged_maps,
    shares_of_blocks,
    shares_of_means,
)
from strided.models.pooled import (
    PooledNetwork,
    counting_blocks,
    pooled_features,
    pooled_maps,
)
from strided.system.durable import is_full

OPSET = 20  # of ONNX: what the exporter gives; ONNX Runtime reads it from 1.17 on

NO_MEANS = "its last layer does not take the means of maps, and so no place has an exact share"
NO_LINEAR = "its last layer is not linear"
ONE_PLACE = "its last maps have one place, which is the whole image"


class ServedNetwork(nn.Module):
    """A copy of a trained network, for uint8 pixels (B, C, S, S).

    Gives float32 logits (B, K), features (B, F), which the last layer with weights is given, and,
    if logits are sums of `shares`, the share of each class and place (B, K, h, w). `reason` says
    why there are none.
    """

    def __init__(self, net: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        assert preprocessing.mean is not None and preprocessing.std is not None
        self.net = copy.deepcopy(net).to("cpu", torch.float32)
        self.net.to(memory_format=torch.contiguous_format)
        self.net.eval().requires_grad_(False)
        for name, values in (("mean", preprocessing.mean), ("std", preprocessing.std)):
            # as Preprocessing.normalise has them, to the bit
            levels = torch.tensor(values, dtype=torch.float32).mul(255).view(-1, 1, 1)
            self.register_buffer(name, levels)
        self.mean: Tensor
        self.std: Tensor
        self.last = ""
        self.averaged: int | None = None  # which average's maps have shares
        self.blocks: list[int] = []  # which pooled blocks have
        self.reason: str | None = NO_LINEAR
        shape = (2, preprocessing.channels, *[preprocessing.image_size] * 2)
        self.example = torch.randint(
            256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
        )
        self._look()

    @torch.no_grad()
    def _look(self) -> None:
        """Find the last layer, and whether it takes means of maps."""
        images = self._normalised(self.example)
        self.last = _last_layer(self.net, images)
        logits, features, averages = self._pass(images)
        layer = self.net.get_submodule(self.last)
        if not isinstance(layer, nn.Linear) or layer.out_features != logits.shape[1]:
            return
        if not torch.allclose(layer(features), logits, rtol=1e-4, atol=1e-5):
            return
        if isinstance(self.net, PooledNetwork):
            self.blocks, self.reason = counting_blocks(self.net, layer), None
            return
        self.averaged = averaged_maps(averages, features)
        places = 0 if self.averaged is None else averages.maps[self.averaged][0, 0].numel()
        self.reason = (NO_MEANS, ONE_PLACE, None)[min(places, 2)]

    @property
    def has_heat(self) -> bool:
        """Whether there is a third output."""
        return self.reason is None

    @property
    def bias(self) -> Tensor | None:
        """What the logits have beside the shares: (K,)."""
        bias = getattr(self.net.get_submodule(self.last), "bias", None)
        return bias if isinstance(bias, Tensor) else None

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        logits, features, averages = self._pass(self._normalised(pixels))
        if not self.has_heat:
            return logits, features
        linear = self.net.get_submodule(self.last)
        assert isinstance(linear, nn.Linear)
        if isinstance(self.net, PooledNetwork):
            heat = shares_of_blocks(self.net, averages.maps, linear, self.blocks)
        else:
            assert self.averaged is not None
            heat = shares_of_means(averages.maps[self.averaged], linear.weight)
        return logits, features, heat

    def _normalised(self, pixels: Tensor) -> Tensor:
        return pixels.to(torch.float32).sub(self.mean).div(self.std)

    def _pass(self, images: Tensor) -> tuple[Tensor, Tensor, Averages]:
        averages = Averages()
        if isinstance(self.net, PooledNetwork):
            averages.maps = pooled_maps(self.net, images)
            features = pooled_features(self.net, averages.maps)
            return self.net.head(features), features, averages
        with _input_of(self.net.get_submodule(self.last)) as given, averages:
            logits = self.net(images)
        return logits, _as_vectors(given[-1]), averages


def require_features_of(network: ServedNetwork, gate: Gate) -> None:
    """Raise UserError unless the features are those that a gate judges by."""
    if gate.layer != network.last:
        raise UserError(
            f"the gate of this checkpoint judges by what {gate.layer} is given, and the last layer "
            f"with weights is {network.last}; expected the same. Try training with "
            "evaluation.gate=null"
        )


def _last_layer(net: nn.Module, images: Tensor) -> str:
    """The name of the last layer with weights that an image runs through."""
    ran: list[str] = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
        for name, module in net.named_modules()
        if _is_layer(module)
    ]
    try:
        net(images)
    finally:
        for handle in handles:
            handle.remove()
    return ran[-1]


def _is_layer(module: nn.Module) -> bool:
    """Whether a module has weights and no layers: a transformer has its positions beside them."""
    inner = (weights for child in module.children() for weights in child.parameters())
    return next(inner, None) is None and next(module.parameters(), None) is not None


@contextmanager
def _input_of(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Inside the block, keep what the layer is given."""
    given: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    try:
        yield given
    finally:
        handle.remove()


def _as_vectors(given: Tensor) -> Tensor:
    """Features (B, F) of what a layer is given: means over places of maps, or of tokens."""
    if given.ndim == 4:
        return given.mean((2, 3))
    return given.mean(1) if given.ndim == 3 else given


@torch.no_grad()
def write_onnx(network: ServedNetwork, file: Path) -> None:
    """Write the network as one ONNX file that takes batches of any size. Raises UserError."""
    names = ["logits", "features", "heat"]
    batch = torch.export.Dim("batch")
    with quiet():
        try:
            program = torch.onnx.export(
                network,
                (network.example,),
                dynamo=True,
                external_data=False,
                opset_version=OPSET,
                input_names=["pixels"],
                output_names=names if network.has_heat else names[:2],
                dynamic_shapes={"pixels": {0: batch}},
                verbose=False,
            )
            assert program is not None
            _forget_origins(program.model)
            program.save(file, external_data=False)
        except Exception as error:  # torch.export's and onnxscript's are of many kinds
            if is_full(error):
                raise
            raise UserError(
                f"{type(network.net).__name__} cannot be exported, says torch: {_cause(error)}; "
                "expected a network whose path does not depend on the values in an image, for "
                "batches of any size. Try another model"
            ) from error


def _forget_origins(model: Any) -> None:
    """Leave out from which line of which file of this machine each operator comes."""
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()


def _cause(error: BaseException) -> str:
    """What went wrong at first: the exporter puts errors of its own on top."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the notes of torch's exporter, of its many loggers, and its graphs from the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
