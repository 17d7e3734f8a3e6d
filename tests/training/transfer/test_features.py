"""Features of the frozen layers, kept on disk: the same losses, less work."""

import math
import os
import signal
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image
from tests.stopping import TRUST, assert_same_outcome, resume
from tests.training.transfer.transferring import FailOnce, losses, results, train
from torch import nn

from strided.data import BatchAugment
from strided.data.preprocessing import Preprocessing
from strided.data.sets.image_folder import ImageFolder
from strided.models import build_model
from strided.training.transfer import features
from strided.training.transfer.cut import Cut
from strided.training.transfer.features import Views, _digest, open_features
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


def test_features_with_a_flipped_bit_are_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "strided")
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.Linear(6, 2))
    cut = Cut(net.eval(), parts(net, "1"))
    data = bitmaps(tmp_path, pipeline="store")
    views = Views(data, BatchAugment(), 1, 0, "32", lambda x: x, nullcontext)
    shape = cut.check(torch.zeros(2, 1, 8, 8))
    folder = tmp_path / "features-0"
    first = np.array(open_features(folder, cut, shape, views).train)
    assert not caplog.messages
    meta = (folder / "meta.json").read_text()
    places = [("train.npy", 0), ("train.npy", 60), ("train.npy", 130), ("val.npy", -1)]
    places += [("meta.json", 0), ("meta.json", meta.index(".")), ("meta.json", len(meta) - 2)]
    for name, place in places:
        content = bytearray((folder / name).read_bytes())
        content[place] ^= 1
        (folder / name).write_bytes(content)
        assert np.array_equal(open_features(folder, cut, shape, views).train, first)
        assert [f"features in {folder} are damaged" in line for line in caplog.messages] == [True]
        caplog.clear()
    (folder / "meta.json").write_text('{"seconds": 1.0}')  # of an older version: no checksums
    open_features(folder, cut, shape, views)
    assert "damaged" in caplog.text and "checksums" in (folder / "meta.json").read_text()


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
        data = bitmaps(tmp_path, "streaming", shift)
        return Views(data, BatchAugment(), 1, 0, "32", lambda x: x, nullcontext).key()

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
