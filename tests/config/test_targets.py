import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import yaml
from torch import nn

import strided
from strided.cli import main
from strided.config.schema import arguments_of, check, describe, fits
from strided.config.targets import build, locate, trusting
from strided.config.yaml_files import CONF_DIR
from strided.errors import UserError, did_you_mean
from strided.training.loading import load_task
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
    return config[option.partition("=")[0]]


ALL_OPTIONS = options_of(*sorted(folder.name for folder in CONF_DIR.iterdir() if folder.is_dir()))


@pytest.mark.parametrize("option", ALL_OPTIONS)
def test_every_option_composes_to_plain_data(option: str) -> None:
    group, _, name = option.partition("=")
    config = strided.compose(
        "train", [option, *([UNDECIDED[option]] if option in UNDECIDED else [])]
    )
    assert yaml.safe_load(yaml.safe_dump(config)) == config
    assert group in ("experiment", "debug") or isinstance(config[group], dict), name


@pytest.mark.parametrize("verb", ["train", "eval", "predict", "benchmark", "compare"])
def test_every_verb_composes(verb: str) -> None:
    required = {"eval": ["checkpoint=x"], "predict": ["checkpoint=x", "input=y"]}
    assert strided.compose(verb, required.get(verb, []))["traceback"] is False


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


@pytest.mark.parametrize("option", options_of("optimizer"))
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
    accepted, _ = arguments_of(locate(node["_target_"]))
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
    off_by_default.append("gradient_norms.steps=1")
    on = (f"callbacks.{word}" for word in off_by_default)
    node = composed("callbacks=default", *on)
    for name, callback in node.items():
        assert isinstance(build(callback, f"callbacks.{name}"), Callback)


def test_composing_changes_nothing_for_the_next_time() -> None:
    before = strided.compose("train")
    strided.compose("train", ["model=mlp", "seed=3", "optimizer.lr=1"])
    assert strided.compose("train") == before


# Types


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (3, int, True),
        (3.0, int, False),
        (True, int, False),
        (3, float, True),
        (True, float, False),
        ("3", float, False),
        (True, bool, True),
        (1, bool, False),
        ("a", str, True),
        (3, str, False),
        ("a/b", Path, True),
        (None, int, False),
        (None, int | None, True),
        ("x", int | None, False),
        ("max", Literal["min", "max"], True),
        ("most", Literal["min", "max"], False),
        (True, Literal[1], False),
        ([1, 2], list[int], True),
        ([1, "b"], list[int], False),
        (1, list[int], False),
        ("ab", list[str], False),
        ([0.9, 0.99], tuple[float, float], True),
        ([0.9], tuple[float, float], False),
        ([1, 2, 3], tuple[int, ...], True),
        ({"a": 1}, dict[str, int], True),
        ([1], dict[str, int], False),
        ({"_target_": "torch.nn.ReLU"}, nn.Module, True),
        ("anything", Any, True),
    ],
)
def test_values_fit_their_types(value: Any, annotation: Any, expected: bool) -> None:
    assert fits(value, annotation) is expected


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (int, "a whole number"),
        (float, "a number"),
        (bool, "true or false"),
        (str, "text"),
        (float | None, "a number or null"),
        (Literal["min", "max"], "min, max"),
        (list[int], "a list of a whole number"),
    ],
)
def test_types_are_described_in_words(annotation: Any, words: str) -> None:
    assert describe(annotation) == words


def test_arguments_handed_on_to_a_base_class_are_found() -> None:
    accepted, open_ended = arguments_of(locate("strided.data.CIFAR10"))
    assert {"root", "batch_size", "val_fraction"} <= set(accepted)
    assert not open_ended


def test_the_closest_word_is_offered() -> None:
    assert did_you_mean("resnet81", ["resnet18", "mlp"]) == "Did you mean resnet18?"
    assert did_you_mean("zzz", ["b", "a"]) == "Known: a, b"
    assert did_you_mean("zzz", []) == ""


def test_arguments_that_a_target_refuses_are_reported_with_their_path() -> None:
    with pytest.raises(UserError, match="torch.optim.SGD refused its arguments.*optimizer.lr=-1"):
        build({"_target_": "torch.optim.SGD", "lr": -1.0}, "optimizer", params=[nn.Parameter()])


def test_a_target_within_arguments_is_built_too() -> None:
    node = {"_target_": "torch.nn.Sequential"}
    assert isinstance(build(node, "model"), nn.Sequential)
    wrapped = {"_target_": "torch.optim.swa_utils.AveragedModel", "model": node}
    assert isinstance(build(wrapped, "model").module, nn.Sequential)


# The allow-list

