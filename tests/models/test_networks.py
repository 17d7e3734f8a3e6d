"""Every model of the group: images in, logits out, one step, the published parameter counts."""

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from strided.config.yaml_files import CONF_DIR
from strided.errors import UserError
from strided.models import (
    MLP,
    LeNet5,
    build_model,
    timm_model,
    torchvision_model,
)
from strided.models.stems import first_convolution

TORCHVISION = "strided.models.torchvision_model"
CASES: list[tuple[dict[str, Any], int]] = [
    ({"_target_": "strided.models.MLP"}, 8),
    ({"_target_": "strided.models.MLP", "hidden": [16], "dropout": 0.5}, 64),
    ({"_target_": "strided.models.LeNet5"}, 32),
    ({"_target_": "strided.models.LeNet5", "activation": "relu", "pooling": "max"}, 32),
    ({"_target_": "strided.models.LeNet5Original"}, 32),
    ({"_target_": "strided.models.CifarResNet", "depth": 8}, 30),
    ({"_target_": "strided.models.CifarResNet", "depth": 14, "residual": False}, 32),
    ({"_target_": TORCHVISION, "name": "alexnet"}, 32),
    ({"_target_": TORCHVISION, "name": "alexnet", "stem": "imagenet"}, 64),
    ({"_target_": TORCHVISION, "name": "googlenet"}, 32),
    ({"_target_": TORCHVISION, "name": "resnet18"}, 32),
    ({"_target_": TORCHVISION, "name": "resnet18", "stem": "imagenet"}, 64),
    ({"_target_": TORCHVISION, "name": "resnet18"}, 224),
    ({"_target_": TORCHVISION, "name": "vgg16"}, 32),
    ({"_target_": TORCHVISION, "name": "mobilenet_v3_small"}, 32),
    ({"_target_": TORCHVISION, "name": "densenet121"}, 28),
    ({"_target_": "strided.models.timm_model", "name": "resnet10t"}, 64),
    ({"_target_": "strided.models.timm_model", "name": "tf_efficientnet_lite0"}, 32),
    ({"_target_": "strided.models.timm_model", "name": "vit_tiny_patch16_224"}, 32),
]


def _name(value: Any) -> str:
    return "-".join(str(v) for v in value.values()) if isinstance(value, dict) else str(value)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _parameters(net: nn.Module, without: tuple[str, ...] = ()) -> int:
    return sum(p.numel() for name, p in net.named_parameters() if not name.startswith(without))


def _on_meta(name: str, num_classes: int, **arguments: Any) -> nn.Module:
    with torch.device("meta"):
        return torchvision_model(name, num_classes, **arguments)


@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize(("config", "image_size"), CASES, ids=_name)
def test_one_step_gives_finite_gradients_to_every_parameter(
    config: dict[str, Any], image_size: int, in_channels: int
) -> None:
    net = build_model(config, num_classes=5, in_channels=in_channels, image_size=image_size)
    images = torch.randn(2, in_channels, image_size, image_size)
    before = [p.detach().clone() for p in net.parameters()]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    logits = net(images)
    outputs = [logits, *getattr(net, "auxiliary_logits", ())]
    loss = sum(nn.functional.cross_entropy(o, torch.tensor([1, 3])) for o in outputs)
    assert isinstance(loss, Tensor)
    loss.backward()
    optimizer.step()
    assert logits.shape == (2, 5)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    assert any(not torch.equal(p, b) for p, b in zip(net.parameters(), before, strict=True))
    assert net.eval()(images).shape == (2, 5)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("alexnet", 61_100_840),
        ("densenet121", 7_978_856),
        ("efficientnet_b0", 5_288_548),
        ("googlenet", 6_624_904),
        ("inception_v3", 23_834_568),
        ("mobilenet_v3_large", 5_483_032),
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
        ("resnet152", 60_192_808),
        ("vgg16", 138_357_544),
        ("vgg16_bn", 138_365_992),
        ("vgg19", 143_667_240),
    ],
)
def test_parameters_at_imagenet_are_the_published_number(name: str, count: int) -> None:
    assert _parameters(_on_meta(name, 1000), without=("aux", "AuxLogits")) == count
    header = (CONF_DIR / "model" / f"{name}.yaml").read_text()
    assert f"{count:,} parameters" in header.replace("\n# ", " ")


