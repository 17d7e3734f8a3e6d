"""Transfer learning: stages, frozen layers, kept features, and their resume."""

import csv
import json
import math
import os
import shutil
import signal
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from PIL import Image
from tests.jobs.test_resume import assert_same_outcome, resume
from torch import nn

from strided.cli import main
from strided.data import BatchAugment
from strided.data.preprocessing import Preprocessing
from strided.data.sets.image_folder import ImageFolder
from strided.models import build_model
from strided.models.anatomy import anatomy
from strided.training import fit as fitting
from strided.training.transfer import features
from strided.training.transfer.cut import Cut, CutError
from strided.training.transfer.features import Views, _digest
from strided.training.transfer.on_features import FeaturePlan, not_worthwhile
from strided.training.transfer.parts import freeze, parts

# 9 batches an epoch, batch normalisation, and dropout in the head
NETWORK = ("model=resnet18", "model.stem=imagenet", "model.head=mlp", "model.head_hidden=16")
DATA = ("data=digits", "data.train_fraction=0.1", "data.batch_size=16", "data.image_size=16")
CASE = (*NETWORK, *DATA, "trainer=cpu", "scheduler=cosine", "trainer.max_epochs=2")
STAGES = (
    "transfer=two_stage",
    "transfer.stages.frozen.epochs=2",
    "transfer.stages.fine_tuned.epochs=2",
    "trainer.max_epochs=4",
)
TRUST = f"trust=[{__name__.partition('.')[0]}]"


def train(log_dir: Path, *words: str, code: int = 0) -> Path:
    before = set(log_dir.glob("train/*/*"))
    assert main(["train", *CASE, *words, f"log_dir={log_dir}"]) == code
    (folder,) = set(log_dir.glob("train/*/*")) - before
    return folder


class StopAtStep(pl.Callback):
    """Sends this process a signal after so many optimizer steps of all stages together."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_validation_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == -self.step:  # only the end of the epoch is left
            os.kill(os.getpid(), signal.SIGTERM)


class FailOnce(pl.Callback):
    """Raises an error in the first batch of an epoch, once."""

    def __init__(self, epoch: int, mark: str) -> None:
        self.epoch, self.mark = epoch, Path(mark)

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.current_epoch == self.epoch and not self.mark.exists():
            self.mark.touch()
            raise RuntimeError("as a kill would, nothing is saved")


def failing(mark: Path, epoch: int) -> tuple[str, ...]:
    """The words for a run that fails once in this epoch."""
    return (
        f"+callbacks.fail._target_={__name__}.FailOnce",
        f"+callbacks.fail.epoch={epoch}",
        f"+callbacks.fail.mark={mark}",
        TRUST,
    )


def results(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return loaded


def losses(folder: Path) -> list[float]:
    with (folder / "metrics.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [float(row[name]) for row in rows for name in ("train/loss", "val/loss")]


def state(file: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(file, weights_only=True)["state_dict"])


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """`model.weights=` of a run of the same network, with another head."""
    folder = train(tmp_path_factory.mktemp("weights"), "trainer.max_epochs=1", "model.head=linear")
    return f"model.weights={folder / 'checkpoints' / 'best.ckpt'}"


def test_frozen_layers_stay_bit_for_bit(weights: str, log_dir: Path) -> None:
    folder = train(log_dir, weights, "transfer=frozen", "transfer.cache=false")
    before, after = state(Path(weights.partition("=")[2])), state(folder / "checkpoints/last.ckpt")
    backbone = [name for name in after if not name.startswith("model.fc.")]
    assert len(backbone) > 100
    assert all(torch.equal(after[name], before[name]) for name in backbone)
    counts = results(folder)["parameters"]
    assert counts["trainable"] == 512 * 16 + 16 + 16 * 10 + 10
    assert counts["total"] == sum(
        t.numel() for name, t in after.items() if "running" not in name and "batches" not in name
    )


@pytest.mark.parametrize("keep", [True, False])
def test_a_stage_may_keep_the_statistics_of_batch_normalisation(
    weights: str, log_dir: Path, keep: bool
) -> None:
    stage = "transfer.stages.frozen"
    words = ("transfer=frozen", f"{stage}.trainable=all", f"{stage}.keep_statistics={keep}")
    folder = train(log_dir, weights, *words, "trainer.max_epochs=1")
    before, after = state(Path(weights.partition("=")[2])), state(folder / "checkpoints/last.ckpt")
    backbone = [name for name in after if ".fc." not in name]
    same = {name for name in backbone if torch.equal(before[name], after[name])}
    statistics = {name for name in backbone if "running" in name}
    assert len(statistics) > 30 and (statistics <= same) == keep
    assert "model.layer4.0.bn1.weight" not in same and "model.conv1.weight" not in same


@pytest.mark.parametrize("stage", ["head", "1", "layer3"])
def test_losses_on_kept_features_are_those_on_images(
    weights: str, log_dir: Path, stage: str
) -> None:
    words = (weights, "transfer=frozen", f"transfer.stages.frozen.trainable={stage}")
    kept = train(log_dir, *words, "transfer.cache=true")
    computed = train(log_dir, *words, "transfer.cache=false")
    assert losses(kept) == pytest.approx(losses(computed), abs=1e-5)
    (row,) = results(kept)["stages"]
    images = results(kept)["splits"]["train"] + results(kept)["splits"]["val"]
    assert row["features"]["bytes"] == 4 * math.prod(row["features"]["shape"]) * images
    assert "features" not in results(computed)["stages"][0]


def test_a_stage_begins_with_the_best_weights_of_the_one_before(
    weights: str, log_dir: Path
) -> None:
    first = train(log_dir, weights, "transfer=frozen", "trainer.max_epochs=2")
    both = train(log_dir, weights, *STAGES, "transfer.stages.fine_tuned.lr=1e-12")
    assert results(both)["best_val/acc"] == results(first)["best_val/acc"]
    best = state(first / "checkpoints/best.ckpt")
    last = state(both / "checkpoints/last.ckpt")
    parameters = [name for name in best if name.endswith((".weight", ".bias"))]
    assert all(torch.allclose(best[name], last[name], atol=1e-6) for name in parameters)
    assert [row["first_epoch"] for row in results(both)["stages"]] == [0, 2]
    with (both / "metrics.csv").open(newline="") as stream:
        assert [row["epoch"] for row in csv.DictReader(stream)] == ["0", "1", "2", "3"]


@pytest.fixture(scope="module")
def uninterrupted(weights: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stages in one sitting. Read only."""
    return train(tmp_path_factory.mktemp("uninterrupted"), weights, *STAGES)


