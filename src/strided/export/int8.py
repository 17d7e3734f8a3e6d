"""int8=true: the network in whole numbers of 8 bits, and what that costs in accuracy.

Static quantisation (Jacob et al., CVPR 2018, arXiv:1712.05877; Krishnamoorthi 2018,
arXiv:1806.08342): weights are int8 with a scale for each output channel, activations uint8 with
ranges from real images. Shares of logits stay exact, since what follows the last maps stays float.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch

from strided.data import ImageDataModule
from strided.decision.gate import Gated
from strided.errors import UserError, first_line
from strided.evaluation.classifier import Classifier
from strided.evaluation.evaluate import evaluation_of
from strided.export.comparison import paired
from strided.export.graph import quiet
from strided.export.parity import Checked
from strided.serving.bundle import Bundle
from strided.serving.onnx_file import require_plain_graph

log = logging.getLogger(__name__)

MOST_LOST = 0.01  # of the test accuracy
_MOST_IMAGES = 200  # for the ranges
_LAYERS = ["Conv", "Gemm", "MatMul", "Relu", "Clip"]  # the last two only where they join a layer
_BATCH = 32


def quantised(content: bytes, images: Checked, folder: Path) -> bytes:
    """Return an ONNX network with int8 layers; works in a folder within `folder`.

    Raises UserError for a network that cannot have them.
    """
    with TemporaryDirectory(dir=folder) as place, quiet():
        try:
            _quantise(content, images, Path(place) / "int8.onnx")
            found = (Path(place) / "int8.onnx").read_bytes()
            require_plain_graph(found)
        except Exception as error:  # the quantiser's are of many kinds
            raise UserError(
                f"the network cannot have int8 layers, says ONNX Runtime: {first_line(error)}; "
                "expected one of convolutions and linear layers. Try int8=false"
            ) from error
    return found


def _quantise(content: bytes, images: Checked, file: Path) -> None:
    import onnx
    from onnxruntime import quantization as ort

    model = onnx.load_model_from_string(content)
    chosen = np.linspace(0, len(images.pixels) - 1, _calibrated_on(images)).round().astype(int)
    ort.quantize_static(
        model,
        file,
        _Reader(images.pixels[chosen]),
        op_types_to_quantize=_LAYERS,
        nodes_to_exclude=_behind_features(model),
        per_channel=True,
        activation_type=ort.QuantType.QUInt8,
        weight_type=ort.QuantType.QInt8,
        calibrate_method=ort.CalibrationMethod.MinMax,
        # the mean of the images' own ends: the very largest value of all would cost all others
        # their resolution
        extra_options={"CalibMovingAverage": True, "MatMulConstBOnly": True},
    )


def _calibrated_on(images: Checked) -> int:
    return min(_MOST_IMAGES, len(images.pixels))


class _Reader:
    """Gives the quantiser one image after the other."""

    def __init__(self, pixels: np.ndarray) -> None:
        self._images: Iterator[np.ndarray] = iter(pixels[:, None])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next image, None after the last."""
        image = next(self._images, None)
        return None if image is None else {"pixels": image}


def _behind_features(model: Any) -> list[str]:
    """The names of nodes on which the features do not depend: the last layer and the shares."""
    makers = {output: node for node in model.graph.node for output in node.output}
    before: set[str] = set()
    waiting = ["features"]
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node.name not in before:
            before.add(node.name)
            waiting.extend(node.input)
    return [node.name for node in model.graph.node if node.name not in before]


class Tested(NamedTuple):
    """What a bundle gives for N test images: logits (N, K), labels (N,), the gate's answers."""

    logits: torch.Tensor
    labels: torch.Tensor
    gated: Gated | None

    @classmethod
    def of(cls, bundle: Bundle, classifier: Classifier, data: ImageDataModule) -> "Tested":
        """Run a bundle over all test images; the gate is the classifier's."""
        logits, labels, ood, reasons = [], [], [], []
        for batch in data.loader("test"):
            pixels = batch.images.numpy()
            for at in range(0, len(pixels), _BATCH):
                part = pixels[at : at + _BATCH]
                outputs = bundle.outputs(part)
                logits.append(torch.from_numpy(outputs.logits))
                if classifier.gate is not None:
                    gated = classifier.gate(outputs.features, part)
                    ood.append(gated.ood)
                    reasons += gated.reasons
            labels.append(batch.labels)
        found = Gated(np.concatenate(ood), reasons) if ood else None
        return cls(torch.cat(logits), torch.cat(labels), found)


def compared(
    bundle: Bundle,
    plain: Bundle,
    classifier: Classifier,
    data: ImageDataModule,
    images: Checked,
) -> dict[str, Any]:
    """Compare an int8 bundle with the float one on all test images: the manifest's int8, metrics.

    `images` are those that gave the ranges. The metrics have the names of a run's test.
    """
    own, other = (Tested.of(one, classifier, data) for one in (bundle, plain))
    p, q = (bundle.probabilities(one.logits.numpy()) for one in (own, other))
    labels = own.labels.numpy()
    accuracy = paired(p.argmax(1) == labels, q.argmax(1) == labels)
    facts = {
        "split": images.split,
        "calibrated_on": _calibrated_on(images),
        "images": len(labels),
        "accuracy": {
            "int8": accuracy["new"],
            "float": accuracy["active"],
            "interval": accuracy["interval"],
        },
        "other_classes": int((p.argmax(1) != q.argmax(1)).sum()),
        "largest_difference": float(np.abs(p - q).max()),
    }
    found = evaluation_of(classifier, data, "test", own.logits, own.labels, gated=own.gated)
    return {"int8": facts, "metrics": found.metrics}


def require_accuracy(facts: dict[str, Any], force: bool) -> None:
    """Raise UserError for an int8 network that is right too seldom, unless it is forced."""
    accuracy = facts["accuracy"]
    low, high = accuracy["interval"]
    told = (
        f"int8 has accuracy {accuracy['int8']:.4f} against {accuracy['float']:.4f} of float on "
        f"{facts['images']} test images (95 % interval of the difference {low:+.4f} to "
        f"{high:+.4f}), and another class for {facts['other_classes']}"
    )
    log.info("%s", told)
    facts["forced"] = not accuracy["float"] - accuracy["int8"] <= MOST_LOST
    if not facts["forced"]:
        return
    if force:
        log.warning("int8 loses more than %g of accuracy: force=true registers it", MOST_LOST)
        return
    raise UserError(
        f"{told}; expected to lose at most {MOST_LOST:g}. Nothing was registered. Try int8=false, "
        "or force=true to register it all the same"
    )
