import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.pretend_gpu import PretendGpu

from strided.data import BatchLoader, Preprocessing, Synthetic
from strided.data.pixels import pipeline
from strided.data.pixels.pipeline import ArrayPixels, read_ahead
from strided.errors import UserError

LARGE = np.random.default_rng(0).integers(0, 256, (40, 3, 200, 200), dtype=np.uint8)


def readers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("read_ahead")]


def batches(pixels: ArrayPixels, seed: int = 0) -> BatchLoader:
    return BatchLoader(pixels, np.arange(40, dtype=np.int64), np.arange(40), 10, seed=seed)


def test_large_batches_are_read_ahead_in_a_thread_that_ends_with_the_epoch() -> None:
    given = iter(batches(ArrayPixels(LARGE)))
    for count, batch in enumerate(given):
        assert torch.equal(batch.images, torch.from_numpy(LARGE[batch.labels.numpy()]))
        assert count == 3 or len(readers()) == 1
    assert count == 3 and not readers()


def test_small_batches_need_no_thread() -> None:
    given = iter(batches(ArrayPixels(LARGE[:, :, :8, :8])))
    next(given)
    assert not readers()


def test_the_thread_ends_when_the_epoch_is_abandoned() -> None:
    given = iter(batches(ArrayPixels(LARGE)))
    next(given)
    assert readers()
    del given
    assert not readers()


def test_the_place_reached_does_not_count_what_was_read_ahead() -> None:
    loader = batches(ArrayPixels(LARGE))
    given = iter(loader)
    seen = [next(given).labels.tolist() for _ in range(2)]
    assert loader.state_dict() == {"epoch": 0, "batch": 2}
    resumed = batches(ArrayPixels(LARGE))
    resumed.load_state_dict(loader.state_dict())
    seen += [batch.labels.tolist() for batch in resumed]
    assert seen == [batch.labels.tolist() for batch in batches(ArrayPixels(LARGE))]


def test_reading_ahead_keeps_the_order_and_stops_a_few_items_ahead() -> None:
    asked: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            asked.append(number)
            yield number

    results = read_ahead(lambda number: number**2, items())
    assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
    assert len(asked) < 10
    assert list(results) == [number**2 for number in range(5, 100)]


def test_an_error_of_the_thread_surfaces_in_its_turn() -> None:
    results = read_ahead(lambda number: 1 // (2 - number), range(5))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert not readers()


def test_pinned_memory_is_what_batches_are_taken_into(monkeypatch: pytest.MonkeyPatch) -> None:
    filled: list[int] = []

    class Noting(ArrayPixels):
        def take(self, indices: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
            assert out is not None
            filled.append(out.__array_interface__["data"][0])
            return super().take(indices, out)

    monkeypatch.setattr(pipeline, "read_ahead", map)  # the mode is of this thread
    labels = np.arange(40, dtype=np.int64)
    with PretendGpu() as gpu:
        loader = BatchLoader(Noting(LARGE), labels, np.arange(40), 10, seed=0, pin_memory=True)
        served = list(loader)
        for batch in served:
            assert batch.images.is_pinned() and batch.labels.is_pinned()
            for tensor in (batch.images, batch.labels):
                tensor.to("cuda", non_blocking=True)
    assert filled == [batch.images.data_ptr() for batch in served] and not gpu.waits
    for batch, plain in zip(served, batches(ArrayPixels(LARGE)), strict=True):
        assert torch.equal(batch.images, plain.images) and torch.equal(batch.labels, plain.labels)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there it works")
def test_pinned_memory_is_refused_without_a_gpu(tmp_path: Path) -> None:
    for pin_memory in (None, True):
        data = Synthetic(num_images=40, cache_dir=str(tmp_path), pin_memory=pin_memory)
        data.use(Preprocessing(3, 32))
        data.setup()
        if pin_memory is None:
            assert not next(iter(data.train_dataloader())).images.is_pinned()
        else:
            with pytest.raises(UserError, match="no GPU here"):
                data.train_dataloader()