# 8 steps an epoch: inside a stage, in its last validation, between both, in the second one
@pytest.mark.parametrize("step", [3, 16, -16, 20, -24])
def test_a_run_goes_on_inside_any_stage(
    weights: str, uninterrupted: Path, log_dir: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = (f"callbacks.stop._target_={__name__}.StopAtStep", f"callbacks.stop.step={step}")
    folder = train(log_dir, weights, *STAGES, *(f"+{word}" for word in stop), TRUST, code=143)
    taken_over: list[Path] = []
    between = fitting.go_on_between_stages

    def spy(run: Any, task: Any, checkpoint: Path) -> None:
        taken_over.append(checkpoint)
        between(run, task, checkpoint)

    monkeypatch.setattr(fitting, "go_on_between_stages", spy)
    resume(folder, TRUST)
    # only where the first stage was over: else times would count twice, as this sitting fitted it
    assert len(taken_over) == (step == -16)
    assert_same_outcome(folder, uninterrupted)


def test_a_run_of_coarse_weights_goes_on_with_the_same_features(
    weights: str, log_dir: Path, tmp_path: Path
) -> None:
    words = (weights, "transfer=frozen", "transfer.cache=true", "trainer.precision=bf16-true")
    whole = train(log_dir, *words)
    folder = train(log_dir, *words, *failing(tmp_path / "failed", epoch=1), code=1)
    resume(folder, TRUST)
    assert_same_outcome(folder, whole)


def test_more_epochs_than_the_stages_have_add_nothing_and_that_is_said(
    uninterrupted: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    resume(folder, "trainer.max_epochs=9")
    assert "trainer.max_epochs=9 adds nothing" in (folder / "run.log").read_text()
    assert losses(folder) == losses(uninterrupted)


@pytest.mark.parametrize("ema", ["null", "0.9"])
def test_a_run_goes_on_between_two_stages(
    weights: str, uninterrupted: Path, log_dir: Path, tmp_path: Path, ema: str
) -> None:
    words = (weights, *STAGES, f"callbacks.ema.decay={ema}")
    whole = uninterrupted if ema == "null" else train(log_dir, *words)
    folder = train(log_dir, *words, *failing(tmp_path / "failed", epoch=2), code=1)
    resume(folder, TRUST)
    assert_same_outcome(folder, whole)


TORCHVISION = {"_target_": "strided.models.torchvision_model"}
TIMM = {"_target_": "strided.models.timm_model"}
# network, size of the images, what is trained
CUTS: list[tuple[dict[str, Any], int, str | int]] = [
    ({**TORCHVISION, "name": "alexnet"}, 64, "head"),
    ({**TORCHVISION, "name": "vgg11", "head": "flatten_mlp"}, 32, "block5"),
    ({**TORCHVISION, "name": "googlenet", "stem": "imagenet"}, 64, 2),
    ({**TORCHVISION, "name": "inception_v3"}, 80, "head"),
    ({**TORCHVISION, "name": "densenet121", "stem": "imagenet"}, 32, "head"),
    ({**TORCHVISION, "name": "densenet121", "stem": "imagenet"}, 32, "features.denseblock4"),
    ({**TORCHVISION, "name": "mobilenet_v3_small", "stem": "imagenet"}, 32, 3),
    ({**TORCHVISION, "name": "squeezenet1_1", "head": "linear"}, 32, "head"),
    ({**TORCHVISION, "name": "shufflenet_v2_x0_5"}, 32, 2),
    ({**TORCHVISION, "name": "convnext_tiny", "head": "mlp"}, 32, "head"),
    ({**TIMM, "name": "tf_efficientnet_lite0", "stem": "imagenet", "drop_rate": 0.2}, 32, "head"),
    ({**TIMM, "name": "tf_efficientnet_lite0", "stem": "imagenet"}, 32, "blocks.6"),
    ({**TIMM, "name": "convnext_atto", "head": "mlp"}, 32, 1),
    ({"_target_": "strided.models.CifarResNet", "depth": 8}, 16, 1),
    ({"_target_": "strided.models.LeNet5"}, 32, "head"),
]


def network(config: dict[str, Any], image_size: int) -> nn.Module:
    torch.manual_seed(0)
    return build_model(config, num_classes=5, in_channels=3, image_size=image_size)


@pytest.mark.parametrize(
    ("config", "image_size", "trainable"), CUTS, ids=lambda value: str(value)[:60]
)
def test_two_parts_of_a_network_are_the_network(
    config: dict[str, Any], image_size: int, trainable: str | int
) -> None:
    net = network(config, image_size).eval()
    cut = Cut(net, parts(net, trainable))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    images = torch.randn(4, 3, image_size, image_size)
    shape = cut.check(images)
    features = cut.features(images)
    assert features.shape == (4, *shape)
    with torch.no_grad():
        expected = net(images)
        with cut.passing() if cut.network is net else nullcontext():
            assert torch.allclose(cut.network(features), expected, rtol=1e-4, atol=1e-5)
        assert torch.equal(net(images), expected)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_a_network_that_cannot_be_cut_says_so() -> None:
    net = network({**TIMM, "name": "vit_tiny_patch16_224"}, 224)
    with pytest.raises(CutError, match="lost"):
        Cut(net, parts(net, 1)).check(torch.randn(2, 3, 224, 224))
    net = network({"_target_": "strided.models.LeNet5"}, 32)  # tanh between f6 and what is before
    with pytest.raises(CutError, match="lost"):
        Cut(net, parts(net, "f6")).check(torch.randn(2, 3, 32, 32))


def test_blocks_have_the_names_of_the_architecture() -> None:
    def blocks(name: str, image_size: int = 224) -> list[str]:
        with torch.device("meta"):
            net = network({**TORCHVISION, "name": name}, image_size)
        return [block.name for block in anatomy(net).blocks]

    assert blocks("vgg16") == ["block1", "block2", "block3", "block4", "block5"]
    assert blocks("resnet50") == ["conv1", "layer1", "layer2", "layer3", "layer4"]
    assert blocks("googlenet")[-2:] == ["inception5a", "inception5b"]
    assert blocks("densenet121")[-1] == "features.denseblock4"
    assert blocks("inception_v3", 299)[-1] == "Mixed_7c"


# The two that the questions give: counts of trained and of all parameters.
@pytest.mark.parametrize(
    ("name", "head", "num_classes", "trained", "total"),
    [
        ("densenet121", "mlp", 3, 263_171, 7_217_027),
        ("vgg16", "flatten_mlp", 2, 6_423_298, 21_137_986),
    ],
)
def test_heads_have_the_parameters_of_the_questions(
    name: str, head: str, num_classes: int, trained: int, total: int
) -> None:
    config = {**TORCHVISION, "name": name, "head": head, "head_hidden": 256}
    with torch.device("meta"):
        net = build_model(config, num_classes=num_classes, in_channels=3, image_size=224)
    freeze(net, parts(net, "head"))
    assert sum(p.numel() for p in net.parameters()) == total
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == trained
    assert any(isinstance(module, nn.Dropout) and module.p == 0.5 for module in net.modules())


@pytest.mark.parametrize("head", ["linear", "mlp", "flatten_mlp"])
def test_heads_begin_with_the_networks_pooling_or_none(head: str) -> None:
    for name in ("vgg11", "resnet18", "efficientnet_b0", "mobilenet_v3_small", "convnext_tiny"):
        net = network({**TORCHVISION, "name": name, "stem": "imagenet", "head": head}, 64)
        assert net.eval()(torch.zeros(2, 3, 64, 64)).shape == (2, 5)
    assert network({**TIMM, "name": "resnet18", "head": head}, 64).eval()(
        torch.zeros(2, 3, 64, 64)
    ).shape == (2, 5)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("transfer=frozen",), ["stage frozen", "random", "model.pretrained=true"]),
        (("weights", "transfer=frozen", "transfer.stages.frozen.trainable=layer9"), ["layer4"]),
        (("weights", "transfer=frozen", "transfer.stages.frozen.trainable=7"), ["up to 5"]),
        (("weights", "transfer=two_stage", "transfer.stages.frozen.epochs=null"), ["epochs=10"]),
        (("weights", "transfer=two_stage", "transfer.stages.fine_tuned.trainable=b9"), ["layer4"]),
        (("transfer.stages.fine_tuned.layer_decay=2", "transfer=two_stage"), ["decay=0.75"]),
        (("transfer.stages.fine_tuned.scheduler.gamma=2", "transfer=two_stage"), ["_target_="]),
        (("weights", "transfer=frozen", "transfer.cached_views=0"), ["cached_views=5"]),
        (("weights", "transfer=frozen", "transfer.stages.frozen.epoch=3"), ["epochs"]),
        (("weights", "transfer=frozen", "transfer.cache=true", "augment=mixup"), ["mixup"]),
        (("weights", "transfer=frozen", "transfer.stages.tuned.lr=1"), ["~transfer.stages.tuned"]),
        (("model.head=flat",), ["flatten_mlp"]),
        (("model.head_dropout=1.0",), ["head_dropout=0.5"]),
        (("model.head=original", "model.head_dropout=0.5"), ["head=linear"]),
    ],
)
def test_mistakes_say_what_to_try(
    words: tuple[str, ...],
    expected: list[str],
    request: pytest.FixtureRequest,
    log_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [request.getfixturevalue("weights") if word == "weights" else word for word in words]
    capsys.readouterr()
    assert main(["train", *CASE, *given, f"log_dir={log_dir}"]) == 1
    message = capsys.readouterr().err
    assert len(message.splitlines()) <= 15
    assert "Traceback" not in message
    for part in expected:
        assert part in message
    assert not list(log_dir.glob("train/*/*/metrics.csv"))  # nothing was trained


def test_views_are_augmented_and_take_turns(weights: str, log_dir: Path) -> None:
    words = (weights, "transfer=frozen", "transfer.cached_views=2", "transfer.cache=true")
    folder = train(log_dir, *words, "augment=standard")
    (row,) = results(folder)["stages"]
    assert row["features"]["views"] == 2
    (cache,) = (
        file.parent
        for file in Path(os.environ["XDG_CACHE_HOME"]).glob("strided/features-*/train.npy")
        if np.load(file, mmap_mode="r").shape[0] == 2
    )
    views = np.load(cache / "train.npy")
    assert not np.allclose(views[0], views[1])
    again = train(log_dir, *words, "augment=standard")  # opened, not computed
    assert results(again)["stages"][0]["features"]["seconds"] == row["features"]["seconds"]
    assert losses(again) == losses(folder)


def test_the_disk_is_asked_for_room_only_where_nothing_is_kept_yet(tmp_path: Path) -> None:
    class FullDisk:
        cache_dir = tmp_path
        batch_size = 8

        def readable(self, split: str) -> range:
            return range(10**15 if split == "train" else 1)

    views: Any = SimpleNamespace(data=FullDisk(), number=1)
    cut: Any = None

    def why(folder: Path) -> str | None:
        plan = FeaturePlan(cut, views, (1,), folder, macs=1)
        return not_worthwhile(plan, macs=10**9, to_come=math.inf)

    assert "GB free" in str(why(tmp_path / "features-1"))
    (tmp_path / "features-1").mkdir()
    assert why(tmp_path / "features-1") is None


def test_what_a_stopped_build_has_left_is_not_in_the_way(
    weights: str, log_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (weights, "transfer=frozen", "transfer.cache=true", f"data.cache_dir={tmp_path}")
    compute = features._compute
    with monkeypatch.context() as patch:
        patch.setattr(features, "_compute", lambda *_: os.kill(os.getpid(), signal.SIGINT))
        train(log_dir, *words, code=130)
    (left,) = tmp_path.glob("features-*.unfinished")
    for file in left.glob("*.npy"):  # has room on the disk already
        assert file.stat().st_blocks * 512 >= file.stat().st_size
    seen: list[bool] = []

    def spy(*given: Any) -> None:
        seen.append(left.is_dir())
        compute(*given)

    monkeypatch.setattr(features, "_compute", spy)
    assert "features" in results(train(log_dir, *words))["stages"][0]
    assert seen and not left.is_dir()


def test_features_are_of_all_that_is_before_the_cut() -> None:
    def digest(net: nn.Module) -> str:
        return _digest(Cut(net, parts(net, "head")))

    vit = {**TIMM, "name": "vit_tiny_patch16_224", "depth": 1, "fc_norm": False}
    net = network(vit, 32)
    before = digest(net)
    with torch.no_grad():
        net.get_submodule("head").get_parameter("weight").add_(1)  # trained
    assert digest(net) == before
    assert digest(network({**vit, "global_pool": "avg"}, 32)) != before  # the same weights
    with torch.no_grad():
        net.get_parameter("pos_embed").add_(1)  # of no unit
    assert digest(net) != before


def test_features_of_streamed_images_are_of_these_files(tmp_path: Path) -> None:
    def write_and_ask(shift: int) -> list[Any]:
        for number in range(8):
            file = tmp_path / "images" / "ab"[number % 2] / f"{number}.bmp"  # all of one size
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), 10 * number + shift).save(file)
        data = ImageFolder(
            root=str(tmp_path / "images"), pipeline="streaming", mean=[0.5], std=[0.5]
        )
        data.use(Preprocessing(channels=1, image_size=8, mean=(0.5,), std=(0.5,)))
        data.setup()
        return Views(data, BatchAugment(), 1, 0, "32", lambda x: x, nullcontext).key()

    assert write_and_ask(0) != write_and_ask(1)


