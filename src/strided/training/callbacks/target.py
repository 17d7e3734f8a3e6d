"""Target: seconds, epochs and arithmetic until a metric first reaches a value."""

import logging
import math
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint as LightningCheckpoint

from strided.config.schema import MONITORS
from strided.errors import UserError
from strided.models.macs import count_training_flops
from strided.runs.results import Results
from strided.training.callbacks.epoch_recorder import EpochRecorder
from strided.training.task import ClassificationTask

log = logging.getLogger(__name__)


class Target(LightningCheckpoint):
    """Note when `monitor` first is `value` or better, over all stages and sessions of a run.

    Seconds are those inside fit, with validations and checkpoints. FLOPs are those of the
    convolutions and matrix products that training computes, two for a multiply-add: forward, and
    backward as far as weights are trained (of auxiliary heads nothing); features of frozen layers
    that are kept count once.

    For Lightning it is a Checkpoint, so that it runs after the task has logged the epoch.

    Args:
        value: What to reach, such as 0.94.
        monitor: The metric: val/acc, val/loss, train/acc or train/loss.
        stop: Whether the run ends there.
    """

    def __init__(self, value: float, monitor: str = "val/acc", stop: bool = False) -> None:
        if monitor.endswith("/acc") and not 0 < value <= 1:
            raise UserError(
                f"callbacks.target.value={value}; expected a share of the images, 0 < value <= 1. "
                "Try callbacks.target.value=0.94, or null to switch it off"
            )
        self.value, self.monitor, self.stop = value, monitor, stop
        self.reached: dict[str, float] | None = None
        self._flops = 0.0  # of the run so far
        self._flops_of_image: dict[tuple[int, ...], int] = {}  # in this stage, by shape

    @property
    def ends(self) -> bool:
        """Whether it has been reached, and is to end the run."""
        return self.stop and self.reached is not None

    def add(self, flops: float) -> None:
        """Count arithmetic outside the batches: that of kept features."""
        self._flops += flops

    def on_train_start(self, trainer: pl.Trainer, task: Any) -> None:
        """Count the arithmetic of an image anew: another stage trains other layers."""
        self._flops_of_image = {}

    def on_train_batch_start(
        self, trainer: pl.Trainer, task: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the arithmetic of this batch, in all processes."""
        shape = tuple(batch[0].shape[1:])  # smaller at first with callbacks.image_size
        if shape not in self._flops_of_image:
            self._flops_of_image[shape] = training_flops(task, shape)
        self._flops += self._flops_of_image[shape] * len(batch[0]) * trainer.world_size

    def on_validation_end(self, trainer: pl.Trainer, task: Any) -> None:
        """Look at the validation's metrics."""
        if not trainer.sanity_checking and self.monitor.startswith("val/"):
            self._look(trainer, task)

    def on_train_epoch_end(self, trainer: pl.Trainer, task: Any) -> None:
        """Look at the epoch's metrics."""
        if self.monitor.startswith("train/"):
            self._look(trainer, task)

    def _look(self, trainer: pl.Trainer, task: Any) -> None:
        found, split = task.measured.get(self.monitor), self.monitor.partition("/")[0]
        if self.reached is not None or found is None:
            return
        if not math.isfinite(task.measured[f"{split}/loss"]):  # accuracy then counts class 0
            return
        if not (found >= self.value if MONITORS[self.monitor] == "max" else found <= self.value):
            return
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        recorder = next(c for c in callbacks if isinstance(c, EpochRecorder))
        part = (trainer.fit_loop.batch_idx + 1) / trainer.num_training_batches
        self.reached = {
            "seconds": round(recorder.train_seconds, 3),
            "epochs": round(trainer.current_epoch + part, 4),
            "flops": self._flops,
        }
        log.info(
            "%s %.4f reached %g after %.1f s, %.4g epochs and %.3g FLOPs",
            *(self.monitor, found, self.value),
            *self.reached.values(),
        )
        trainer.should_stop = trainer.should_stop or self.stop

    def note(self, results: Results, *, solved: bool) -> None:
        """Add aim and finding to results.json; None: not reached, or FLOPs of a solved head."""
        found = self.reached or {}
        results["target"] = {"monitor": self.monitor, "value": self.value}
        results["seconds_to_target"] = found.get("seconds")
        results["epochs_to_target"] = found.get("epochs")
        results["flops_to_target"] = None if solved else found.get("flops")

    def state_dict(self) -> dict[str, Any]:
        """What was found, and the arithmetic so far."""
        return {"reached": self.reached, "flops": self._flops}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.reached, self._flops = state_dict["reached"], state_dict["flops"]


def training_flops(task: ClassificationTask, shape: tuple[int, ...]) -> int:
    """Count the FLOPs of training on one image, or its features, of a shape (C, S, S).

    Those are two for a multiply-add, forward, and backward to the weights that are trained now.
    """
    modes = {module: module.training for module in task.modules()}
    trained = [p for p in task.model.parameters() if p.requires_grad]
    task.eval()  # keeps the statistics of batch normalisation
    images = torch.zeros(1, *shape, device=task.device)
    with torch.compiler.set_stance("force_eager"):
        flops = count_training_flops(task, images, trained)
    for module, training in modes.items():
        module.training = training
    return flops
