"""OpenVINO in place of ONNX Runtime: the same network, called in the same way."""

import io
import sys
from importlib.util import find_spec
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from strided.errors import UserError
from strided.system.machine import cores

_TELEMETRY = "openvino_telemetry"
_TYPES = {"u8": "tensor(uint8)", "f32": "tensor(float)"}  # as ONNX Runtime names them


class _Node(NamedTuple):
    """An input or output."""

    name: str
    type: str
    shape: list[int | None]  # None: of any size


class OpenVINOSession:
    """A network on the CPU, with what a bundle needs of an `onnxruntime.InferenceSession`.

    `precision` is that of the sums: "f32", or "bf16" where the CPU has units for it; None: what
    OpenVINO chooses here. Threads may share a session.
    """

    def __init__(
        self, content: bytes, threads: int | None = None, precision: str | None = None
    ) -> None:
        openvino = _openvino()
        # by name: OpenVINO would also take other formats than the one that was checked
        reader = openvino.frontend.FrontEndManager().load_by_framework("onnx")
        self._model = reader.convert(reader.load(io.BytesIO(content)))
        self._options = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads or cores(),
            "ENABLE_CPU_PINNING": False,  # two services would take the same cores
            **({"INFERENCE_PRECISION_HINT": precision} if precision else {}),
        }
        self._compiled: dict[tuple[str, ...], Any] = {}
        self._lock = Lock()
        network = self._network(("logits", "features"))
        self.precision: str = network.get_property("INFERENCE_PRECISION_HINT").get_type_name()

    def get_inputs(self) -> list[_Node]:
        """What it takes."""
        return list(map(_node, self._model.inputs))

    def get_outputs(self) -> list[_Node]:
        """What it gives."""
        return list(map(_node, self._model.outputs))

    def run(
        self, names: list[str], given: dict[str, np.ndarray], options: object = None
    ) -> list[np.ndarray]:
        """The outputs of these names; `options` are ONNX Runtime's, and passed over."""
        found = self._network(tuple(names)).create_infer_request().infer(given)
        return [found[name] for name in names]

    def _network(self, names: tuple[str, ...]) -> Any:
        """The network compiled for these outputs alone: it computes all that it has."""
        openvino = _openvino()
        with self._lock:
            if names not in self._compiled:
                model = self._model
                results = [
                    r for r in model.get_results() if r.get_output_tensor(0).names & {*names}
                ]
                part = openvino.Model(results, model.get_parameters())
                self._compiled[names] = openvino.Core().compile_model(part, "CPU", self._options)
            return self._compiled[names]


def _node(place: Any) -> _Node:
    kind = place.get_element_type().get_type_name()
    shape = [size.get_length() if size.is_static else None for size in place.get_partial_shape()]
    return _Node(place.get_any_name(), _TYPES.get(kind, kind), shape)


def require_openvino() -> None:
    """Raise UserError if OpenVINO is not installed."""
    if find_spec("openvino") is None:
        raise UserError(
            "OpenVINO was asked for, and is not installed; expected strided with its extra of that "
            "name. Try pip install 'strided[openvino]', or in a service pip install openvino"
        )


def _openvino() -> Any:
    """Import OpenVINO without the package that tells its maker of each import."""
    sys.modules.setdefault(_TELEMETRY, None)  # type: ignore[arg-type]
    import openvino

    return openvino