def test_parameters_of_the_documented_small_networks() -> None:
    assert _parameters(LeNet5(10, 1)) == 61_706
    assert _parameters(MLP(10, 1, 32)) == 658_698
    assert _parameters(_on_meta("alexnet", 10, image_size=32)) == 28_711_754
    assert _parameters(_on_meta("vgg16", 10, image_size=32)) == 15_245_130
    assert _parameters(_on_meta("vgg16_bn", 10, image_size=32)) == 15_253_578
    assert _parameters(_on_meta("vgg19", 10, image_size=32)) == 20_554_826
    assert _parameters(_on_meta("resnet18", 10, image_size=32)) == 11_173_962
    with torch.device("meta"):
        assert _parameters(timm_model("tf_efficientnet_lite0", 1000)) == 4_652_008


def test_lenet5_has_the_map_sizes_of_the_paper() -> None:
    shapes = {}
    net = LeNet5(10, 1)
    for name, layer in net.named_children():
        layer.register_forward_hook(lambda m, i, o, name=name: shapes.update({name: o.shape[1:]}))
    net(torch.zeros(1, 1, 32, 32))
    assert shapes["c1"] == (6, 28, 28)
    assert shapes["s2"] == (6, 14, 14)
    assert shapes["c3"] == (16, 10, 10)
    assert shapes["s4"] == (16, 5, 5)
    assert shapes["c5"] == (120, 1, 1)
    assert shapes["f6"] == (84,)


def test_small_stem_keeps_the_resolution_of_small_images() -> None:
    for name in ("resnet18", "resnext50_32x4d", "wide_resnet50_2", "googlenet", "densenet121"):
        net = _on_meta(name, 10, image_size=32)
        convolution = first_convolution(net)[1]
        assert (convolution.kernel_size, convolution.stride) == ((3, 3), (1, 1))
        assert any(isinstance(m, nn.Identity) for m in net.modules())


def test_small_stem_of_mobile_networks_is_a_unit_stride_in_either_library() -> None:
    with torch.device("meta"):
        for build, name in (
            (torchvision_model, "mobilenet_v3_large"),
            (torchvision_model, "efficientnet_b0"),
            (timm_model, "tf_efficientnet_lite0"),
            (timm_model, "mobilenetv3_small_100"),
        ):
            strides = [first_convolution(build(name, 10, 3, s))[1].stride for s in (64, 65)]
            assert strides == [(1, 1), (2, 2)], name


def test_auto_stem_is_the_published_one_for_large_images() -> None:
    assert first_convolution(_on_meta("resnet18", 10, image_size=65))[1].kernel_size == (7, 7)


def test_small_stem_of_a_family_without_one_is_refused() -> None:
    with pytest.raises(UserError, match=r"vit_tiny_patch16_224 has no stem.*timm's.*mobilenetv3"):
        timm_model("vit_tiny_patch16_224", 10, stem="small")
    with pytest.raises(UserError, match=r"squeezenet1_0 has no stem.*resnet.*model.stem=imagenet"):
        torchvision_model("squeezenet1_0", 10, stem="small")


def test_activations_of_vgg16_neither_vanish_nor_explode() -> None:
    logits = torchvision_model("vgg16", 10, image_size=32).eval()(torch.randn(4, 3, 32, 32))
    assert 1e-3 < logits.std().item() < 1e2


@pytest.mark.parametrize("build", [torchvision_model, timm_model])
def test_an_unknown_name_gets_the_closest(build: Any) -> None:
    with pytest.raises(UserError, match="resnet18"):
        build("resnet81", num_classes=10)


def test_dropout_reaches_the_constructor_or_is_refused() -> None:
    net = _on_meta("googlenet", 10, dropout=0.5)
    assert net.dropout.p == 0.5  # type: ignore[union-attr]
    with pytest.raises(UserError, match=r"model\.dropout=null"):
        torchvision_model("resnet18", 10, dropout=0.5)


