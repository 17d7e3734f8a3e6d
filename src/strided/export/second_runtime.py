"""openvino=true: whether OpenVINO answers as ONNX Runtime does, on all validation images."""

import logging
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np

from strided.data import ImageDataModule
from strided.errors import UserError, first_line
from strided.export.latency import latency
from strided.serving.bundle import Bundle
from strided.serving.openvino_session import OpenVINOSession

log = logging.getLogger(__name__)

MOST_DIFFERENCE = 0.01  # of a probability
_BATCH = 32


def second_runtime(
    bundle: Bundle, content: bytes, data: ImageDataModule, split: str
) -> dict[str, Any]:
    """Facts of the first precision that passes: OpenVINO's own choice, then float32; or of that.

    `content` is the bundle's network, `split` the one of its validation images.
    """
    own = _opened(content).precision
    for precision in dict.fromkeys((own, "f32")):
        session = OpenVINOSession(content, precision=precision)
        facts = _compared(bundle, Bundle(bundle.manifest, session, {}), data, split)
        passed = facts["largest_difference"] <= MOST_DIFFERENCE and not facts["other_classes"]
        log.info(
            "OpenVINO in %s %s: probabilities of %d images differ by at most %.1e, and %d classes",
            *(precision, "passes" if passed else "does not pass", facts["images"]),
            *(facts["largest_difference"], facts["other_classes"]),
        )
        if passed:
            break
    names, picture = list(bundle.manifest.outputs), next(iter(data.loader(split))).images[0]
    opened = partial(OpenVINOSession, precision=precision)
    return {
        "passed": passed,
        "precision": precision,
        "version": version("openvino"),
        "split": split,
        **facts,
        "allowed_difference": MOST_DIFFERENCE,
        "latency": latency(content, picture.numpy(), names, opened),
    }


def _opened(content: bytes) -> OpenVINOSession:
    try:
        return OpenVINOSession(content)
    except Exception as error:  # OpenVINO's are of no common kind
        raise UserError(
            f"OpenVINO cannot run this network: {first_line(error)}; expected operators that it "
            "knows. Nothing was registered. Try openvino=false"
        ) from error


def _compared(first: Bundle, second: Bundle, data: ImageDataModule, split: str) -> dict[str, Any]:
    count, others, largest = 0, 0, 0.0
    for batch in data.loader(split):
        pixels = batch.images.numpy()
        for at in range(0, len(pixels), _BATCH):
            part = pixels[at : at + _BATCH]
            p, q = (one.probabilities(one.outputs(part).logits) for one in (first, second))
            count += len(part)
            others += int((p.argmax(1) != q.argmax(1)).sum())
            largest = max(largest, float(np.nan_to_num(np.abs(p - q), nan=1.0).max()))
    return {"images": count, "other_classes": others, "largest_difference": largest}