def test_a_fast_dev_run_tries_each_stage(weights: str, log_dir: Path) -> None:
    folder = train(log_dir, weights, *STAGES, "debug=fast_dev_run")
    assert [row["name"] for row in results(folder)["stages"]] == ["frozen", "fine_tuned"]


def test_auto_computes_features_only_where_that_costs_less(weights: str, log_dir: Path) -> None:
    words = (weights, "transfer=frozen", "augment=standard", "trainer.max_epochs=1")
    once = train(log_dir, *words)
    assert "features" not in results(once)["stages"][0]
    assert "features of the frozen layers are computed in each epoch" in (
        once / "run.log"
    ).read_text(encoding="utf-8")
    resume(once, "trainer.max_epochs=4")  # augmented images to the end
    assert "features" not in results(once)["stages"][0]
    saved = torch.load(once / "checkpoints" / "last.ckpt", weights_only=True)["strided"]
    assert saved["on_features"] is False


def test_from_scratch_has_the_input_of_the_weights_and_none_of_them(
    weights: str, log_dir: Path
) -> None:
    scratch = train(log_dir, weights, "transfer=scratch", "trainer.max_epochs=1")
    tuned = train(log_dir, weights, "trainer.max_epochs=1")
    assert results(scratch)["preprocessing"] == results(tuned)["preprocessing"]
    assert "tensors loaded" not in (scratch / "run.log").read_text(encoding="utf-8")
    assert "tensors loaded" in (tuned / "run.log").read_text(encoding="utf-8")
