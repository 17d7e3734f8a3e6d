"""What a `_target_` may name, and how a node becomes its object."""

import importlib
import inspect
import pkgutil
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import strided
from strided.cli import main
from strided.config.schema import check
from strided.config.targets import MOVED, PACKAGES, PLACES, WRITERS, build, locate, trusting
from strided.config.yaml_files import CONF_DIR
from strided.errors import UserError, did_you_mean
from strided.training.loading import load_task


def test_the_closest_word_is_offered() -> None:
    assert did_you_mean("resnet81", ["resnet18", "mlp"]) == "Did you mean resnet18?"
    assert did_you_mean("zzz", ["b", "a"]) == "Known: a, b"
    assert did_you_mean("zzz", ["b", "a"], "Try a") == "Try a"
    assert did_you_mean("zzz", []) == ""


def test_arguments_that_a_target_refuses_are_reported_with_their_path() -> None:
    with pytest.raises(UserError, match="torch.optim.SGD refused its arguments.*optimizer.lr=-1"):
        build({"_target_": "torch.optim.SGD", "lr": -1.0}, "optimizer", params=[nn.Parameter()])


RELU = {"_target_": "torch.nn.ReLU"}


def test_a_target_within_arguments_is_built_too(monkeypatch: pytest.MonkeyPatch) -> None:
    own = types.ModuleType("own_networks")
    code = "from torch import nn\nclass Net(nn.Module):\n def __init__(self, activation):\n  "
    exec(code + "super().__init__()\n  self.activation = activation", vars(own))
    monkeypatch.setitem(sys.modules, "own_networks", own)

    with trusting(["own_networks"]):
        net = build({"_target_": "own_networks.Net", "activation": RELU}, "model")
    assert isinstance(net.activation, nn.ReLU)


OTHER_KIND: dict[str, dict[str, Any]] = {
    "model": {},
    "data": {},
    "augment": {},
    "optimizer": {"params": []},
    "scheduler": {"optimizer": None},
    "transfer": {},
    "transfer.stages.head": {},
    "callbacks.mine": {},
    "logger.mine": {},
    "trainer": {},
    "search.sampler": {},
}


@pytest.mark.parametrize("path", OTHER_KIND)
def test_a_class_of_ones_own_of_another_kind_is_refused(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = types.ModuleType("own_things")
    exec("class Thing:\n def __init__(self, **given): pass", vars(own))
    monkeypatch.setitem(sys.modules, "own_things", own)

    with trusting(["own_things"]), pytest.raises(UserError, match="gave a Thing; expected a .*Try"):
        build({"_target_": "own_things.Thing"}, path, **OTHER_KIND[path])


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
    "lightning.pytorch.callbacks.ModelCheckpoint",
    "lightning.pytorch.callbacks.OnExceptionCheckpoint",
    "lightning.pytorch.callbacks.SpikeDetection",
    "lightning.pytorch.loggers.CSVLogger",
    "lightning.pytorch.loggers.TensorBoardLogger",
    "lightning.pytorch.loggers.csv_logs.save_hparams_to_yaml",
    "lightning.pytorch.strategies.launchers.multiprocessing."
    "_MultiProcessingLauncher._wrapping_function",
    "strided.database.Net",
    "strided.data.reading.archive.unpack",
    "strided.data.archive.unpack",
    "strided.models.torchvision_models.pretrained_state",
    "torch.nn.init.normal_",
    "torch.nn.utils.clip_grad_norm_",
    "torch.optim.lr_scheduler.partial",
    "optuna.samplers.TPESampler.hyperopt_parameters",
    "pickle.loads",
    "hydra.utils.instantiate",
]


def own_names() -> set[str]:
    """Every public class and function of strided, by each name that leads to it."""
    found = set()
    for info in pkgutil.walk_packages(strided.__path__, "strided."):
        for name, value in vars(importlib.import_module(info.name)).items():
            if (inspect.isclass(value) or inspect.isroutine(value)) and not name.startswith("_"):
                found.add(f"{info.name}.{name}")
    return found


def own_targets() -> dict[str, str]:
    """The names that strided lists as targets, and the kind of each."""
    return {
        f"{package}.{name}": kind
        for package in PACKAGES
        for kind, names in importlib.import_module(package).TARGETS.items()
        for name in names
    }


