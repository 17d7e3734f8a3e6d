"""Every option of every group composes, and builds what it names."""

from typing import Any, get_type_hints

import pytest
import torch
import yaml
from torch import nn

import strided
from strided.config.keys import Config, node_of
from strided.config.schema import arguments_of
from strided.config.targets import build, locate
from strided.config.yaml_files import CONF_DIR, verb_keys
from strided.errors import UserError
from strided.training.losses import build_loss

# Options that leave something to be said, and what.
UNDECIDED = {
    "model=torchvision": "model.name=resnet34",
    "model=timm": "model.name=resnet10t",
    "scheduler=step": "scheduler.step_size=2",
    "scheduler=multistep": "scheduler.milestones=[2,4]",
}


def options_of(*groups: str) -> list[str]:
    """`group=option` for each YAML of these groups."""
    files = sorted(file for group in groups for file in (CONF_DIR / group).glob("*.yaml"))
    return [f"{file.parent.name}={file.stem}" for file in files]


def composed(option: str, *overrides: str) -> Any:
    """The node of a composed group option."""
    name = [UNDECIDED[option]] if option in UNDECIDED else []
    config = strided.compose("train", [option, *name, *overrides])
    return node_of(config, option.partition("=")[0])


ALL_OPTIONS = options_of(*sorted(folder.name for folder in CONF_DIR.iterdir() if folder.is_dir()))


@pytest.mark.parametrize("option", ALL_OPTIONS)
def test_every_option_composes_to_plain_data(option: str) -> None:
    group, _, name = option.partition("=")
    config = strided.compose(
        "train", [option, *([UNDECIDED[option]] if option in UNDECIDED else [])]
    )
    assert yaml.safe_load(yaml.safe_dump(config)) == config
    assert group in ("experiment", "debug") or isinstance(node_of(config, group), dict), name


@pytest.mark.parametrize("verb", ["train", "eval", "predict", "benchmark", "compare"])
def test_every_verb_composes(verb: str) -> None:
    required = {"eval": ["checkpoint=x"], "predict": ["checkpoint=x", "input=y"]}
    assert strided.compose(verb, required.get(verb, []))["traceback"] is False


@pytest.mark.parametrize("verb", ["train", "eval", "predict", "explain", "benchmark", "compare"])
def test_the_type_of_a_config_has_the_keys_of_every_verb(verb: str) -> None:
    groups, keys = verb_keys(verb)
    overlays = {"experiment", "debug"}  # which change other keys and leave none
    assert {*groups, *keys} - overlays <= get_type_hints(Config).keys()


@pytest.mark.parametrize("experiment", options_of("experiment"))
@pytest.mark.parametrize("debug", options_of("debug"))
def test_experiments_and_debug_settings_combine(experiment: str, debug: str) -> None:
    config = strided.compose("train", [experiment, debug])
    assert set(config) == set(strided.compose("train"))


@pytest.mark.parametrize("option", options_of("model"))
def test_every_model_builds(option: str) -> None:
    from strided.models import build_model

    node = {**composed(option), "pretrained": False}
    node = {key: value for key, value in node.items() if value != "auto"}
    if "name" not in node:
        del node["pretrained"]
    with torch.device("meta"):
        assert isinstance(
            build_model(node, num_classes=5, in_channels=3, image_size=224), nn.Module
        )


@pytest.mark.parametrize("option", options_of("data"))
def test_every_data_module_builds_without_its_files(option: str) -> None:
    from strided.data import ImageDataModule

    assert isinstance(build(composed(option), "data"), ImageDataModule)


SOLVED = "optimizer=lbfgs"  # before the first step: tests/training/transfer/test_solved_head.py


@pytest.mark.parametrize("option", [o for o in options_of("optimizer") if o != SOLVED])
def test_every_optimizer_takes_a_step(option: str) -> None:
    weight = nn.Parameter(torch.ones(2))
    optimizer = build(composed(option), "optimizer", params=[weight])
    weight.grad = torch.ones(2)
    optimizer.step()
    assert (weight < 1).all()


@pytest.mark.parametrize("option", options_of("scheduler"))
def test_every_scheduler_builds(option: str) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.1)
    node = composed(option)
    accepted, _ = arguments_of(locate(node["_target_"], "scheduler"))
    steps = {"total_steps": 10} if "total_steps" in accepted else {}
    assert hasattr(build(node, "scheduler", optimizer=optimizer, **steps), "step")


@pytest.mark.parametrize("option", options_of("loss"))
def test_every_loss_is_smallest_for_the_right_class(option: str) -> None:
    loss = build_loss(composed(option), ["cat", "dog"])
    logits, right, wrong = torch.tensor([[4.0, 0.0]]), torch.tensor([0]), torch.tensor([1])
    assert loss(logits, right) < loss(logits, wrong)
    assert loss(logits, torch.tensor([[1.0, 0.0]])) < loss(logits, torch.tensor([[0.5, 0.5]]))


@pytest.mark.parametrize("option", options_of("augment"))
def test_every_augmentation_keeps_the_shape(option: str) -> None:
    augment = build(composed(option), "augment")
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    generator = torch.Generator().manual_seed(0)
    assert augment(images, generator).shape == images.shape
    mixed, labels = augment.mix(images, torch.tensor([0, 1]), 2, generator)
    assert mixed.shape == images.shape and labels.shape == ((2, 2) if augment.mixes else (2,))


@pytest.mark.parametrize("option", ["trainer=auto", "trainer=cpu"])
def test_trainers_build(option: str) -> None:
    assert build(composed(option), "trainer", logger=False).max_epochs == 15


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_the_gpu_trainer_does_not_fall_back_to_the_cpu() -> None:
    with pytest.raises(UserError, match="refused its arguments"):
        build(composed("trainer=gpu"), "trainer", logger=False)


@pytest.mark.parametrize("option", options_of("logger"))
def test_every_logger_builds_without_connecting(option: str) -> None:
    from lightning.pytorch.loggers import Logger

    for name, node in composed(option).items():
        assert isinstance(build(node, f"logger.{name}"), Logger)


def test_every_callback_builds() -> None:
    from lightning.pytorch import Callback

    off_by_default = ["early_stopping.patience=3", "ema.decay=0.9", "lr_finder.steps=50"]
    off_by_default += ["gradient_norms.steps=1", "lookahead.steps=5", "target.value=0.9"]
    off_by_default += ["image_size.start=0.75"]
    on = (f"callbacks.{word}" for word in off_by_default)
    node = composed("callbacks=default", *on)
    for name, callback in node.items():
        assert isinstance(build(callback, f"callbacks.{name}"), Callback)


def test_composing_changes_nothing_for_the_next_time() -> None:
    before = strided.compose("train")
    strided.compose("train", ["model=mlp", "seed=3", "optimizer.lr=1"])
    assert strided.compose("train") == before
