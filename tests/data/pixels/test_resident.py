"""Batches from pixels on a device are those from the store; the CPU stands for a GPU here."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from strided.data import BatchLoader, Preprocessing, Synthetic
from strided.data.pixels import resident as module
from strided.data.pixels.pipeline import ArrayPixels, Pixels
from strided.data.pixels.resident import ResidentPixels, resident
from strided.errors import UserError

CPU = torch.device("cpu")
IMAGES = np.random.default_rng(0).integers(0, 256, (46, 3, 4, 4), dtype=np.uint8)
LABELS = np.arange(23, dtype=np.int64) % 3


def batches(pixels: Pixels, epoch: int, start: int, **options: Any) -> list[tuple[Any, ...]]:
    """What is left of an epoch from a batch on, as plain values."""
    indices = np.random.default_rng(1).permutation(23)
    loader = BatchLoader(pixels, LABELS, indices, 4, **options)
    loader.load_state_dict({"epoch": epoch, "batch": start})
    loader.set_epoch(epoch)
    return [(b.images.dtype, b.images.tolist(), b.labels.tolist(), b.seed) for b in loader]


@pytest.mark.parametrize(
    "options",
    [
        {"seed": 3},
        {"seed": 3, "drop_last": True},
        {"seed": 3, "class_balanced": True},
        {"seed": 3, "views": 2},
        {"seed": 3, "rank": 1, "world_size": 2},
        {"mark_repeated": True, "rank": 2, "world_size": 3},
    ],
)
@pytest.mark.parametrize("start", [0, 1])
def test_batches_are_those_of_the_store_also_after_a_resume(
    options: dict[str, Any], start: int
) -> None:
    stored = ArrayPixels(IMAGES)
    with resident({"train": stored}, True, CPU) as on_device:
        assert isinstance(on_device["train"], ResidentPixels)
        for epoch in (0, 1):
            found = batches(on_device["train"], epoch, start, **options)
            assert found == batches(stored, epoch, start, **options) != []


def test_splits_share_a_copy_which_is_sent_in_parts_and_freed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_SENT_AT_ONCE", 5 * IMAGES[0].nbytes)
    stored, features = ArrayPixels(IMAGES), ArrayPixels(IMAGES.astype(np.float32) / 3)
    given = {"train": stored, "val": stored, "other": features}
    with resident(given, True, CPU) as found:
        train, val, other = found.values()
        assert train is val and isinstance(train, ResidentPixels)
        assert isinstance(other, ResidentPixels) and other.images.dtype == torch.float32
        assert np.array_equal(train.images.numpy(), IMAGES)
        assert np.array_equal(other.images.numpy(), features.images)
    assert train.images.numel() == other.images.numel() == 0


@pytest.mark.parametrize(("free", "expected"), [(None, False), (3, False), (4, True)])
def test_auto_takes_at_most_a_quarter_of_the_free_memory_of_a_gpu(
    free: int | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "free_bytes", lambda _: free and free * IMAGES.nbytes)
    with resident({"train": ArrayPixels(IMAGES)}, "auto", CPU) as found:
        assert bool(found) is expected
    with resident({"train": ArrayPixels(IMAGES)}, False, CPU) as found:
        assert not found


def test_what_does_not_fit_is_refused_if_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "free_bytes", lambda _: IMAGES.nbytes - 1)
    said = r"data.resident=true, but .* take .* has .* free; expected .* Try data.resident=auto"
    with (
        pytest.raises(UserError, match=said),
        resident({"train": ArrayPixels(IMAGES)}, True, CPU),
    ):
        pass


def test_a_damaged_image_is_decoded_again_on_its_way(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = Synthetic(num_images=40, cache_dir=str(tmp_path), resident=True)
    data.use(Preprocessing(3, 32))
    data.setup()
    whole = np.stack([data.picture("train", place) for place in range(5)])
    (file,) = tmp_path.glob("*/images.npy")
    stored = np.load(file, mmap_mode="r+")
    stored[data.splits["train"][3]] += 1
    stored.flush()
    data.use(Preprocessing(3, 32))
    data.setup()
    with data.on_device(CPU) as is_there:
        assert is_there
        train = data._loader("train", None, False)
        images = next(iter(train)).images[:5].numpy().transpose(0, 2, 3, 1)
    assert np.array_equal(images, whole)
    assert "have changed on the disk" in caplog.text


def test_images_that_are_decoded_in_every_epoch_do_not_lie_anywhere(tmp_path: Path) -> None:
    for asked in ("auto", True):
        data = Synthetic(
            num_images=40, cache_dir=str(tmp_path), pipeline="streaming", resident=asked
        )
        data.use(Preprocessing(3, 32))
        data.setup()
        if asked == "auto":
            with data.on_device(CPU) as is_there:
                assert not is_there
        else:
            said = "data.pipeline=streaming.*expected.*Try data.pipeline=store"
            with pytest.raises(UserError, match=said), data.on_device(CPU):
                pass
