"""Features of the frozen layers, kept on disk: the same losses, less work."""

import errno
import math
import os
import signal
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from tests.stopping import TRUST, assert_same_outcome, forked, resume
from tests.training.transfer.transferring import FailOnce, losses, results, train
from torch import nn

from strided.cli import main
from strided.data import BatchAugment
from strided.data.preprocessing import Preprocessing
from strided.data.sets.image_folder import ImageFolder
from strided.errors import UserError
from strided.models import build_model
from strided.models.heads import set_head
from strided.runs.predictions_csv import Predictions
from strided.training.transfer.cut import Cut
from strided.training.transfer.digest import _version, digest_of
from strided.training.transfer.features import (
    FrozenLayers,
    KeptFeatures,
    Views,
    features_folder,
)
from strided.training.transfer.on_features import FeaturePlan, not_worthwhile
from strided.training.transfer.parts import parts

pytestmark = pytest.mark.usefixtures("blank_figures")
TIMM = {"_target_": "strided.models.timm_model"}


def network(config: dict[str, Any], image_size: int) -> nn.Module:
    torch.manual_seed(0)
    return build_model(config, num_classes=5, in_channels=3, image_size=image_size)


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


def test_views_are_augmented_and_take_turns(weights: str, log_dir: Path) -> None:
    words = (weights, "transfer=frozen", "transfer.cached_views=2", "transfer.cache=true")
    folder = train(log_dir, *words, "augment=standard")
    (row,) = results(folder)["stages"]
    assert row["features"]["views"] == 2
    resident = train(log_dir, *words, "augment=standard", "data.resident=true")
    assert results(resident)["execution"]["resident"] is True
    assert losses(resident) == losses(folder)
    again = train(log_dir, *words, "augment=standard")  # opened, not computed
    assert results(again)["stages"][0]["features"]["computed"] == 0
    assert losses(again) == losses(folder)


def test_a_view_of_an_image_depends_on_no_other_image_that_is_asked_for(tmp_path: Path) -> None:
    def views(name: str, *parts: list[int]) -> np.ndarray:
        data = bitmaps(tmp_path, "store")
        data.cache_dir = tmp_path / name
        augment = BatchAugment(horizontal_flip=True, brightness=0.5)
        kept = KeptFeatures(layers_before(data), Views(2, augment, seed=1))
        for indices in parts:
            kept.require(np.array(indices))
        return np.array(kept.images)

    whole = views("whole", list(range(16)))
    assert not np.allclose(whole[:8], whole[8:])
    in_parts = views("parts", [9, 3], [10, 2, 1])
    assert np.allclose(in_parts[[1, 2, 3, 9, 10]], whole[[1, 2, 3, 9, 10]], atol=1e-6)
    assert not in_parts[[0, 4, 8, 15]].any()


def test_folds_seeds_and_smaller_parts_share_a_row_an_image(weights: str, log_dir: Path) -> None:
    words = [weights, "transfer=frozen", "transfer.cache=true", "trainer.max_epochs=1"]
    words += ["data.train_fraction=0.05", f"data.cache_dir={log_dir}"]

    def computed(*more: str) -> int:
        (row,) = results(train(log_dir, *words, *more))["stages"]
        return int(row["features"]["computed"])

    images = 1797
    first = computed()
    assert 0 < first < images / 5  # some of training, and validation
    assert computed("seed=1", "model.head=linear") == 0
    rows = first + sum(
        computed(
            f"data.split_seed={seed}", "trainer.limit_test_batches=1.0", "data.val_fraction=0.4"
        )
        for seed in range(1, 5)
    )
    assert rows < images
    assert computed("data.split_seed=5") < first / 5  # nearly all are there: tests have run


