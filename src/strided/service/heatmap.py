"""The heatmap of a class, as a picture that can be laid over the network's input."""

import base64
from io import BytesIO

import numpy as np
from PIL import Image

from strided.errors import UserError
from strided.service.schema import Heatmap
from strided.serving.bundle import Answer, Bundle
from strided.serving.files import REFERENCE

_DEVIATIONS = 3  # of the shares of own images: where a colour is full
_SCALE = 10.0  # logits, of a bundle that does not know its deviation
UNIT = "logit if the whole picture were like this place, less that of an average picture"

_FOR, _AGAINST = (214, 39, 40), (31, 119, 180)  # red and blue


class Heatmaps:
    """Draws the shares of logits that a bundle gives; without exact shares there are none."""

    def __init__(self, bundle: Bundle) -> None:
        self._classes = bundle.classes
        self._method = bundle.manifest.heatmap["method"]
        self._side = bundle.preprocessing.image_size
        shape = bundle.manifest.outputs.get("heat", [len(bundle.classes), 1, 1])
        self._mean = bundle.reference.get("heat_mean", np.zeros(shape))  # (K, h, w)
        self._places = shape[1] * shape[2]
        usual = np.full(shape[0], _SCALE / _DEVIATIONS / self._places)
        self._deviation = bundle.reference.get("heat_deviation", usual)  # (K,)
        if self._mean.shape != tuple(shape) or self._deviation.shape != (shape[0],):
            raise UserError(
                f"{REFERENCE} of {bundle!r} has statistics of other heat than its network gives; "
                "expected those that export wrote. Try another copy of the bundle"
            )

    def of(self, answer: Answer, target: str | None) -> Heatmap | None:
        """The heatmap of a class, by default of the predicted one; None for a refused picture."""
        name = target or answer.label
        if answer.heat is None or not answer.label:
            return None
        place = self._classes.index(name)
        apart = (answer.heat[place] - self._mean[place]) * self._places
        scale = max(float(self._deviation[place]) * _DEVIATIONS * self._places, 1e-6)
        return Heatmap(
            class_=name,
            method=self._method,
            png=base64.b64encode(_png(apart / scale, self._side)).decode(),
            scale=scale,
            unit=UNIT,
        )


def _png(values: np.ndarray, side: int) -> bytes:
    """An RGBA picture of values from -1, blue, through 0, clear, to 1, red."""
    smooth = Image.fromarray(values.astype(np.float32)).resize(
        (side, side), Image.Resampling.BILINEAR
    )
    level = np.clip(np.asarray(smooth), -1, 1)
    pixels = np.empty((side, side, 4), np.uint8)
    pixels[..., :3] = np.where((level > 0)[..., None], _FOR, _AGAINST)
    pixels[..., 3] = np.rint(np.abs(level) * 255)
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    return stream.getvalue()
