"""Heatmaps laid over the images of a report."""

import logging
from collections.abc import Sequence

import numpy as np
import torch

from strided.errors import UserError
from strided.evaluation.classifier import Classifier
from strided.evaluation.examples import Example
from strided.explain import cam_layer, grad_cam, overlay, traced

log = logging.getLogger(__name__)

_BATCH = 8  # images whose maps and gradients are kept at a time


def overlays(classifier: Classifier, examples: Sequence[Example]) -> dict[int, np.ndarray]:
    """The Grad-CAM of the predicted class laid over each picture, by the example's position.

    Empty if Grad-CAM does not suit the network.
    """
    net, device = classifier.task.model, classifier.device
    pictures = np.stack([example.picture.transpose(2, 0, 1) for example in examples])
    pixels = torch.from_numpy(pictures[:, : classifier.preprocessing.channels]).to(device)
    images = classifier.task.as_input(classifier.preprocessing.normalise(pixels))
    try:
        layer = cam_layer(net, traced(net, images[:1]))
    except UserError as error:
        log.info("no heatmaps in the report: %s", str(error).partition(", so that")[0])
        return {}
    found: dict[int, np.ndarray] = {}
    with classifier.as_in_training():
        for start in range(0, len(examples), _BATCH):
            some = examples[start : start + _BATCH]
            targets = torch.tensor([example.class_index for example in some])
            heats = grad_cam(net, layer, images[start : start + _BATCH], targets)
            for example, heat in zip(some, heats, strict=True):
                found[example.position] = overlay(example.picture, heat.numpy())
    return found