def test_a_test_on_kept_features_is_that_on_images(
    weights: str, log_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (weights, "transfer=frozen", "transfer.cache=true", "trainer.limit_test_batches=1.0")
    train(log_dir, *words)
    seen: list[int] = []
    forward = FrozenLayers.of

    def spy(layers: FrozenLayers, pixels: torch.Tensor) -> np.ndarray:
        seen.append(len(pixels))
        return forward(layers, pixels)

    monkeypatch.setattr(FrozenLayers, "of", spy)
    folder = train(log_dir, *words)
    assert not seen  # not for training, validation, test or the gap
    assert main(["eval", f"checkpoint={folder}", f"log_dir={log_dir}"]) == 0
    (evaluated,) = log_dir.glob("eval/*/*")
    own, others = (results(run) for run in (folder, evaluated))
    assert own["tested"] == own["splits"]["test"]
    assert own["test/loss"] == pytest.approx(others["test/loss"], abs=1e-5)
    one, two = (Predictions.read(run / "predictions.csv") for run in (folder, evaluated))
    assert one.paths == two.paths
    assert np.allclose(one.probabilities, two.probabilities, atol=1e-5)


def layers_before(data: ImageFolder) -> FrozenLayers:
    """The first layer of a small network on 8x8 images."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.Linear(6, 2)).eval()
    cut = Cut(net, parts(net, "1"))
    return FrozenLayers(cut, data, (64,), lambda x: x, nullcontext, ["32-true"])


def test_rows_with_a_flipped_bit_are_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "strided")
    layers = layers_before(bitmaps(tmp_path, "store"))
    every = np.arange(8)

    def opened() -> KeptFeatures:
        kept = KeptFeatures(layers)
        kept.require(every)
        return kept

    first = opened()
    folder, values = first.rows.folder, np.array(first.images)
    assert first.computed == 8 and not caplog.messages
    for name, place in (("features.bin", 0), ("features.bin", -1), ("crc32.bin", 9)):
        content = bytearray((folder / name).read_bytes())
        content[place] ^= 1
        (folder / name).write_bytes(content)
        again = opened()
        assert again.computed == 1 and np.allclose(again.images, values, atol=1e-6)
        assert [f"1 features in {folder} are damaged" in line for line in caplog.messages] == [True]
        caplog.clear()
    for name in ("features.bin", "crc32.bin"):
        os.truncate(folder / name, 10)
        assert opened().computed == 8


def test_two_processes_share_the_work(tmp_path: Path) -> None:
    layers = layers_before(bitmaps(tmp_path, "store"))
    kept = KeptFeatures(layers)
    other = partial(KeptFeatures(layers).require, np.arange(8))
    with forked(other, tmp_path / "output") as process:
        kept.require(np.arange(4, 8))
        process.join()
        assert process.exitcode == 0
    own = KeptFeatures(layers)
    own.require(np.arange(8))
    assert own.computed == 0


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = KeptFeatures(layers_before(bitmaps(tmp_path, "store")))

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(kept.rows, "_write", full)
    with pytest.raises(UserError, match=r"data\.cache_dir=.* cannot be used: .*No space"):
        kept.require(np.arange(8))


def test_the_disk_is_asked_for_room_only_where_nothing_is_kept_yet(tmp_path: Path) -> None:
    class FullDisk:
        cache_dir = tmp_path
        batch_size = 8

        def readable(self, split: str) -> range:
            return range(10**15 if split == "train" else 1)

    layers: Any = SimpleNamespace(data=FullDisk(), shape=(1,), key=["a"])

    def why() -> str | None:
        return not_worthwhile(FeaturePlan(layers, None, macs=1), macs=10**9, to_come=math.inf)

    assert "GB free" in str(why())
    features_folder(layers).mkdir()
    assert why() is None


def test_what_a_stopped_run_has_computed_is_kept(
    weights: str, log_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (weights, "transfer=frozen", "transfer.cache=true", f"data.cache_dir={tmp_path}")
    forward, seen = FrozenLayers.of, list[int]()

    def interrupted(layers: FrozenLayers, pixels: torch.Tensor) -> np.ndarray:
        if len(seen) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        seen.append(len(pixels))
        return forward(layers, pixels)

    with monkeypatch.context() as patch:
        patch.setattr(FrozenLayers, "of", interrupted)
        train(log_dir, *words, code=130)
    row = results(train(log_dir, *words))["stages"][0]["features"]
    assert row["computed"] * math.prod(row["shape"]) * 4 == row["bytes"] - sum(
        seen[:2]
    ) * 4 * math.prod(row["shape"])


def test_features_are_of_all_that_is_before_the_cut() -> None:
    def digest(net: nn.Module) -> str:
        return digest_of(Cut(net, parts(net, "head")))

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


class Scaled(nn.Module):
    """A network with settings of each kind, beside its one weight."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.scale = nn.Linear(1, 1)
        self.head = nn.Linear(1, 3)
        vars(self).update(settings)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (nn.functional.relu, nn.functional.gelu),
        (partial(nn.functional.elu, alpha=1.0), partial(nn.functional.elu, alpha=2.0)),
        ({"strides": [1, 2]}, {"strides": [2, 1]}),
        ({"act": nn.functional.relu}, {"act": nn.functional.gelu}),
        (torch.zeros(2), torch.ones(2)),
        (torch.float32, torch.float64),
    ],
)
def test_functions_mappings_and_tensors_of_a_network_count(one: object, other: object) -> None:
    def digest(value: object) -> str:
        torch.manual_seed(0)
        net = Scaled(setting=value)
        return digest_of(Cut(net, SimpleNamespace(entry="head", trained=[net.head])))  # type: ignore[arg-type]

    assert digest(one) == digest(one)
    assert digest(one) != digest(other)


