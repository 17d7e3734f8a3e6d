"""Weights files: what matches is loaded and said, what does not is refused."""

import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from strided.errors import UserError
from strided.models import LeNet5, initialise, load_weights, torchvision_model
from strided.models.torchvision_models import current_names
from strided.models.weights import (
    pretrained_preprocessing,
    pretrained_state,
    read_weights,
)

RESNET = {"_target_": "strided.models.torchvision_model", "name": "resnet18", "stem": "imagenet"}


class Small(nn.Module):
    """A stem, a BatchNorm and a head: what loading distinguishes."""

    def __init__(self, num_classes: int = 3, in_channels: int = 3, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, num_classes)


def _same(a: dict[str, Tensor], b: dict[str, Tensor], *names: str) -> bool:
    return all(torch.equal(a[name], b[name]) for name in names)


@pytest.mark.parametrize("prefix", ["", "model.", "module.", "model._orig_mod.", "backbone."])
@pytest.mark.parametrize("outer", [None, "state_dict", "model"])
def test_wrapped_and_prefixed_states_are_recognised(
    tmp_path: Path, prefix: str, outer: str | None
) -> None:
    source, net = Small(), Small()
    state: Any = {prefix + name: tensor for name, tensor in source.state_dict().items()}
    torch.save({outer: state, "epoch": 3} if outer else state, tmp_path / "w.pth")
    report = load_weights(net, tmp_path / "w.pth", num_classes=3)
    assert report.matched == len(source.state_dict())
    assert report.adapted == report.head == report.unexpected == []
    assert _same(net.state_dict(), source.state_dict(), *source.state_dict())


def test_safetensors_are_read(tmp_path: Path) -> None:
    source, net = Small(), Small()
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    load_weights(net, str(tmp_path / "w.safetensors"), num_classes=3)
    assert _same(net.state_dict(), source.state_dict(), *source.state_dict())


def test_a_head_for_other_classes_begins_near_zero_and_is_said() -> None:
    source, net = Small(num_classes=1000), Small(num_classes=3)
    nn.init.constant_(net.head.weight, 5.0)
    report = load_weights(net, source.state_dict(), num_classes=3, source="the file")
    assert report.head == ["head.weight", "head.bias"]
    assert 0 < net.head.weight.abs().max() < 0.1 and not net.head.bias.any()
    assert _same(net.state_dict(), source.state_dict(), "stem.weight", "norm.running_mean")
    assert "7 tensors loaded from the file" in report.describe()
    assert "new head: head.weight, head.bias" in report.describe()


def test_a_backbone_without_head_is_taken() -> None:
    state = {k: v for k, v in Small().state_dict().items() if not k.startswith("head")}
    assert load_weights(Small(), state, num_classes=3).head == ["head.weight", "head.bias"]


def test_auxiliary_heads_for_other_classes_are_left() -> None:
    with torch.device("meta"):
        state = torchvision_model("googlenet", 1000).state_dict()
    state = {name: torch.zeros(tensor.shape, dtype=tensor.dtype) for name, tensor in state.items()}
    report = load_weights(torchvision_model("googlenet", 4), state, num_classes=4)
    heads = {"fc", "aux1.fc2", "aux2.fc2"}
    assert {name.rpartition(".")[0] for name in report.head} == heads


def test_colour_filters_are_summed_for_grey() -> None:
    source, net = Small(in_channels=3), Small(in_channels=1)
    report = load_weights(net, source.state_dict(), num_classes=3)
    assert report.adapted == ["stem.weight"]
    grey = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(net.stem(grey), source.stem(grey.expand(-1, 3, -1, -1)))


def test_grey_filters_are_spread_evenly_over_colour() -> None:
    source, net = Small(in_channels=1), Small(in_channels=3)
    load_weights(net, source.state_dict(), num_classes=3)
    grey = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(net.stem(grey.expand(-1, 3, -1, -1)), source.stem(grey))


def test_other_channel_counts_are_refused() -> None:
    with pytest.raises(UserError, match=r"stem\.weight is 8x4x3x3 in the file and 8x3x3x3 here"):
        load_weights(Small(), Small(in_channels=4).state_dict(), num_classes=3)


