"""Heatmaps against captum and closed forms, on networks small enough to reckon with."""

from typing import cast

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn
from torch.nn import functional as F

from strided.errors import UserError
from strided.explain import (
    cam_layer,
    grad_cam,
    grad_cam_pp,
    heatmaps,
    integrated_gradients,
    occlusion,
    overlay,
    randomised,
    rank_correlation,
    require_maps,
    traced,
)
from strided.explain.attribution import occlusion_window
from strided.explain.drawing import columns_of
from strided.models import MLP, LeNet5, LeNet5Original, timm_model, torchvision_model


def pooled_net(channels: int = 3, inplace: bool = True) -> nn.Sequential:
    """Two convolutions, global average pooling, three classes."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1),
        nn.ReLU(inplace),
        nn.Conv2d(8, 6, 3, stride=2, padding=1),
        nn.ReLU(inplace),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    ).eval()


def images_of(channels: int = 3, size: int = 16) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, channels, size, size, generator=generator), torch.tensor([0, 1, 2, 1])


@pytest.mark.parametrize("layer", ["0", "1", "2", "3"])
def test_grad_cam_is_captums_also_before_an_in_place_relu(layer: str) -> None:
    images, targets = images_of()
    plain = pooled_net(inplace=False)
    of_captum = LayerGradCam(plain, plain[int(layer)])
    expected = cast(Tensor, of_captum.attribute(images, target=targets, relu_attributions=True))
    expected = F.interpolate(expected.detach(), (16, 16), mode="bilinear").squeeze(1)
    expected = expected / expected.amax((1, 2), keepdim=True).clamp(min=1e-30)
    found = grad_cam(pooled_net(), layer, images, targets)
    assert found.dtype == torch.float32 and found.shape == (4, 16, 16)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert float(found.min()) >= 0 and float(found.max()) == 1


def test_grad_cam_pp_of_a_globally_pooled_network_has_a_closed_form() -> None:
    # logit = sum of w_k mean(A_k): the gradient is w_k / Z everywhere, so that
    # alpha = 1 / (2 + w_k mean(A_k)), and a map's weight is max(w_k, 0) * alpha
    net, (images, targets) = pooled_net(), images_of()
    maps = net[:4](images).detach()
    weights = net[6].get_parameter("weight").detach()[targets]
    alpha = 1 / (2 + weights * maps.mean((2, 3)))
    heat = torch.einsum("bk,bkhw->bhw", weights.relu() * alpha, maps).relu().unsqueeze(1)
    heat = F.interpolate(heat, (16, 16), mode="bilinear").squeeze(1)
    expected = heat / heat.amax((1, 2), keepdim=True)
    torch.testing.assert_close(grad_cam_pp(net, "3", images, targets), expected)


def test_cams_need_no_gradient_of_weights_and_leave_none() -> None:
    net, (images, targets) = pooled_net(), images_of()
    before = grad_cam(net, "3", images, targets)
    net.requires_grad_(False)
    with torch.no_grad():
        torch.testing.assert_close(grad_cam(net, "3", images, targets), before)
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not images.requires_grad


def test_a_class_that_no_map_speaks_for_has_an_empty_map() -> None:
    net, (images, targets) = pooled_net(), images_of()
    nn.init.constant_(net[6].get_parameter("weight"), -1.0)
    for method in (grad_cam, grad_cam_pp):
        assert not method(net, "3", images, targets).any()


def test_integrated_gradients_of_a_linear_network_are_weight_times_pixel() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(2 * 4 * 4, 3))
    images, targets = torch.randn(4, 2, 4, 4), torch.tensor([0, 1, 2, 1])
    found, error = integrated_gradients(net, images, targets)
    weights = net[1].get_parameter("weight").detach()[targets].view(4, 2, 4, 4)
    torch.testing.assert_close(found, (weights * images).sum(1), atol=1e-5, rtol=1e-4)
    assert float(error.max()) < 1e-4


def test_integrated_gradients_add_up_to_the_logits_rise() -> None:
    net, (images, targets) = pooled_net(), images_of()
    found, error = integrated_gradients(net, images, targets, batch_size=7)
    rise = (net(images) - net(torch.zeros_like(images))).detach()[range(4), targets]
    assert found.sum((1, 2)).tolist() == pytest.approx(rise.tolist(), rel=0.2, abs=0.02)
    relative = (found.sum((1, 2)) - rise).abs() / rise.abs()
    torch.testing.assert_close(error, relative, atol=1e-4, rtol=1e-2)


def test_occlusion_finds_the_only_pixels_that_matter() -> None:
    class Corner(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            score = images[:, :, :4, :4].mean((1, 2, 3))
            return torch.stack([score, -score], 1)

    images = torch.ones(2, 3, 16, 16)
    found = occlusion(Corner(), images, torch.tensor([0, 1]), batch_size=5)
    assert found.shape == (2, 16, 16)
    assert (found[0, :4, :4] > 0).all() and (found[1, :4, :4] < 0).all()
    assert not found[:, 8:, 8:].any()
    top = float(found[0].max())
    assert 0 < top <= float(Corner()(images).softmax(1)[0, 0]) - 0.5 + 1e-6


@pytest.mark.parametrize("size", [1, 2, 8, 15, 28, 32, 33, 96, 224, 299, 512])
def test_occlusion_takes_less_than_two_hundred_passes(size: int) -> None:
    patch, stride = occlusion_window(size)
    assert 1 <= stride <= patch <= size
    assert (-(-(size - patch) // stride) + 1) ** 2 <= 196


ARCHITECTURES = {
    "alexnet": "features.11",
    "vgg16": "features.29",
    "vgg16_bn": "features.42",
    "googlenet": "inception5b",
    "inception_v3": "Mixed_7c",
    "resnet18": "layer4",
    "densenet121": "features.norm5",
    "efficientnet_b0": "features.8",
    "mobilenet_v3_large": "features.16",
    "swin_t": "permute",
}


@pytest.mark.parametrize(("name", "expected"), ARCHITECTURES.items())
def test_the_cam_layer_of_published_networks(name: str, expected: str) -> None:
    with torch.device("meta"):
        net = torchvision_model(name, 10).eval()
        layers = traced(net, torch.zeros(1, 3, 224, 224))
    assert cam_layer(net, layers) == expected
    assert layers[expected].is_maps


def test_the_cam_layer_of_small_networks() -> None:
    for net, expected in ((LeNet5(10, 1), "c3"), (LeNet5Original(10, 1), "s4")):
        assert cam_layer(net, traced(net, torch.zeros(1, 1, 32, 32))) == expected
    lite = timm_model("tf_efficientnet_lite0", 10).eval()
    assert cam_layer(lite, traced(lite, torch.zeros(1, 3, 64, 64))) == "bn2"


def test_networks_without_maps_before_the_head_are_refused_with_a_reason() -> None:
    mlp = MLP(10, 1, 8)
    with pytest.raises(UserError, match=r"no layer with spatial maps.*Try methods="):
        cam_layer(mlp, traced(mlp, torch.zeros(1, 1, 8, 8)))
    transformer = timm_model("vit_tiny_patch16_224", 10, image_size=32).eval()
    layers = traced(transformer, torch.zeros(1, 3, 32, 32))
    with pytest.raises(UserError, match=r"tokens, which attention mixes.*Try methods="):
        cam_layer(transformer, layers)
    with pytest.raises(UserError, match=r"gives 5x192, not maps"):
        require_maps(layers, "blocks.0")
    with pytest.raises(UserError, match=r"Did you mean blocks\.0\?"):
        require_maps(layers, "block.0")


def test_grey_images_have_heatmaps_by_every_method() -> None:
    net, (images, targets) = pooled_net(1), images_of(1)
    methods = ["grad_cam", "grad_cam_pp", "integrated_gradients", "occlusion"]
    for found in heatmaps(net, methods, "3", images, targets):
        assert list(found) == methods
        for heat in found.values():
            assert heat.values.shape == (16, 16) and heat.values.dtype == np.float32
            assert np.abs(heat.shades).max() <= 1
            assert (heat.completeness_error is not None) == (heat.method == methods[2])


def test_randomised_weights_are_others_and_the_same_for_the_same_seed() -> None:
    net = torchvision_model("resnet18", 4, image_size=32).eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state = torch.get_rng_state()
    shape = (3, 32, 32)
    one, same, other = (randomised(net, shape, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name])
        assert torch.equal(one.state_dict()[name], same.state_dict()[name])
    assert not torch.equal(one.conv1.weight, net.conv1.weight)  # type: ignore[arg-type, union-attr]
    assert not torch.equal(one.conv1.weight, other.conv1.weight)  # type: ignore[arg-type, union-attr]


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v3_large", "efficientnet_b0"])
def test_randomised_networks_are_not_sure_of_everything_or_nothing(name: str) -> None:
    net = torchvision_model(name, 10, image_size=64, stem="imagenet").eval()
    with torch.inference_mode():
        logits = randomised(net, (3, 64, 64))(torch.randn(8, 3, 64, 64))
    assert 0.1 < float(logits.std()) < 10


def test_weights_of_any_shape_are_randomised() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(2.0))

        def forward(self, images: Tensor) -> Tensor:
            return self.scale * images.mean((2, 3))

    assert randomised(Scaled(), (3, 8, 8))(torch.ones(1, 3, 8, 8)).shape == (1, 3)


def test_a_logit_that_does_not_rise_has_no_completeness_error() -> None:
    last = nn.Linear(64, 2)
    nn.init.zeros_(last.weight)
    net = nn.Sequential(nn.Flatten(), last).eval()
    (found,) = heatmaps(
        net, ["integrated_gradients"], None, torch.ones(1, 1, 8, 8), torch.tensor([0])
    )
    assert found["integrated_gradients"].completeness_error is None


def test_rank_correlation_is_of_ranks_and_of_nothing_undefined() -> None:
    heat = np.random.default_rng(0).random((5, 5))
    assert rank_correlation(heat, np.exp(heat)) == pytest.approx(1)
    assert rank_correlation(heat, -heat) == pytest.approx(-1)
    assert rank_correlation(heat, np.zeros((5, 5))) is None


def test_an_overlay_colours_what_counts_and_leaves_the_rest_grey() -> None:
    picture = np.full((2, 2, 3), (200, 100, 50), np.uint8)
    found = overlay(picture, np.array([[0.0, 1.0], [-1.0, 0.01]]))
    assert found.dtype == np.uint8 and found.shape == (2, 2, 3)
    assert len(set(found[0, 0].tolist())) == 1  # grey
    assert found[0, 1, 0] > found[0, 1, 2] + 80  # red
    assert found[1, 0, 2] > found[1, 0, 0] + 80  # blue


def test_grids_are_near_square_and_full_where_that_is_possible() -> None:
    assert [columns_of(count) for count in (1, 2, 6, 7, 20, 32, 64, 96)] == [
        1,
        2,
        3,
        3,
        5,
        8,
        8,
        12,
    ]
