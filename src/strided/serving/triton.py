"""config.pbtxt: a registry is a model repository of NVIDIA's Triton Inference Server as well."""

from strided.serving.manifest import Manifest

CONFIG = "config.pbtxt"

_MOST_IMAGES = 64  # of a batch
_DELAY = 5000  # microseconds that Triton waits for a batch to fill

_TENSOR = """  {{
    name: "{name}"
    data_type: {kind}
    dims: [ {shape} ]
  }}"""


def triton_config(manifest: Manifest, name: str, version: int) -> str:
    """The configuration of a name's active version, for Triton's ONNX Runtime backend.

    `name` and `version` are those of the folders, which may be copies.
    """
    channels, side = (manifest.preprocessing[key] for key in ("channels", "image_size"))
    outputs = ",\n".join(_tensor(*pair, "TYPE_FP32") for pair in manifest.outputs.items())
    return f"""# Written by strided for version {version}.
name: "{name}"
backend: "onnxruntime"
max_batch_size: {_MOST_IMAGES}
input [
{_tensor("pixels", [channels, side, side], "TYPE_UINT8")}
]
output [
{outputs}
]
version_policy: {{ specific: {{ versions: [ {version} ] }} }}
dynamic_batching {{ max_queue_delay_microseconds: {_DELAY} }}
"""


def _tensor(name: str, shape: list[int], kind: str) -> str:
    return _TENSOR.format(name=name, kind=kind, shape=", ".join(map(str, shape)))
