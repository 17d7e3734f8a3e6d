"""The input of a (model, data set) pair is decided and said before anything is decoded."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from strided.config.targets import trusting
from strided.errors import UserError
from strided.models import Plan, plan, torchvision_model
from strided.models.dry_run import Trial

CONF = Path(__file__).parents[2] / "conf" / "model"
NAMED = ["alexnet", "googlenet", "lenet5", "mlp", "resnet18", "vgg16"]
CIFAR10: dict[str, Any] = {
    "default_image_size": 32,
    "published_mean": (0.4914, 0.4822, 0.4465),
    "published_std": (0.2470, 0.2435, 0.2616),
}


def _model(name: str, **arguments: Any) -> dict[str, Any]:
    return {"_target_": "strided.models.torchvision_model", "name": name, **arguments}


def _plan(model: dict[str, Any], native_size: int | None = 32, **arguments: Any) -> Plan:
    channels = arguments.pop("channels", 3)
    return plan(
        model, num_classes=10, channels=channels, native_size=native_size, requested=arguments
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 28, 32, 224])
@pytest.mark.parametrize("name", NAMED)
def test_every_named_model_finds_an_input_for_every_size(
    name: str, size: int, channels: int
) -> None:
    config = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
    assert isinstance(config, dict)
    decided = _plan(config, native_size=size, channels=channels)  # type: ignore[arg-type]
    assert decided.preprocessing.image_size >= min(size, 32)
    trial = Trial(decided.model, 10, channels)
    size = decided.preprocessing.image_size
    assert trial.fits(size)
    assert trial.run(size) is trial.run(size)  # not tried twice
    assert decided.model.get("stem", "imagenet") in ("imagenet", "small")


def test_small_images_get_a_small_stem_and_the_published_statistics() -> None:
    decided = _plan(_model("resnet18", stem="auto"), **CIFAR10)
    assert decided.model["stem"] == "small"
    assert decided.preprocessing.mean == CIFAR10["published_mean"]
    assert decided.notes == [
        "input 3x32x32 (images are 32x32)",
        "stem small: first convolution 3x3 with stride 1, no first pool",
        "mean and std: published with the data set",
    ]


def test_images_of_any_size_get_the_default_size_and_are_measured() -> None:
    decided = _plan(_model("resnet18"), native_size=None, default_image_size=224)
    assert (decided.model["stem"], decided.preprocessing.image_size) == ("imagenet", 224)
    assert decided.preprocessing.mean is decided.preprocessing.std is None


def test_lenet5_brings_its_own_size() -> None:
    decided = _plan({"_target_": "strided.models.LeNet5"}, native_size=8, channels=1)
    assert decided.preprocessing.image_size == 32
    assert "only size" in decided.notes[0]


def test_pretrained_weights_bring_their_preprocessing() -> None:
    decided = _plan(_model("googlenet", pretrained=True), **CIFAR10).preprocessing
    assert (decided.image_size, decided.crop_fraction) == (224, 224 / 256)
    assert decided.mean == decided.std == (0.5, 0.5, 0.5)


def test_what_the_user_asks_for_goes_before_the_weights() -> None:
    asked: dict[str, Any] = {"image_size": 64, "resize": "squash", "crop_fraction": 1.0}
    asked |= {"interpolation": "nearest", "mean": [0.1, 0.2, 0.3], "std": [1, 1, 1]}
    decided = _plan(_model("resnet18", pretrained=True), **asked)
    assert decided.model["stem"] == "imagenet"
    assert decided.preprocessing.mean == (0.1, 0.2, 0.3)
    assert (decided.preprocessing.image_size, decided.preprocessing.resize) == (64, "squash")
    assert decided.preprocessing.interpolation == "nearest"


def test_half_a_normalisation_is_refused() -> None:
    with pytest.raises(UserError, match=r"data\.std"):
        _plan(_model("resnet18", pretrained=True), mean=[0.5, 0.5, 0.5])


def test_grey_images_stay_grey_for_weights_made_on_colour() -> None:
    decided = _plan(_model("resnet18", pretrained=True), channels=1).preprocessing
    assert decided.channels == 1
    assert decided.mean == pytest.approx(((0.485 + 0.456 + 0.406) / 3,))
    assert decided.std == pytest.approx(((0.229 + 0.224 + 0.225) / 3,))


MOBILE = _model("mobilenet_v3_small", stem="auto")


def _checkpoint(file: Path, made_with: Plan | None = None) -> str:
    """Weights of MobileNetV3-Small for 4 classes; of a run of strided if that is given."""
    net = torchvision_model("mobilenet_v3_small", 4, stem="imagenet")
    content: dict[str, Any] = {"state_dict": net.state_dict()}
    if made_with:
        preprocessing = replace(made_with.preprocessing, mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0))
        arguments = {"model": made_with.model, "preprocessing": preprocessing.asdict()}
        content["hyper_parameters"] = arguments
    torch.save(content, file)
    return str(file)


def test_a_weights_file_keeps_the_published_stem(tmp_path: Path) -> None:
    weights = _checkpoint(tmp_path / "w.pth")
    decided = _plan({**MOBILE, "weights": weights}, **CIFAR10)
    assert decided.model["stem"] == "imagenet"
    assert any("model.weights" in note for note in decided.notes)


def test_a_checkpoint_brings_its_stem_and_its_preprocessing(tmp_path: Path) -> None:
    made = _plan(MOBILE, image_size=48, resize="squash", interpolation="lanczos")
    weights = _checkpoint(tmp_path / "best.ckpt", made)
    decided = _plan({**MOBILE, "weights": weights}, native_size=None, default_image_size=224)
    assert made.model["stem"] == decided.model["stem"] == "small"
    assert decided.preprocessing == replace(
        made.preprocessing, mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0)
    )
    assert decided.notes[-1] == "mean and std: from the weights"
    typed = _plan({**MOBILE, "weights": weights}, image_size=96, mean=[0, 0, 0], std=[1, 1, 1])
    assert typed.model["stem"] == "small"
    assert (typed.preprocessing.image_size, typed.preprocessing.mean) == (96, (0, 0, 0))
    assert typed.preprocessing.resize == "squash"


def test_another_stem_than_that_of_the_checkpoint_is_refused(tmp_path: Path) -> None:
    weights = _checkpoint(tmp_path / "best.ckpt", _plan(MOBILE))
    with pytest.raises(UserError, match=r"model\.stem=imagenet.*stem small.*Try model\.stem=auto"):
        _plan({**MOBILE, "weights": weights, "stem": "imagenet"})
    assert _plan({**MOBILE, "weights": weights, "stem": "small"}).model["stem"] == "small"


def test_weights_of_another_network_are_refused_while_planning(tmp_path: Path) -> None:
    weights = _checkpoint(tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth does not fit this network.*Expected.*Try"):
        _plan(_model("resnet18", weights=weights))


def test_a_size_too_small_names_one_that_works_and_the_stem() -> None:
    message = r"alexnet cannot take 32x32 .*stem imagenet.*data\.image_size=64 \(or model\.stem=sm"
    with pytest.raises(UserError, match=message):
        _plan(_model("alexnet", stem="imagenet"), image_size=32)


def test_a_size_the_only_size_excludes_names_that() -> None:
    with pytest.raises(UserError, match=r"LeNet5 cannot take 64x64.*Try data\.image_size=32"):
        _plan({"_target_": "strided.models.LeNet5"}, image_size=64)


def test_a_size_that_patches_do_not_divide_names_one_that_they_do() -> None:
    with pytest.raises(UserError, match=r"patch size.*Try data\.image_size=32"):
        _plan(_model("vit_b_16"), image_size=30)


def test_the_next_size_is_found_where_the_images_are_too_small() -> None:
    decided = _plan(_model("inception_v3"), native_size=28)
    assert decided.preprocessing.image_size == 96
    assert "smallest size inception_v3 takes" in decided.notes[0]
    assert any("none, the images are too small" in note for note in decided.notes)


def test_an_unknown_name_is_not_mistaken_for_a_size() -> None:
    with pytest.raises(UserError, match=r"Try model\.name=resnet18"):
        _plan(_model("resnet81"), image_size=32)


def test_planning_leaves_the_random_state_alone() -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    _plan(_model("resnet18"))
    assert torch.equal(torch.get_rng_state(), state)


class Reader(nn.Module):
    """Reads a value of its input, which a pass of shapes alone cannot give."""

    def __init__(self, num_classes: int, in_channels: int, outputs: int = 0) -> None:
        super().__init__()
        self.layer = nn.Conv2d(in_channels, outputs or num_classes, 3)

    def forward(self, images: Tensor) -> Tensor:
        scale = 1.0 if images.sum().item() == 0 else 2.0
        return self.layer(images).mean(dim=(2, 3)) * scale


@pytest.fixture
def trusted() -> Iterator[str]:
    """The user's own network, in a package that is trusted."""
    with trusting([__name__]):
        yield f"{__name__}.Reader"


def test_a_network_that_reads_values_is_tried_with_real_ones(trusted: str) -> None:
    state = torch.get_rng_state()
    assert _plan({"_target_": trusted}).preprocessing.image_size == 32
    assert torch.equal(torch.get_rng_state(), state)


def test_a_wrong_number_of_outputs_is_found(trusted: str) -> None:
    with pytest.raises(UserError, match=r"gave \(2, 7\).*\(2, 10\)"):
        _plan({"_target_": trusted, "outputs": 7})
