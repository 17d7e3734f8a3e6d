"""The pooled head: which numbers it takes, of which networks, and what is left out."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from strided.data import Preprocessing
from strided.errors import UserError
from strided.explain import cam_layer, grad_cam, traced
from strided.models import build_model
from strided.models.anatomy import anatomy
from strided.models.outline import require_same_network
from strided.models.pooled import PooledNetwork, columns_of_blocks, taken_blocks
from strided.models.weights import load_weights

TORCHVISION = {"_target_": "strided.models.torchvision_model", "stem": "imagenet"}
TIMM = {"_target_": "strided.models.timm_model", "stem": "imagenet"}


def network(config: dict[str, Any], size: int = 64, **more: Any) -> nn.Module:
    torch.manual_seed(0)
    return build_model({**config, **more}, num_classes=5, in_channels=3, image_size=size).eval()


def pooled(config: dict[str, Any], blocks: list[str | int], **more: Any) -> PooledNetwork:
    net = network(config, head="pooled", pooled=blocks, **more)
    assert isinstance(net, PooledNetwork)
    return net


# network, blocks, their names, features of all
CASES: list[tuple[dict[str, Any], list[str | int], list[str], int]] = [
    (
        {**TIMM, "name": "tf_efficientnet_lite0"},
        [f"blocks.{stage}" for stage in range(5)],
        [f"blocks.{stage}" for stage in range(5)],
        544,
    ),
    ({**TORCHVISION, "name": "resnet18"}, ["layer2", "layer1"], ["layer1", "layer2"], 384),
    ({**TORCHVISION, "name": "vgg11"}, [0, 2], ["block1", "block3"], 2 * (64 + 256)),
    ({**TORCHVISION, "name": "googlenet"}, ["inception3a"], ["inception3a"], 512),
    (
        {**TORCHVISION, "name": "densenet121"},
        ["features.denseblock1", "features.transition1"],
        ["features.denseblock1", "features.transition1"],
        2 * (256 + 128),
    ),
]


@pytest.mark.parametrize(("config", "blocks", "names", "count"), CASES, ids=lambda v: str(v)[:40])
def test_features_are_of_the_maps_at_the_end_of_the_blocks(
    config: dict[str, Any], blocks: list[str | int], names: list[str], count: int
) -> None:
    whole, own = network(config), pooled(config, blocks)
    load_weights(own, whole.state_dict(), num_classes=5)
    images, expected, taken = torch.randn(2, 3, 64, 64), list[Tensor](), list[Tensor]()
    by_name = {block.name: block.modules[-1] for block in anatomy(whole).blocks}
    for name in names:
        by_name[name].register_forward_hook(lambda *given: expected.append(given[2].clone()))
    own.head.register_forward_hook(lambda *given: taken.append(given[1][0]))
    with torch.no_grad():
        whole(images)
        assert own(images).shape == (2, 5)
    numbers = [part for m in expected for part in (m.mean((2, 3)), m.std((2, 3), correction=0))]
    assert torch.allclose(taken[0], torch.cat(numbers, 1), rtol=1e-4, atol=1e-5)
    assert taken[0].shape == (2, count) and own.pooled == names
    kept = [block.name for block in anatomy(own).blocks]
    assert kept == [block.name for block in anatomy(whole).blocks][: len(kept)]
    assert kept[-1] == names[-1]  # nothing is computed, or stored, behind it
    assert anatomy(own).head.units[0][1] is own.head


@pytest.mark.parametrize(
    ("config", "block", "end", "pooling"),
    [
        ({**TORCHVISION, "name": "resnet18"}, "layer4", "layer4", "avgpool"),
        ({**TORCHVISION, "name": "googlenet"}, "inception5b", "inception5b", "avgpool"),
        ({**TIMM, "name": "tf_efficientnet_lite0"}, "conv_head", "bn2", "global_pool"),
    ],
)
def test_of_the_last_block_the_networks_own_pooling_is_left_out(
    config: dict[str, Any], block: str, end: str, pooling: str
) -> None:
    whole, own = network(config), pooled(config, [block])
    load_weights(own, whole.state_dict(), num_classes=5)
    at_the_end, means, taken = list[Tensor](), list[Tensor](), list[Tensor]()
    whole.get_submodule(end).register_forward_hook(lambda *given: at_the_end.append(given[2]))
    whole.get_submodule(pooling).register_forward_hook(lambda *given: means.append(given[2]))
    own.head.register_forward_hook(lambda *given: taken.append(given[1][0]))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        whole(images)
        own(images)
    mean, deviation = taken[0].chunk(2, 1)
    assert torch.allclose(mean, means[0].flatten(1), rtol=1e-4, atol=1e-5)
    assert torch.allclose(deviation, at_the_end[0].std((2, 3), correction=0), rtol=1e-4, atol=1e-5)
    assert deviation.unique().numel() > 100  # of one place they would all be the same


def test_means_alone_are_half_as_many() -> None:
    config = {**TORCHVISION, "name": "resnet18"}
    own = pooled(config, ["layer1"], pool="mean")
    assert own.sizes == [("layer1", 64)]


def test_a_pooled_network_is_copied_traced_explained_and_trained() -> None:
    own = pooled({**TORCHVISION, "name": "resnet18"}, ["layer1", "layer2"])
    images = torch.zeros(2, 3, 64, 64)  # constant maps: a deviation of 0 has no slope
    own.train()
    own(images).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in own.parameters())
    own.eval()
    images = torch.randn(2, 3, 64, 64)
    logits = own(images)
    assert torch.equal(copy.deepcopy(own)(images), logits)
    program = torch.export.export(own, (images,))
    assert torch.allclose(program.module()(images), logits, atol=1e-5)
    assert cam_layer(own, traced(own, images)) == "layer2"


def test_a_cam_is_of_the_last_block_that_the_head_takes_anything_of() -> None:
    own = pooled({**TORCHVISION, "name": "resnet18"}, ["layer1", "layer2", "layer3"]).eval()
    linear = own.head.get_submodule("1")
    assert isinstance(linear, nn.Linear) and taken_blocks(own) == own.pooled
    with torch.no_grad():
        columns_of_blocks(own, linear)[2].zero_()  # as optimizer.last leaves it
    assert taken_blocks(own) == ["layer1", "layer2"]
    images = torch.randn(2, 3, 64, 64)
    layer = cam_layer(own, traced(own, images))
    assert layer == "layer2"
    heat = grad_cam(own, layer, images, torch.tensor([0, 1]))
    assert (heat.amax((1, 2)) > 0).all()
    assert not grad_cam(own, "layer3", images, torch.tensor([0, 1])).any()


@pytest.mark.parametrize(
    ("config", "more", "expected"),
    [
        ({"name": "resnet18"}, {}, ["pools no block", "0 conv1, 1 layer1", "model.pooled=["]),
        ({"name": "resnet18"}, {"pooled": ["layer9"]}, ["layer9", "4 layer4", "layer"]),
        ({"name": "resnet18"}, {"pooled": [9]}, ["has 9", "Try model.pooled=[layer4]"]),
        ({"name": "resnet18"}, {"pooled": [1], "pool": "max"}, ["mean or mean_std"]),
        ({"name": "swin_t"}, {"pooled": [1]}, ["no maps", "model.head=linear"]),
    ],
)
def test_mistakes_say_what_to_try(
    config: dict[str, Any], more: dict[str, Any], expected: list[str]
) -> None:
    with pytest.raises(UserError) as raised:
        network({**TORCHVISION, **config}, head="pooled", **more)
    for part in expected:
        assert part in str(raised.value)


class Skips(nn.Module):
    """Adds the image to its second block, which a row of blocks does not."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 3, padding=1)
        self.pool = nn.AvgPool2d(3, 1, 1)
        self.second = nn.Conv2d(3, 3, 3, padding=1)
        self.head = nn.Linear(3, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.second(self.pool(self.first(images)) + images).mean((2, 3)))