def test_another_backbone_is_refused_and_nothing_is_changed() -> None:
    net = Small()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(UserError, match=r"2 of its 9 tensors matched.*model\.stem=imagenet"):
        load_weights(net, Small(width=16).state_dict(), num_classes=3)
    assert _same(net.state_dict(), before, *before)


def test_a_missing_tensor_is_named() -> None:
    state = Small().state_dict()
    del state["norm.weight"]
    with pytest.raises(UserError, match=r"norm\.weight is not in the file"):
        load_weights(Small(), state, num_classes=3)


def test_files_older_than_num_batches_tracked_are_taken() -> None:
    state = Small().state_dict()
    del state["norm.num_batches_tracked"]
    assert load_weights(Small(), state, num_classes=3).matched == len(state)


def test_foreign_tensors_are_listed() -> None:
    state = Small().state_dict() | {"projector.weight": torch.zeros(2)}
    report = load_weights(Small(), state, num_classes=3)
    assert report.unexpected == ["projector.weight"]
    assert "ignored: projector.weight" in report.describe()


def test_imagenet_weights_in_a_small_stem_point_to_the_stem() -> None:
    state = torchvision_model("resnet18", 10, stem="imagenet").state_dict()
    net = torchvision_model("resnet18", 10, stem="small")
    with pytest.raises(UserError, match=r"conv1\.weight is 64x3x7x7.*model\.stem=imagenet"):
        load_weights(net, state, num_classes=10)


def test_old_torchvision_names_are_translated() -> None:
    zero = torch.zeros(1)
    old = ["features.denseblock1.denselayer2.norm.1.weight", "encoder.l0.mlp.linear_2.bias"]
    new = ["features.denseblock1.denselayer2.norm1.weight", "encoder.l0.mlp.3.bias"]
    assert list(current_names(dict.fromkeys(old, zero))) == new


class _Payload:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (Path("must-not-appear"),)  # type: ignore[return-value]


def test_a_pickle_that_would_run_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pth").write_bytes(pickle.dumps({"a": _Payload()}, protocol=2))
    with pytest.raises(UserError, match="could run code"):
        read_weights(tmp_path / "w.pth")
    assert not (tmp_path / "must-not-appear").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"<html>404 Not Found</html>", b"PK\x03\x04 torn"])
def test_damaged_files_are_refused_in_words(tmp_path: Path, suffix: str, content: bytes) -> None:
    (tmp_path / f"w{suffix}").write_bytes(content)
    with pytest.raises(UserError, match=r"(?s)w\.\w+ (cannot be read|is damaged).*Expected.*Try"):
        read_weights(tmp_path / f"w{suffix}")


def test_a_truncated_file_is_refused_in_words(tmp_path: Path) -> None:
    torch.save(Small().state_dict(), tmp_path / "w.pth")
    whole = (tmp_path / "w.pth").read_bytes()
    (tmp_path / "w.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cannot be read"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize("content", [[1, 2], {"lr": 0.1}, torch.zeros(3)])
def test_what_is_not_a_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match="holds no weights"):
        read_weights(tmp_path / "w.pth")


def test_weights_that_are_no_numbers_are_refused_by_name() -> None:
    state = Small().state_dict()
    name = next(iter(state))
    state[name] = state[name] / 0
    with pytest.raises(UserError, match=rf"{name} holds values.*not finite.*expected.*Try"):
        load_weights(Small(), state, 3)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.pth does not exist"):
        read_weights(tmp_path / "none.pth")


def test_a_folder_is_called_one_and_of_a_run_its_best_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is a folder.*Expected.*Try model\.weights=.*<file>"):
        read_weights(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "best.ckpt").touch()
    with pytest.raises(UserError, match=r"Try model\.weights=.*checkpoints.best\.ckpt$"):
        read_weights(tmp_path)


