"""Every method's heatmap of one image for one class, with what its values mean."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from strided.explain.attribution import integrated_gradients, occlusion
from strided.explain.cam import grad_cam, grad_cam_pp

METHODS = {
    "grad_cam": "Grad-CAM",
    "grad_cam_pp": "Grad-CAM++",
    "integrated_gradients": "Integrated gradients",
    "occlusion": "Occlusion",
}
CAMS = ("grad_cam", "grad_cam_pp")
UNITS = {
    "grad_cam": "share of the largest",
    "grad_cam_pp": "share of the largest",
    "integrated_gradients": "logit per pixel",
    "occlusion": "fall of probability",
}
CLIPPED = 99.5  # percentile of integrated gradients with the full colour: single pixels stand out


@dataclass(frozen=True)
class Heatmap:
    """values: float32 (S, S) in the method's units; `scale` is the value with the full colour.

    Only integrated gradients have a `completeness_error`.
    """

    method: str
    values: np.ndarray
    scale: float
    completeness_error: float | None = None

    @property
    def shades(self) -> np.ndarray:
        """Values for `drawing.overlay`: (S, S) in [-1, 1], all 0 for a heatmap of zeros."""
        return np.clip(self.values / (self.scale or 1.0), -1, 1)

    @property
    def is_signed(self) -> bool:
        return self.method not in CAMS


def heatmaps(
    net: nn.Module,
    methods: Sequence[str],
    cam: str | None,
    images: Tensor,
    targets: Tensor,
    batch_size: int = 32,
) -> list[dict[str, Heatmap]]:
    """Heatmaps by method, of each normalised image (B, C, S, S) for its class index (B,).

    `cam` names the layer of Grad-CAM and Grad-CAM++; None if neither is among the methods.
    """
    found: list[dict[str, Heatmap]] = [{} for _ in images]
    for method in methods:
        errors: list[float | None] = [None] * len(images)
        if method in CAMS:
            assert cam is not None
            draw = grad_cam if method == "grad_cam" else grad_cam_pp
            values = draw(net, cam, images, targets)
        elif method == "integrated_gradients":
            values, relative = integrated_gradients(net, images, targets, batch_size)
            # without a rise there is no fraction
            errors = [error if math.isfinite(error) else None for error in relative.tolist()]
        else:
            values = occlusion(net, images, targets, batch_size)
        for of_image, heat, error in zip(found, values, errors, strict=True):
            of_image[method] = Heatmap(method, heat.numpy(), _scale(method, heat), error)
    return found


def _scale(method: str, heat: Tensor) -> float:
    if method in CAMS:
        return 1.0
    if method == "integrated_gradients":
        # if few pixels count at all, the 99.5th percentile of all pixels may be 0
        return float(np.percentile(heat.abs().numpy(), CLIPPED)) or float(heat.abs().max())
    return float(torch.max(heat.abs()))