@pytest.mark.parametrize(
    ("name", "heads", "weight"), [("googlenet", 2, 0.3), ("inception_v3", 1, 0.4)]
)
def test_auxiliary_logits_exist_in_training_only(name: str, heads: int, weight: float) -> None:
    net = _on_meta(name, 10, image_size=299)
    images = torch.zeros(2, 3, 299, 299, device="meta")
    assert net(images).shape == (2, 10)
    assert net.auxiliary_weight == weight
    assert [tuple(a.shape) for a in net.auxiliary_logits] == [(2, 10)] * heads  # type: ignore[union-attr]
    assert net.eval()(images).shape == (2, 10)
    assert net.auxiliary_logits == ()


def test_inception_has_no_auxiliary_head_where_it_does_not_fit() -> None:
    net = _on_meta("inception_v3", 10, image_size=96)
    assert net(torch.zeros(2, 3, 96, 96, device="meta")).shape == (2, 10)
    assert net.auxiliary_logits == ()


def test_state_dict_keys_stay_those_of_torchvision() -> None:
    from torchvision.models import googlenet

    with torch.device("meta"):
        theirs = googlenet(init_weights=False)
    assert _on_meta("googlenet", 1000).state_dict().keys() == theirs.state_dict().keys()


def test_a_network_in_training_can_be_copied_and_pickled() -> None:
    net = torchvision_model("googlenet", 4, image_size=32)
    images = torch.randn(2, 3, 32, 32)
    net(images)
    for clone in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert clone.auxiliary_logits == ()
        clone(images)
        assert len(clone.auxiliary_logits) == 2
    torch.save(net, io.BytesIO())


@pytest.mark.slow
# Dynamo itself reads .grad of tensors that are no leaves (torch 2.14, November 2026).
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_auxiliary_logits_carry_gradients_when_compiled() -> None:
    net = torchvision_model("googlenet", 4, image_size=32)
    net.compile(backend="eager")
    net(torch.randn(2, 3, 32, 32))
    first, second = net.auxiliary_logits  # type: ignore[misc]
    (first.sum() + second.sum()).backward()
    assert net.get_parameter("aux1.fc2.weight").grad is not None
    assert net.get_parameter("aux2.fc2.weight").grad is not None


def test_a_wrong_key_is_named_with_those_that_exist() -> None:
    config = {"_target_": "strided.models.LeNet5", "activaton": "relu"}
    with pytest.raises(UserError, match=r"argument 'activaton'.*model\.activaton=relu"):
        build_model(config, num_classes=10, in_channels=1, image_size=32)


def test_what_the_data_decides_cannot_be_set_on_the_model() -> None:
    config = {"_target_": "strided.models.LeNet5", "num_classes": 5}
    with pytest.raises(UserError, match=r"argument 'num_classes'.*model\.num_classes=5"):
        build_model(config, num_classes=10, in_channels=1, image_size=32)


def test_options_of_timm_reach_the_network() -> None:
    config = {"_target_": "strided.models.timm_model", "name": "test_resnet", "drop_rate": 0.25}
    net: Any = build_model(config, num_classes=10, in_channels=1, image_size=32)
    assert net.drop_rate == 0.25 and not hasattr(net, "nonsense")
    with pytest.raises(UserError, match=r"drop_rat\b.*model\.drop_rat=0\.25"):
        build_model({**config, "drop_rat": 0.25}, num_classes=10, in_channels=1, image_size=32)


def test_a_bad_value_is_reported_with_the_key() -> None:
    config = {"_target_": "strided.models.MLP", "dropout": 1.5}
    with pytest.raises(UserError, match=r"dropout probability.*model\.dropout"):
        build_model(config, num_classes=10, in_channels=1, image_size=32)


@pytest.mark.parametrize("key", ["checkpoint_path", "pretrained_cfg", "features_only", "cache_dir"])
def test_options_by_which_timm_would_read_files_are_refused(key: str) -> None:
    with pytest.raises(UserError, match=f"model.{key} .*Try model.pretrained=true"):
        build_model(
            {"_target_": "strided.models.timm_model", "name": "resnet18", key: "evil.pth"},
            num_classes=2,
            in_channels=3,
            image_size=32,
        )


def test_an_mlp_without_a_neuron_in_a_layer_is_refused() -> None:
    with pytest.raises(UserError, match=r"model.hidden=\[8, 0\].*1 or more"):
        MLP(num_classes=2, in_channels=1, image_size=8, hidden=[8, 0])
