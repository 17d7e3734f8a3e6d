"""Smaller images in the first epochs: their sizes, their arithmetic, a resume, and refusals."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from tests.conftest import Train
from tests.stopping import TRUST, assert_same_outcome, results, resume, stopping, train

from strided.cli import main
from strided.data.geometry import shrunk
from strided.errors import UserError
from strided.training import ImageSize

pytestmark = pytest.mark.usefixtures("blank_figures")
NETWORK = ("model=resnet_cifar", "model.depth=8")
FEW = ("data.train_fraction=0.2", "data.batch_size=32", "trainer.max_epochs=4")
CASE = (*NETWORK, *FEW, "callbacks.image_size.start=0.5")
SIZES: list[tuple[int, str, int]] = []


class SizesSeen(pl.Callback):
    """Notes the epoch and the side of each batch."""

    def on_train_batch_start(self, trainer: pl.Trainer, _: Any, batch: Any, index: int) -> None:
        SIZES.append((trainer.current_epoch, "train", batch[0].shape[-1]))

    def on_validation_batch_start(
        self, trainer: pl.Trainer, _: Any, batch: Any, *given: int
    ) -> None:
        SIZES.append((trainer.current_epoch, "val", batch[0].shape[-1]))


def test_the_first_half_of_the_run_has_small_images_and_validates_large_ones(
    run_train: Train,
) -> None:
    SIZES.clear()
    seen = (f"+callbacks.seen._target_={__name__}.SizesSeen", TRUST)
    target = ("callbacks.target.value=0.01", "callbacks.target.monitor=train/acc")
    small = run_train(*CASE, *seen, *target)
    assert set(SIZES) == {
        *((epoch, "train", 4 if epoch < 2 else 8) for epoch in range(4)),
        *((epoch, "val", 8) for epoch in range(4)),
    }
    whole = run_train(*NETWORK, *FEW, *target)
    counted = [results(folder)["flops_to_target"] for folder in (small, whole)]
    assert counted[0] / counted[1] == pytest.approx(0.25, abs=0.01)
    assert results(small)["macs"] == results(whole)["macs"]


def test_a_resume_inside_a_small_epoch_and_inside_a_large_one_changes_no_bit(
    log_dir: Path,
) -> None:
    words = (*CASE, "~model.dropout")  # of the case of all such tests
    long = train(log_dir, *words)
    for batch in (2, 14):
        folder = train(log_dir, *words, *stopping(batch), code=143)
        resume(folder, TRUST)
        assert_same_outcome(folder, long)


def test_pixels_are_averaged_and_not_dropped() -> None:
    stripes = torch.tensor([0, 200], dtype=torch.uint8).repeat(1, 1, 8, 4)
    found = shrunk(stripes, 4)
    assert found.shape == (1, 1, 4, 4) and found.dtype == torch.float32
    torch.testing.assert_close(found[..., 1:-1], torch.full((1, 1, 4, 2), 100.0))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("model=lenet5",), "16 pixels, which this network"),
        (("trainer.max_epochs=-1", "trainer.max_steps=3"), "max_epochs=-1 leaves open"),
        (("callbacks.image_size.start=1",), "start=1, share=0.5; expected both between"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    words: tuple[str, ...], said: str, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["train", *FEW, "callbacks.image_size.start=0.5", *words, f"log_dir={log_dir}"]) == 1
    )
    shown = capsys.readouterr().err
    assert said in " ".join(shown.split()) and "Try" in shown and "Traceback" not in shown


@pytest.mark.parametrize("share", [0.0, 1.0, float("nan")])
def test_a_share_is_less_than_all(share: float) -> None:
    with pytest.raises(UserError, match="expected both between 0 and 1"):
        ImageSize(0.5, share)