def test_a_network_of_other_order_is_refused() -> None:
    from strided.models.heads import set_head

    net = set_head(Skips(), "pooled", 5, (3, 8, 8), pooled=["first"])  # before the sum
    assert net(torch.zeros(2, 3, 8, 8)).shape == (2, 5)
    with pytest.raises(UserError, match=r"in a row; expected .* Try model.head=linear"):
        set_head(Skips(), "pooled", 5, (3, 8, 8), pooled=["second"])


def test_layers_that_are_left_out_may_not_fill_the_memory_of_who_loads_a_checkpoint(
    tmp_path: Path,
) -> None:
    small = {"depths": [1, 1, 1, 1], "dims": [8, 8, 8, 8]}
    config = {**TIMM, "name": "convnext_atto", "head": "pooled", "pooled": [0], **small}
    net = build_model(config, num_classes=2, in_channels=3, image_size=32)
    state = {f"model.{name}": tensor for name, tensor in net.state_dict().items()}
    file = tmp_path / "best.ckpt"
    torch.save(state, file)
    given = (2, Preprocessing(3, 32), state, file)
    require_same_network(config, *given)
    huge = {"depths": [1, 1, 300, 1], "dims": [8, 8, 3000, 8]}  # the third: 86 GB
    with pytest.raises(UserError, match="far larger network"):
        require_same_network({**config, **huge}, *given)
