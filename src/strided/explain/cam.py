"""Class activation maps by gradients: Grad-CAM and Grad-CAM++."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from strided.explain.layers import outputs_of


def grad_cam(net: nn.Module, layer: str, images: Tensor, targets: Tensor) -> Tensor:
    """Grad-CAM (Selvaraju et al., ICCV 2017, arXiv:1610.02391) of the maps of `layer`.

    Takes normalised images (B, C, S, S) and class indices (B,). Returns float32 (B, S, S) in
    [0, 1], on the CPU: each image's largest value is 1, or all are 0 if no map favours the class.
    """
    maps, gradients = _maps_and_gradients(net, layer, images, targets)
    return _heat(gradients.mean((2, 3)), maps, images.shape[-1])


def grad_cam_pp(net: nn.Module, layer: str, images: Tensor, targets: Tensor) -> Tensor:
    """Grad-CAM++ (Chattopadhay et al., WACV 2018, arXiv:1710.11063); shapes as in `grad_cam`.

    The score is exp(logit): the second and third derivatives of a piecewise linear network are then
    powers of the first. The factor exp scales a whole image, and so cancels.
    """
    maps, gradients = _maps_and_gradients(net, layer, images, targets)
    denominator = 2 * gradients**2 + gradients**3 * maps.sum((2, 3), keepdim=True)
    alphas = torch.where(denominator != 0, gradients**2 / denominator, 0)
    return _heat((alphas * gradients.relu()).sum((2, 3)), maps, images.shape[-1])


@torch.enable_grad()
def _maps_and_gradients(
    net: nn.Module, layer: str, images: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Maps of the layer, and the gradient of each image's target logit, both (B, K, H, W)."""
    # the gradient has to reach the maps even if all weights are frozen
    images = images.detach().requires_grad_()
    with outputs_of(net, [layer]) as kept:
        logits = net(images)
    score = logits.gather(1, targets.to(logits.device).unsqueeze(1)).sum()
    (gradients,) = torch.autograd.grad(score, kept[layer])
    # in double precision: Grad-CAM++ divides by cubes of gradients, 1e-30 and less
    return kept[layer].detach().double().cpu(), gradients.double().cpu()


def _heat(weights: Tensor, maps: Tensor, size: int) -> Tensor:
    """Sum maps (B, K, H, W) by weights (B, K) and keep the positive part, (B, S, S)."""
    heat = torch.einsum("bk,bkhw->bhw", weights, maps).relu()
    heat = F.interpolate(heat.unsqueeze(1), (size, size), mode="bilinear").squeeze(1)
    most = heat.amax((1, 2), keepdim=True)
    return torch.where(most > 0, heat / most, 0).float()