def test_pretrained_weights_come_from_torchvisions_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # torch.hub checks the hash of what it downloads, and trusts what its cache already holds.
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    source = torchvision_model("resnet18", 1000)
    torch.save(source.state_dict(), tmp_path / "hub/checkpoints/resnet18-f37072fd.pth")
    net = torchvision_model("resnet18", 5, in_channels=1, stem="imagenet")
    (note,) = initialise(net, {**RESNET, "pretrained": True}, num_classes=5)
    assert _same(net.state_dict(), source.state_dict(), "layer4.1.bn2.weight")
    assert "the pretrained weights of resnet18" in note
    assert "conv1.weight" in note


FILES = {  # as torchvision's addresses end
    "alexnet": "alexnet-owt-7be5be79.pth",
    "vgg16": "vgg16-397923af.pth",
    "googlenet": "googlenet-1378be20.pth",
    "resnet50": "resnet50-11ad3fa6.pth",
    "densenet121": "densenet121-a639ec97.pth",
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name == "vgg16")) for name in FILES],
)
def test_torchvisions_files_give_torchvisions_logits(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {"init_weights": False} if name == "googlenet" else {}
    theirs = torchvision.models.get_model(name, weights=None, **arguments).eval()
    state = theirs.state_dict()
    if name == "densenet121":  # whose file is older than its names
        state = {
            re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", key): tensor
            for key, tensor in state.items()
        }
    file = tmp_path / "hub/checkpoints" / FILES[name]
    file.parent.mkdir(parents=True)
    torch.save(state, file)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    theirs.transform_input = False  # what strided does outside the network
    images = torch.randn(1, 3, 96, 96)
    config = {**RESNET, "name": name}
    for given in ({**config, "pretrained": True}, {**config, "weights": str(file)}):
        ours = torchvision_model(name, 1000, image_size=96, stem="imagenet").eval()
        (note,) = initialise(ours, given, num_classes=1000)
        assert "new head" not in note
        with torch.no_grad():
            assert torch.equal(ours(images), theirs(images))
        few = torchvision_model(name, 5, image_size=96, stem="imagenet").eval()
        (note,) = initialise(few, given, num_classes=5)
        assert "new head: " in note and few(images).shape == (1, 5)


def test_a_file_goes_before_pretrained_weights(tmp_path: Path) -> None:
    source, net = LeNet5(10, 1), LeNet5(10, 1)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    config = {"_target_": "strided.models.LeNet5", "weights": str(tmp_path / "w.pth")}
    initialise(net, {**config, "pretrained": True}, num_classes=10)
    assert _same(net.state_dict(), source.state_dict(), "c1.weight", "output.weight")


def test_without_weights_the_network_stays_as_built() -> None:
    assert initialise(LeNet5(10, 1), {"weights": None}, num_classes=10) == []


def test_offline_the_file_and_its_folder_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens on "discard"
    with pytest.raises(UserError, match=r"resnet18-f37072fd\.pth in .*hub/checkpoints") as caught:
        pretrained_state(RESNET)
    assert str(tmp_path) in str(caught.value)
    assert "model.weights=<file>" in str(caught.value)


def test_googlenet_weights_expect_half_as_mean_and_std() -> None:
    preprocessing = pretrained_preprocessing({**RESNET, "name": "googlenet"})
    assert preprocessing["mean"] == preprocessing["std"] == (0.5, 0.5, 0.5)
    assert preprocessing["image_size"] == 224
    assert preprocessing["crop_fraction"] == 224 / 256


def test_timm_weights_bring_their_own_preprocessing() -> None:
    config = {"_target_": "strided.models.timm_model", "name": "tf_efficientnet_lite0"}
    assert pretrained_preprocessing(config) == {
        "image_size": 224,
        "resize": "crop",
        "crop_fraction": 0.875,
        "interpolation": "bicubic",
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
    }


def test_timm_weights_offline_say_where_they_are_expected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    config = {"_target_": "strided.models.timm_model", "name": "tf_efficientnet_lite3"}
    with pytest.raises(UserError, match=r"timm/tf_efficientnet_lite3.*Try model\.weights=<file>"):
        pretrained_state(config)


def test_networks_without_published_weights_say_so() -> None:
    config = {"_target_": "strided.models.LeNet5"}
    with pytest.raises(UserError, match="no published weights"):
        pretrained_state(config)
