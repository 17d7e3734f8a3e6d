from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

from strided.data import BatchLoader
from strided.data.pixels.pipeline import ArrayPixels

IMAGES = np.arange(23, dtype=np.uint8).reshape(23, 1, 1, 1).repeat(4, axis=2).repeat(4, axis=3)
LABELS = np.arange(23, dtype=np.int64)


def loader(seed: int | None = 0, **options: Any) -> BatchLoader:
    indices = options.pop("indices", np.arange(23))
    return BatchLoader(
        ArrayPixels(IMAGES), LABELS, indices, options.pop("batch_size", 4), seed=seed, **options
    )


def seen(batches: BatchLoader) -> list[int]:
    return [label for batch in batches for label in batch.labels.tolist()]


def test_without_a_seed_images_come_in_order_with_their_labels() -> None:
    batches = list(loader(None, indices=np.array([3, 1, 20, 7, 5])))
    assert [batch.labels.tolist() for batch in batches] == [[3, 1, 20, 7], [5]]
    for images, labels, *_ in batches:
        assert images.dtype == torch.uint8 and images.shape[1:] == (1, 4, 4)
        assert images[:, 0, 0, 0].tolist() == labels.tolist()


def test_views_take_turns_from_the_same_one_without_a_seed_too() -> None:
    def first_views() -> list[int]:
        pixels = ArrayPixels(np.arange(23 * 9).reshape(-1, 1, 1, 1))
        batches = BatchLoader(pixels, LABELS, np.arange(23), 23, views=9)
        return [int(number) for batch in batches for number in batch.images.flatten()]

    assert first_views() == first_views()


def test_each_epoch_has_its_own_order_which_seed_and_epoch_decide() -> None:
    first, second = loader(), loader()
    orders = []
    for epoch in range(3):
        first.set_epoch(epoch)
        orders.append(seen(first))
        assert sorted(orders[-1]) == list(range(23))
    second.set_epoch(2)  # without having gone through the epochs before
    assert seen(second) == orders[2]
    assert orders[0] != orders[1] != orders[2] and seen(loader(1)) != orders[0]


def test_the_epoch_may_be_set_after_iter_was_called() -> None:
    batches = loader()
    iterator = iter(batches)
    batches.set_epoch(5)
    other = loader()
    other.set_epoch(5)
    assert next(iterator).labels.tolist() == seen(other)[:4]


def test_every_batch_has_its_own_seed() -> None:
    batches = loader()
    seeds = [batch.seed for batch in batches]
    batches.set_epoch(1)
    seeds += [batch.seed for batch in batches]
    assert len(set(seeds)) == 12 and seeds[:6] == [batch.seed for batch in loader()]


def test_drop_last_leaves_only_full_batches() -> None:
    assert len(loader()) == 6 and len(loader(drop_last=True)) == 5
    assert {len(batch.labels) for batch in loader(drop_last=True)} == {4}


def test_ranks_share_the_images_in_as_many_batches() -> None:
    ranks = [loader(rank=rank, world_size=3) for rank in range(3)]
    assert {len(rank) for rank in ranks} == {len(list(rank)) for rank in ranks} == {2}
    together = [label for rank in ranks for label in seen(rank)]
    assert len(together) == 24 and set(together) == set(range(23))
    assert len({batch.seed for rank in ranks for batch in rank}) == 6


def test_a_loaded_state_goes_on_in_its_own_epoch_only() -> None:
    batches = loader()
    batches.set_epoch(2)
    iterator = iter(batches)
    handed_out = [next(iterator).labels.tolist() for _ in range(2)]
    state = batches.state_dict()
    rest = [batch.labels.tolist() for batch in iterator]
    for epoch, expected in ((2, rest), (2, handed_out + rest)):
        if expected is rest:
            resumed = loader()
            resumed.load_state_dict(state)
        resumed.set_epoch(epoch)
        assert [batch.labels.tolist() for batch in resumed] == expected
    resumed.load_state_dict(state)
    resumed.set_epoch(3)
    assert len(seen(resumed)) == 23


class Recorder(pl.LightningModule):
    """Trains one weight and writes down the batches it was given."""

    def __init__(self, batches: BatchLoader, save_at: int = 0, file: str = "") -> None:
        super().__init__()
        self.batches, self.save_at, self.file = batches, save_at, file
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.record: list[tuple[int, list[int], int]] = []

    def train_dataloader(self) -> BatchLoader:
        return self.batches

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        self.record.append((self.current_epoch, batch.labels.tolist(), batch.seed))
        return (self.weight * batch.images.float()).mean()

    def on_train_batch_end(self, *_: Any) -> None:
        if self.global_step == self.save_at:
            self.trainer.save_checkpoint(self.file)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([self.weight], lr=0.01)


