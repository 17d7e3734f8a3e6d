"""ClassificationTask: the network with its loss, metrics and optimizer, as a LightningModule."""

import math
from typing import Any, Self, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer

from strided.config.keys import Views
from strided.data.preprocessing import Preprocessing
from strided.decision.decision import Decision
from strided.errors import UserError
from strided.models import build_model
from strided.models.macs import count_macs
from strided.system.processes import gathered, is_first, place
from strided.training.epoch_meter import EpochMeter
from strided.training.losses import add_auxiliary, build_loss
from strided.training.recipes import build_optimizer, build_schedule
from strided.training.schedules import Plateau, steps_of_run


class ClassificationTask(pl.LightningModule):
    """Images in, logits out; rebuilt from its checkpoint alone, since every argument is plain data.

    `model`, `optimizer`, `scheduler`, `loss`, `data` are the resolved config nodes (`data` so that
    a checkpoint can be evaluated without its run folder); `preprocessing` is
    Preprocessing.asdict(). `channels_last`: memory format of the network and its input.
    """

    def __init__(
        self,
        model: dict[str, Any],
        classes: list[str],
        preprocessing: dict[str, Any],
        loss: dict[str, Any],
        optimizer: dict[str, Any],
        scheduler: dict[str, Any],
        data: dict[str, Any],
        channels_last: bool = True,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.preprocessing = Preprocessing.from_dict(preprocessing)
        self.model = build_model(
            model,
            num_classes=len(classes),
            in_channels=self.preprocessing.channels,
            image_size=self.preprocessing.image_size,
        )
        # oneDNN and cuDNN both run convolutions faster on NHWC
        formats = {True: torch.channels_last, False: torch.contiguous_format}
        self.memory_format = formats[channels_last]
        self.model.to(memory_format=self.memory_format)
        self.criterion = build_loss(loss, classes)
        self.plateau: Plateau | None = None
        self.meters = {"train": EpochMeter(), "val": EpochMeter()}
        self.measured: dict[str, float] = {}  # in this epoch: "train/loss", "val/acc", ...
        self.learning_rate = 0.0  # of the last step taken
        self.trained_on: dict[str, Any] = {}  # which images: "fingerprint", "split_hashes", "seen"
        self.matmul_precision: str | None = None  # of `float32_products`; as training had it
        self.precision = "32-true"  # trainer.precision, as training had it
        self.views: Views = "none"  # of an image, whose answers are averaged after training
        self.decision: Decision | None = None  # of a checkpoint; the weights of training have none
        self.recipe = {"optimizer": optimizer, "scheduler": scheduler}  # of the stage
        self.stage = {"number": 0, "epoch": 0, "step": 0}  # which one, and where it began
        self.frozen: list[nn.Module] = []
        self.keeping_statistics: list[nn.Module] = []  # trained batch norms, statistics fixed
        self.features_to_logits: list[nn.Module] = []  # runs if a batch holds features, not images
        self._resumed: dict[str, Any] | None = None  # until training starts

    @property
    def classes(self) -> list[str]:
        """Class names in the order of the logits."""
        return list(self.hparams["classes"])

    def __setattr__(self, name: str, value: Any) -> None:
        """Set Lightning's current hook, forty times a step, without looking for modules."""
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def train(self, mode: bool = True) -> Self:
        """Keep frozen layers in evaluation mode: no dropout, no new batch statistics."""
        super().train(mode)
        for module in (*self.frozen, *self.keeping_statistics):
            module.eval()
        if self.frozen and hasattr(self.model, "auxiliary_weight"):
            self.model.training = False  # only this flag, by which it runs auxiliary heads
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, C, S, S) to logits (B, K)."""
        if self.features_to_logits:
            return cast(Tensor, self.features_to_logits[0](images.to(self.dtype)))
        return cast(Tensor, self.model(self.as_input(images)))

    def as_input(self, images: Tensor) -> Tensor:
        """Convert to the network's memory format and, for trainer.precision=bf16-true, its type."""
        return images.to(self.dtype, memory_format=self.memory_format)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """Loss of a batch, with the loss of auxiliary heads if the whole network is trained."""
        images, labels = batch
        logits = self(images)
        loss: Tensor = self.criterion(logits, labels)
        self.meters["train"].update(loss, logits, labels)
        if not self.frozen:
            loss = add_auxiliary(loss, self.model, self.criterion, labels)
        self.learning_rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Add a batch to the validation metrics, without the fill of a process's last batch."""
        images, labels = batch
        logits = self(images)
        is_last = index + 1 == self.trainer.num_val_batches[0]
        if self.trainer.world_size > 1 and is_last:  # a mask makes the program wait for a GPU
            logits, labels = logits[labels >= 0], labels[labels >= 0]
        if len(labels) > 0:
            self.meters["val"].update(self.criterion(logits, labels), logits, labels)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """Drop the gradients, as torch's method does, which first looks for a profiler."""
        if type(optimizer).zero_grad is not Optimizer.zero_grad:  # somebody's own
            optimizer.zero_grad()
            return
        for group in optimizer.param_groups:
            for weight in group["params"]:
                weight.grad = None

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip gradients if trainer.gradient_clip_val asks for it."""
        if gradient_clip_val:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_train_batch_end(self, outputs: Any, batch: tuple[Tensor, Tensor], _: int) -> None:
        """End cuDNN's search after a full batch: each other size would start another one.

        Such as an epoch's last batch, for which the search takes longer than the batch itself.
        """
        loader: Any = self.trainer.train_dataloader
        if len(batch[1]) == loader.batch_size:
            torch.backends.cudnn.benchmark = False

    def on_train_epoch_start(self) -> None:
        """Reset the meter; Lightning does not call this when it continues inside an epoch."""
        self.meters["train"].reset()
        self.measured = {}

    def on_train_epoch_end(self) -> None:
        """Log the epoch's training loss and accuracy, measured while the weights changed."""
        self._log_epoch("train")

    def on_validation_epoch_start(self) -> None:
        """Reset the meter: validation always runs whole."""
        self.meters["val"].reset()

    def on_validation_epoch_end(self) -> None:
        """Log validation metrics."""
        if not self.trainer.sanity_checking:
            self._log_epoch("val")

    def _log_epoch(self, split: str) -> None:
        """Log the metrics of a split, and give them to a plateau schedule that watches one."""
        metrics = {f"{split}/{n}": value for n, value in self.meters[split].compute_all().items()}
        self.measured.update(metrics)
        # For callbacks such as EarlyStopping; the recorder sends the whole row to the loggers. The
        # processes have agreed on these values, which Lightning could not average on a CPU that
        # has a GPU beside it.
        self.log_dict(metrics, logger=False)
        if self.plateau is not None and self.plateau.monitor in metrics:
            self.plateau.step(metrics[self.plateau.monitor])

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build optimizer and schedule, with the number of steps of the run filled in."""
        optimizer = self.build_optimizer()
        self.plateau = None  # drops the plateau of an earlier stage
        scheduler, in_steps = build_schedule(self.recipe["scheduler"], optimizer, self._total_steps)
        if isinstance(scheduler, Plateau):
            self.plateau = scheduler
            return cast(OptimizerLRScheduler, optimizer)
        # torch's schedules that do not know the length of the run count in epochs
        schedule = {"scheduler": scheduler, "interval": "step" if in_steps else "epoch"}
        return cast(OptimizerLRScheduler, {"optimizer": optimizer, "lr_scheduler": schedule})

    def _total_steps(self) -> int:
        total = steps_of_run(self.trainer)
        if not math.isfinite(total):
            raise UserError(
                f"{self.recipe['scheduler']['_target_']} needs the length of the run, which "
                "trainer.max_epochs=-1 leaves open; expected a number of epochs or steps. Try "
                "trainer.max_epochs=10, or scheduler=constant"
            )
        return int(total) - self.stage["step"]

    def build_optimizer(self) -> Optimizer:
        """Build the optimizer of the current network, without its schedule."""
        return build_optimizer(self.recipe["optimizer"], self.model)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what an exact resume needs: random states, the epoch so far, the plateau."""
        random = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        checkpoint["strided"] = {
            "trained_on": self.trained_on,
            "matmul_precision": self.matmul_precision,
            "precision": self.precision,
            "views": self.views,
            "stage": self.stage,
            "on_features": bool(self.features_to_logits),
            "random": gathered(random),
            "train_meters": gathered(self.meters["train"].state_dict()),
            "measured": self.measured,
            "learning_rate": self.learning_rate,
            "plateau": self.plateau.state_dict() if self.plateau else None,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take over what `on_save_checkpoint` added."""
        self._resumed = checkpoint["strided"]
        meters = self._resumed["train_meters"]
        self.meters["train"].load_state_dict(meters[place().rank % len(meters)])
        self.measured = dict(self._resumed["measured"])
        self.learning_rate = self._resumed["learning_rate"]

    def on_train_start(self) -> None:
        """Restore what did not exist when the checkpoint was loaded, or has changed since."""
        if self._resumed is None:
            if not is_first():  # each process draws different dropout
                torch.manual_seed(torch.initial_seed() + place().rank)
            return
        if self.plateau is not None and self._resumed["plateau"] is not None:
            self.plateau.load_state_dict(self._resumed["plateau"])
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, GradientAccumulationScheduler):
                callback.on_train_epoch_start(self.trainer)  # Lightning skips it inside an epoch
        states, self._resumed = self._resumed["random"], None
        random = states[place().rank % len(states)]
        torch.set_rng_state(random["cpu"])
        if "cuda" in random and self.device.type == "cuda":
            torch.cuda.set_rng_state(random["cuda"], self.device)


def multiply_adds(task: ClassificationTask, features: tuple[int, ...] | None = None) -> int:
    """Count the multiply-adds of a forward pass of one image.

    With `features`, the shape of the frozen layers' output for an image, count only the layers
    after them.
    """
    shape = features or (task.preprocessing.channels, *[task.preprocessing.image_size] * 2)
    task.eval()
    macs = count_macs(task, torch.zeros(1, *shape, device=task.device))
    task.train()
    return macs