ATTACKS = [
    "os.system",
    "subprocess.run",
    "builtins.eval",
    "builtins.exec",
    "shutil.rmtree",
    "torch.load",
    "torch.hub.load",
    "torch.utils.collect_env.run",
    "torch.optim.lr_scheduler.warnings.sys.exit",
    "torch.nn.functional.importlib.import_module",
    "torch.optim.optimizer.torch.load",
    "torch.nn.modules.module.torch.hub.load",
    "torch.serialization.load",
    "torchvision.datasets.utils.download_url",
    "torchvision.models._utils.functools.reduce",
    "timm.models.load_checkpoint",
    "timm.create_model",
    "timm.create_model.__globals__.get",
    "lightning.pytorch.cli.LightningCLI",
    "lightning.pytorch.Trainer.fit.__globals__.get",
    "lightning.pytorch.callbacks.model_checkpoint.shutil.rmtree",
    "strided.cli.main",
    "strided.system.durable.write_text",
    "strided.config.targets.build",
    "strided.data.reading.files.os.system",
    "strided.data.pixels.store.shutil.rmtree",
    "strided.models.weights_file.torch.load",
    "strided.loggers.wandb_logger.os.system",
    "strided.training.callbacks.checkpoint._is_settled",
    "lightning.pytorch.callbacks.early_stopping.pl.core.saving.save_hparams_to_yaml",
    "lightning.pytorch.callbacks.early_stopping.pl.LightningModule",
    "lightning.pytorch.callbacks.early_stopping.pl.profilers.SimpleProfiler",
    "lightning.pytorch.loggers.csv_logs.save_hparams_to_yaml",
    "lightning.pytorch.strategies.launchers.multiprocessing."
    "_MultiProcessingLauncher._wrapping_function",
    "strided.database.Net",
    "pickle.loads",
    "hydra.utils.instantiate",
]


@pytest.mark.parametrize("target", ATTACKS)
def test_a_config_cannot_name_what_is_not_allowed(target: str) -> None:
    for path in ("model", "loss", "logger", "data", "optimizer"):
        with pytest.raises(UserError, match=r"_target_="):
            check({path: {"_target_": target}})
    with pytest.raises(UserError, match=r"_target_="):
        check({"model": {"_target_": "strided.models.MLP", "hidden": [{"_target_": target}]}})
    with pytest.raises(UserError, match=r"_target_="):
        build({"_target_": target}, "model")


@pytest.mark.parametrize("group", ["callbacks", "loggers", "strategies"])
def test_every_class_that_lightning_offers_can_be_named(group: str) -> None:
    module = importlib.import_module(f"lightning.pytorch.{group}")
    names = [name for name in module.__all__ if inspect.isclass(getattr(module, name))]
    assert len(names) > 4
    for name in names:
        assert locate(f"lightning.pytorch.{group}.{name}") is getattr(module, name)
    assert locate("lightning.pytorch.Trainer").__name__ == "Trainer"


def marker_attacks(marker: Path) -> dict[str, dict[str, Any]]:
    """Nodes that would leave a file, were they ever called."""
    shell = f"touch {marker}"
    return {
        "os.system": {"command": shell},
        "subprocess.getoutput": {"cmd": shell},
        "builtins.eval": {"source": f"open({str(marker)!r}, 'w')"},
        "builtins.open": {"file": str(marker), "mode": "w"},
        "pathlib.Path.touch": {"self": str(marker)},
        "torch.utils.collect_env.run": {"command": shell},
        "torch.nn.modules.module.torch.serialization.os.system": {"command": shell},
        "strided.data.reading.files.os.system": {"command": shell},
        "strided.loggers.wandb_logger.os.system": {"command": shell},
        "strided.system.durable.write_text": {"file": str(marker), "text": "x"},
        "strided.cli.main": {"argv": ["train", "trust=[os]", "model._target_=os.system"]},
        "logging.FileHandler": {"filename": str(marker)},
        "torch.save": {"obj": 1, "f": str(marker)},
        "lightning.pytorch.callbacks.early_stopping.pl.core.saving.save_hparams_to_yaml": {
            "config_yaml": str(marker),
            "hparams": {"a": 1},
        },
        "lightning.pytorch.callbacks.early_stopping.pl.profilers.SimpleProfiler": {
            "dirpath": str(marker),
        },
        "lightning.pytorch.callbacks.early_stopping.pl.LightningModule": {},
    }


@pytest.fixture(scope="module")
def checkpoint(trained_run: Path) -> dict[str, Any]:
    file = trained_run / "checkpoints" / "best.ckpt"
    return dict(torch.load(file, map_location="cpu", weights_only=True))


