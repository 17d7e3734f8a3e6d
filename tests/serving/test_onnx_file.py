"""A stranger's ONNX file is one graph of standard operators, or it is refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from strided.serving.bundle import open_session
from strided.serving.onnx_file import require_plain_graph

Change = Callable[[onnx.ModelProto], None]


def plain_model() -> onnx.ModelProto:
    """Doubles a number."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "two"], ["y"])],
        "doubling",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch"])],
        [numpy_helper.from_array(np.array([2], np.float32), "two")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def add_node(model: onnx.ModelProto, kind: str, domain: str = "", **attributes: Any) -> None:
    model.graph.node.append(helper.make_node(kind, ["x"], ["z"], domain=domain, **attributes))


def lie_elsewhere(tensor: TensorProto) -> TensorProto:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    return tensor


def name_a_place(tensor: TensorProto) -> None:
    """Without saying that it lies there."""
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "weights.bin"


def two() -> TensorProto:
    return numpy_helper.from_array(np.array([2], np.float32), "two")


CHANGES: dict[str, tuple[Change, str]] = {
    "an operator of ONNX Runtime": (
        lambda model: add_node(model, "Gelu", "com.microsoft"),
        "com.microsoft",
    ),
    "an opset of one's own": (
        lambda model: model.opset_import.append(helper.make_opsetid("theirs", 1)),
        "theirs",
    ),
    "weights in another file": (
        lambda model: (lie_elsewhere(model.graph.initializer[0]), None)[1],
        "another file",
    ),
    "a place of weights": (
        lambda model: name_a_place(model.graph.initializer[0]),
        "another file",
    ),
    "a constant in another file": (
        lambda model: add_node(model, "Constant", value=lie_elsewhere(two())),
        "another file",
    ),
    "a loop": (lambda model: add_node(model, "Loop", body=model.graph), "graph of its own"),
    "several graphs": (
        lambda model: add_node(model, "Scan", bodies=[model.graph]),
        "graph of its own",
    ),
    "a function": (
        lambda model: model.functions.append(
            helper.make_function("", "Mine", ["x"], ["y"], [], [helper.make_opsetid("", 20)])
        ),
        "function",
    ),
}


def test_a_graph_of_standard_operators_passes() -> None:
    require_plain_graph(plain_model().SerializeToString())


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_service_should_not_run_is_refused(name: str) -> None:
    model = plain_model()
    change, words = CHANGES[name]
    change(model)
    with pytest.raises(ValueError, match=words):
        require_plain_graph(model.SerializeToString())


def test_what_is_no_onnx_file_is_refused_and_never_fails_otherwise() -> None:
    content = plain_model().SerializeToString()
    noise = np.random.default_rng(0)
    for _ in range(500):
        changed = bytearray(content)
        for place in noise.integers(0, len(content), 3):
            changed[place] = noise.integers(0, 256)
        try:
            require_plain_graph(bytes(changed[: noise.integers(1, len(content) + 1)]))
        except ValueError:
            continue
    for other in (b"\xff" * 100, b"PK\3\4" + b"\0" * 50, content[:-1]):
        with pytest.raises(ValueError, match="no ONNX file"):
            require_plain_graph(other)


def test_a_field_that_only_onnx_runtime_would_read_is_refused() -> None:
    """Of a key of five bytes, protobuf takes the lower 32 bits."""
    graph = onnx.GraphProto(initializer=[lie_elsewhere(two())]).SerializeToString()
    key = 7 << 3 | 2 | 1 << 32
    hidden = bytes((key >> shift) & 127 | 128 for shift in (0, 7, 14, 21)) + bytes([key >> 28])
    content = plain_model().SerializeToString() + hidden + bytes([len(graph)]) + graph
    with pytest.raises(Exception, match="External data"):  # it would read the other file
        open_session(content)
    with pytest.raises(ValueError, match="no ONNX file"):
        require_plain_graph(content)