def a_place(kind: str) -> str:
    """A place of a config that this kind belongs to."""
    return next(p for p, k in PLACES.items() if k == kind).replace("**", "x").replace("*", "x")


def test_each_target_is_allowed_where_its_kind_belongs_and_nowhere_else() -> None:
    for target, kind in own_targets().items():
        assert callable(locate(target, a_place(kind)))
        for other in set(PLACES.values()) - {kind}:
            with pytest.raises(UserError, match="is not allowed"):
                locate(target, a_place(other))


def test_no_function_of_strided_is_a_target_unless_it_is_listed() -> None:
    names = own_names() - set(own_targets())
    assert len(names) > 1000 and "strided.data.reading.archive.unpack" in names
    for name in names:
        for path in ("loss", "model", "callbacks.x"):
            with pytest.raises(UserError, match="is not allowed"):
                locate(name, path)


def test_every_target_of_the_yaml_is_listed() -> None:
    named = set(re.findall(r"_target_: (strided\S+)", "".join(
        file.read_text(encoding="utf-8") for file in CONF_DIR.rglob("*.yaml"))))  # fmt: skip
    assert named <= set(own_targets())
    # what a search adds to the config of a trial stands in no YAML
    assert set(own_targets()) - named == {"strided.sweeps.search.pruning.Pruning"}


@pytest.mark.parametrize("target", ATTACKS)
def test_a_config_cannot_name_what_is_not_allowed(target: str) -> None:
    for place in PLACES:
        with pytest.raises(UserError, match=r"_target_="):
            locate(target, a_place(PLACES[place]))
    for path in ("model", "loss", "logger", "data", "optimizer", "own"):
        with pytest.raises(UserError, match=r"_target_="):
            check({path: {"_target_": target}})
    with pytest.raises(UserError, match=r"_target_="):
        check({"model": {"_target_": "strided.models.MLP", "hidden": [{"_target_": target}]}})
    with pytest.raises(UserError, match=r"_target_="):
        build({"_target_": target}, "model")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"loss": {"_target_": "torch.nn.ReLU"}}, "expected a loss of strided or torch.nn"),
        ({"model": {"_target_": "torch.nn.Linear"}}, "expected a model of strided there"),
        ({"scheduler": {"_target_": "torch.optim.Adam"}}, "torch.optim.lr_scheduler"),
        ({"logger": {"x": {"_target_": "lightning.pytorch.Trainer"}}}, "expected a logger"),
        ({"logger": {"a.b": {"_target_": "strided.loggers.WandbLogger"}}}, "no _target_"),
        ({"seed": {"_target_": "strided.models.MLP"}}, "expected no _target_"),
        ({"optimizer": {"_target_": "torch.optim.Adamm"}}, "Did you mean Adam"),
    ],
)
def test_a_place_takes_only_the_kind_that_belongs_there(config: Any, words: str) -> None:
    with pytest.raises(UserError, match="_target_=") as caught:
        check(config, values=False)
    assert words in str(caught.value)


def test_samplers_and_pruners_may_hold_others() -> None:
    for place in ("search.pruner", "callbacks.pruning.pruner"):
        locate("optuna.pruners.MedianPruner", f"{place}.wrapped_pruner")
    locate("optuna.samplers.RandomSampler", "search.sampler.independent_sampler")


@pytest.mark.parametrize("old", MOVED)
def test_a_target_of_an_old_run_leads_to_the_new_one(old: str) -> None:
    path = a_place(own_targets()[MOVED[old]])
    assert locate(old, path) is locate(MOVED[old], path)


@pytest.mark.parametrize(
    ("group", "path"),
    [("callbacks", "callbacks.x"), ("strategies", "trainer.strategy")],
)
def test_every_class_that_lightning_offers_can_be_named(group: str, path: str) -> None:
    module = importlib.import_module(f"lightning.pytorch.{group}")
    names = [name for name in module.__all__ if inspect.isclass(getattr(module, name))]
    names = [name for name in names if name not in WRITERS]
    assert len(names) > 4
    for name in names:
        assert locate(f"lightning.pytorch.{group}.{name}", path) is getattr(module, name)
    assert locate("lightning.pytorch.Trainer", "trainer").__name__ == "Trainer"


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
