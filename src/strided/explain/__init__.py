"""What a network looks at: its filters, feature maps and heatmaps, as arrays and as pictures."""

from strided.explain.attribution import integrated_gradients, occlusion
from strided.explain.cam import grad_cam, grad_cam_pp
from strided.explain.drawing import overlay
from strided.explain.heatmaps import METHODS, Heatmap, heatmaps
from strided.explain.layers import Layer, cam_layer, outputs_of, require_maps, traced
from strided.explain.sanity import randomised, rank_correlation

__all__ = [
    "METHODS",
    "Heatmap",
    "Layer",
    "cam_layer",
    "grad_cam",
    "grad_cam_pp",
    "heatmaps",
    "integrated_gradients",
    "occlusion",
    "outputs_of",
    "overlay",
    "randomised",
    "rank_correlation",
    "require_maps",
    "traced",
]
