"""What a network looks at: its filters, feature maps and heatmaps, as arrays and as pictures."""

from strided.explain.attribution import integrated_gradients, occlusion
from strided.explain.cam import grad_cam, grad_cam_pp
from strided.explain.drawing import overlay
from strided.explain.heatmaps import heatmaps
from strided.explain.layers import cam_layer, require_maps, traced
from strided.explain.sanity import randomised, rank_correlation

__all__ = [
    "cam_layer",
    "grad_cam",
    "grad_cam_pp",
    "heatmaps",
    "integrated_gradients",
    "occlusion",
    "overlay",
    "randomised",
    "rank_correlation",
    "require_maps",
    "traced",
]