def fit(module: Recorder, resume: str | None = None) -> list[tuple[int, list[int], int]]:
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=3,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, ckpt_path=resume, weights_only=True if resume else None)
    return module.record


@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec:FutureWarning")
@pytest.mark.parametrize("step", [2, 6, 9, 12, 17])
def test_a_run_stopped_anywhere_sees_exactly_the_remaining_batches(
    tmp_path: Path, step: int
) -> None:
    file = str(tmp_path / "stopped.ckpt")
    whole = fit(Recorder(loader(), save_at=step, file=file))
    assert len(whole) == 18
    assert fit(Recorder(loader()), resume=file) == whole[step:]


# Of 23 images 15 are of class 0, 6 of class 1, 2 of class 7.
UNEQUAL = np.repeat(np.array([0, 1, 7], dtype=np.int64), [15, 6, 2])


def balanced_epochs(count: int, seed: int = 0, **options: Any) -> list[list[int]]:
    """The indices of each epoch, read from the pixels."""
    batches = BatchLoader(
        ArrayPixels(IMAGES), UNEQUAL, np.arange(23), 4, seed=seed, class_balanced=True, **options
    )
    epochs = []
    for epoch in range(count):
        batches.set_epoch(epoch)
        found = [(batch.images[:, 0, 0, 0].tolist(), batch.labels.tolist()) for batch in batches]
        epochs.append([image for images, _ in found for image in images])
        assert [x for _, labels in found for x in labels] == UNEQUAL[epochs[-1]].tolist()
    return epochs


def test_a_balanced_epoch_has_as_many_images_and_equally_many_of_each_class() -> None:
    for epoch in balanced_epochs(6):
        counts = np.bincount(UNEQUAL[epoch], minlength=8)[[0, 1, 7]]
        assert len(epoch) == 23 and counts.max() - counts.min() == 1
        assert sorted(UNEQUAL[epoch].tolist()) != UNEQUAL[epoch].tolist()  # shuffled
    together = np.concatenate(balanced_epochs(6))
    assert np.bincount(UNEQUAL[together])[[0, 1, 7]].tolist() == [46, 46, 46]


def test_no_image_comes_again_before_all_others_of_its_class() -> None:
    epochs = balanced_epochs(15)
    for label in (0, 1, 7):
        members = np.flatnonzero(label == UNEQUAL)
        seen = np.zeros(23, dtype=int)
        for epoch in epochs:
            for image in epoch:
                seen[image] += 1
            # of any two, one is at most one copy ahead when an epoch is over
            assert np.ptp(seen[members]) <= 1


def test_a_balanced_order_follows_from_seed_and_epoch_alone() -> None:
    epochs = balanced_epochs(4)
    assert balanced_epochs(4) == epochs and balanced_epochs(4, seed=1) != epochs
    fresh = BatchLoader(
        ArrayPixels(IMAGES), UNEQUAL, np.arange(23), 23, seed=0, class_balanced=True
    )
    fresh.set_epoch(3)
    assert next(iter(fresh)).images[:, 0, 0, 0].tolist() == epochs[3]


def test_processes_share_a_balanced_epoch() -> None:
    alone = balanced_epochs(2)
    first, second = (balanced_epochs(2, rank=rank, world_size=2) for rank in range(2))
    for epoch, one, two in zip(alone, first, second, strict=True):
        assert sorted(one + two) == sorted([*epoch, epoch[0]])  # wrapped round to fill


def served(batches: BatchLoader) -> dict[int, bool]:
    """Whether the image of each label is mirrored."""
    found: dict[int, bool] = {}
    for batch in batches:
        assert batch.mirrored is not None
        found.update(zip(batch.labels.tolist(), batch.mirrored.tolist(), strict=True))
    return found


def test_alternating_mirrors_half_of_the_images_and_the_others_in_the_next_epoch() -> None:
    batches = loader(alternating=True)
    mirrored = []
    for epoch in (4, 5, 6):
        batches.set_epoch(epoch)
        mirrored.append({label for label, chosen in served(batches).items() if chosen})
    assert 5 < len(mirrored[0]) < 18
    assert mirrored[1] == set(range(23)) - mirrored[0] and mirrored[2] == mirrored[0]
    assert all(batch.mirrored is None for batch in loader())


def test_processes_and_a_resume_mirror_the_same_images() -> None:
    whole = loader(alternating=True)
    whole.set_epoch(1)
    wanted = served(whole)
    for rank in (0, 1):
        share = loader(alternating=True, rank=rank, world_size=2)
        share.load_state_dict({"epoch": 1, "batch": 1})  # inside an epoch
        share.set_epoch(1)
        assert all(wanted[label] == chosen for label, chosen in served(share).items())
