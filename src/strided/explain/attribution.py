"""What each pixel adds to a class: integrated gradients and occlusion, by captum.

The baseline of both is 0 after normalisation: the mean colour of the preprocessing, which is
mid-grey for some pretrained weights.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn

STEPS = (32, 64)  # points of the integral: more only where the first are too few
COMPLETE = 0.05  # error of completeness, as a fraction, that needs no more points
# strides of occlusion per image side: at most 14 x 14 positions on small images, else 10 x 10,
# which is half the time of a large network
PATCHES_SMALL, PATCHES = 15, 11
SMALL = 64  # pixels


def integrated_gradients(
    net: nn.Module, images: Tensor, targets: Tensor, batch_size: int = 32
) -> tuple[Tensor, Tensor]:
    """Integrated gradients (Sundararajan et al., ICML 2017, arXiv:1703.01365) of target logits.

    Takes normalised images (B, C, S, S) and class indices (B,). Returns float32 (B, S, S), in units
    of the logit, summed over channels, and each image's error of completeness, (B,). The error is
    the difference between the sum of all pixels and the logit's rise over the baseline, as a
    fraction of that rise. The integral is by Gauss and Legendre, with more points as long as any
    image's error is above COMPLETE.
    """
    from captum.attr import IntegratedGradients

    method = IntegratedGradients(net)
    for steps in STEPS:
        found, delta = method.attribute(
            images,
            target=targets.to(images.device),
            n_steps=steps,
            internal_batch_size=max(batch_size, len(images)),
            return_convergence_delta=True,
        )
        values = found.detach().sum(1).float().cpu()
        rise = values.sum((1, 2)) - delta.cpu().float()
        error = delta.cpu().float().abs() / rise.abs()
        if not (error > COMPLETE).any():
            break
    return values, error


@torch.no_grad()
def occlusion(net: nn.Module, images: Tensor, targets: Tensor, batch_size: int = 32) -> Tensor:
    """Occlusion (Zeiler & Fergus, ECCV 2014, arXiv:1311.2901): how far the probability falls.

    Takes normalised images (B, C, S, S) and class indices (B,). Returns float32 (B, S, S): the fall
    of the target's probability when a square of mean colour covers the pixel, averaged over all
    squares that cover it; negative if covering raises it. Needs 101 passes of each large image.
    """
    from captum.attr import Occlusion

    channels, size = images.shape[1], images.shape[-1]
    patch, stride = occlusion_window(size)
    found = Occlusion(lambda batch: net(batch).softmax(1)).attribute(
        images,
        sliding_window_shapes=(channels, patch, patch),
        strides=(channels, stride, stride),
        target=targets.to(images.device),
        perturbations_per_eval=max(1, batch_size // len(images)),
    )
    # every channel of a pixel has the value of the pixel
    return cast(Tensor, found)[:, 0].float().cpu()


def occlusion_window(size: int) -> tuple[int, int]:
    """Side and stride in pixels of the square that covers images of `size` pixels."""
    stride = math.ceil(size / (PATCHES_SMALL if size <= SMALL else PATCHES))
    return min(2 * stride, size), stride