def test_code_of_ones_own_counts_and_that_of_strided_has_a_format() -> None:
    assert _version(__name__) != "" and _version("strided.models") == ""
    assert _version("torch.nn.modules.linear") == torch.__version__


def test_other_pooled_blocks_of_the_same_width_are_other_features() -> None:
    digests = []
    for pooled in (["conv1", "layer2"], ["layer1", "layer2"]):  # 64 maps and 128 in both
        torch.manual_seed(0)
        net = torchvision.models.resnet18()
        own = set_head(net, "pooled", 3, (3, 32, 32), pooled=pooled)
        digests.append(digest_of(Cut(own, parts(own, "head"))))
    assert digests[0] != digests[1]


def bitmaps(folder: Path, pipeline: Literal["store", "streaming"], shift: int = 0) -> ImageFolder:
    """Eight small grey images of two classes; `shift` changes their pixels only."""
    for number in range(8):
        file = folder / "images" / "ab"[number % 2] / f"{number}.bmp"  # all of one size
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 10 * number + shift).save(file)
    data = ImageFolder(
        root=str(folder / "images"),
        pipeline=pipeline,
        mean=[0.5],
        std=[0.5],
        cache_dir=str(folder / "cache"),
    )
    data.use(Preprocessing(channels=1, image_size=8, mean=(0.5,), std=(0.5,)))
    data.setup()
    return data


def test_features_of_streamed_images_are_of_these_files(tmp_path: Path) -> None:
    def ask(shift: int) -> list[Any]:
        return layers_before(bitmaps(tmp_path, "streaming", shift)).key

    assert ask(0) != ask(1)


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


def test_a_run_of_coarse_weights_goes_on_with_the_same_features(
    weights: str, log_dir: Path, tmp_path: Path
) -> None:
    words = (weights, "transfer=frozen", "transfer.cache=true", "trainer.precision=bf16-true")
    whole = train(log_dir, *words)
    fail = (
        f"+callbacks.fail._target_={FailOnce.__module__}.FailOnce",
        "+callbacks.fail.epoch=1",
        f"+callbacks.fail.mark={tmp_path / 'failed'}",
    )
    folder = train(log_dir, *words, *fail, TRUST, code=1)
    resume(folder, TRUST, fail[-1])  # a path counts only as typed
    assert_same_outcome(folder, whole)


def test_a_typed_augmentation_is_refused_where_features_are_kept_of_plain_images(
    weights: str, log_dir: Path
) -> None:
    words = (weights, "transfer=frozen", "transfer.cache=true", "trainer.max_epochs=1")
    refused = train(log_dir, *words, "augment=standard", code=1)
    message = results(refused)["error"]
    assert "augment=standard would do nothing" in message
    assert "transfer.cached_views=5, or transfer.cache=false" in message