@pytest.mark.parametrize("target", marker_attacks(Path("marker")))
@pytest.mark.parametrize("place", ["model", "loss", "loss.class_weights"])
def test_a_checkpoint_cannot_run_code(
    target: str, place: str, checkpoint: dict[str, Any], tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    attack = {"_target_": target, **marker_attacks(marker)[target]}
    arguments = dict(checkpoint["hyper_parameters"])
    if place == "loss.class_weights":
        arguments["loss"] = {**arguments["loss"], "class_weights": attack}
    else:
        arguments[place] = attack
    torch.save({**checkpoint, "hyper_parameters": arguments}, tmp_path / "attack.ckpt")
    with pytest.raises(UserError, match="not allowed"):
        load_task(tmp_path / "attack.ckpt")
    with pytest.raises(UserError, match="not allowed"):
        strided.load(str(tmp_path / "attack.ckpt"))
    assert not marker.exists()


@pytest.mark.parametrize("target", ["os.system", "strided.data.reading.files.os.system"])
def test_the_data_of_a_checkpoint_cannot_run_code(
    target: str, checkpoint: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marker = tmp_path / "marker"
    attack = {"_target_": target, "command": f"touch {marker}"}
    arguments = {**checkpoint["hyper_parameters"], "data": attack}
    torch.save({**checkpoint, "hyper_parameters": arguments}, tmp_path / "attack.ckpt")
    assert main(["eval", f"checkpoint={tmp_path / 'attack.ckpt'}", f"log_dir={tmp_path}"]) == 1
    assert "not allowed" in capsys.readouterr().err
    assert not marker.exists()


def test_a_pickled_object_in_a_checkpoint_is_refused(
    checkpoint: dict[str, Any], tmp_path: Path
) -> None:
    torch.save({**checkpoint, "extra": Path("x").joinpath}, tmp_path / "attack.ckpt")
    with pytest.raises(UserError, match="never loaded"):
        load_task(tmp_path / "attack.ckpt")


# trust

MODULE = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, num_classes: int, in_channels: int, width: int = 4) -> None:
        super().__init__(
            nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * in_channels, num_classes)
        )
"""


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of an importable module that is not on the allow-list."""
    (tmp_path / "strangers_net.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "strangers_net"
    sys.modules.pop("strangers_net", None)


def own_yaml(folder: Path, file: str, text: str) -> Path:
    """Write a YAML file into a folder for --config-dir; return that folder."""
    (folder / "own" / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / "own" / file).write_text(text)
    return folder / "own"


def test_trust_lets_its_packages_in_and_only_for_a_while(stranger: str) -> None:
    with trusting([stranger]):
        assert locate(f"{stranger}.Net").__name__ == "Net"
        with pytest.raises(UserError, match="not allowed"):
            locate("os.system")
    with pytest.raises(UserError, match=r"trust=\[strangers_net\]"):
        locate(f"{stranger}.Net")


def test_trust_that_is_typed_counts(stranger: str, tmp_path: Path, log_dir: Path) -> None:
    own = own_yaml(tmp_path, "model/mine.yaml", f"_target_: {stranger}.Net\nwidth: 8\n")
    words = ["train", "--config-dir", str(own), "model=mine", "debug=fast_dev_run", "trainer=cpu"]
    assert main([*words, f"trust=[{stranger}]", f"log_dir={log_dir}"]) == 0


def test_trust_that_is_typed_in_python_counts(stranger: str, tmp_path: Path) -> None:
    config = strided.compose("train", [f"model._target_={stranger}.Net", f"trust=[{stranger}]",
                                       "~model.activation", "~model.pooling"])  # fmt: skip
    assert config["model"]["_target_"] == f"{stranger}.Net"


@pytest.mark.parametrize(
    "text",
    [
        "# @package _global_\ntrust: [strangers_net]\nmodel: {_target_: strangers_net.Net}\n",
        "# @package _global_\nmodel: {_target_: strangers_net.Net, trust: [strangers_net]}\n",
        "# @package _global_\ndefaults: [override /model: mine]\ntrust: [strangers_net]\n",
    ],
)
def test_trust_in_an_experiment_does_not_count(
    text: str,
    stranger: str,
    tmp_path: Path,
    log_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    own_yaml(tmp_path, "model/mine.yaml", f"_target_: {stranger}.Net\n")
    own = own_yaml(tmp_path, "experiment/theirs.yaml", text)
    words = ["train", "--config-dir", str(own), "experiment=theirs", f"log_dir={log_dir}"]
    assert main(words) == 1
    assert "not allowed" in capsys.readouterr().err
    assert stranger not in sys.modules


def test_trust_in_the_config_of_a_run_does_not_count(
    stranger: str, copied_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = yaml.safe_load((copied_run / "config.yaml").read_text())
    config.update(model={"_target_": f"{stranger}.Net"}, trust=[stranger])
    (copied_run / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["train", f"resume={copied_run}"]) == 1
    assert "not allowed" in capsys.readouterr().err
    assert stranger not in sys.modules
