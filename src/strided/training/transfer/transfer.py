"""Transfer learning as configuration: stages, each with its layers, length and settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from strided.config.targets import build
from strided.data.renderings import FAMILIES
from strided.errors import UserError


@dataclass(frozen=True)
class Stage:
    """A part of a run that trains one part of the network.

    Args:
        trainable: What is trained: head, all, a number n of blocks (the last n, and the head), or
            a block's name (that one and all after it).
        epochs: Length of the stage; null, if it is the only one: trainer.max_epochs.
        lr: Learning rate of the stage; null: optimizer.lr.
        layer_decay: Each layer's share of the rate of the next one; null: optimizer.layer_decay.
        scheduler: A schedule of its own with _target_ and all keys; null: the scheduler group.
        patience: Validations without a better value that end the stage; null:
            callbacks.early_stopping.patience.
        keep_statistics: Trained batch normalisation keeps its mean and variance. A head trained on
            them does not know each batch's, and few images estimate them badly.
    """

    trainable: str | int = "all"
    epochs: int | None = None
    lr: float | None = None
    layer_decay: float | None = None
    scheduler: dict[str, Any] | None = None
    patience: int | None = None
    keep_statistics: bool = False

    def __post_init__(self) -> None:
        for key, least in (("epochs", 1), ("patience", 0)):
            value = getattr(self, key)
            if value is not None and value < least:
                raise UserError(
                    f"a stage's {key}={value}; expected {least} or more. Try {key}={least}"
                )
        if self.lr is not None and not self.lr > 0:
            raise UserError(f"a stage's lr={self.lr}; expected above 0. Try lr=1e-4")
        if self.layer_decay is not None and not 0 < self.layer_decay <= 1:
            raise UserError(
                f"a stage's layer_decay={self.layer_decay}; expected 0 < layer_decay <= 1. "
                "Try layer_decay=0.75"
            )
        if self.scheduler and "_target_" not in self.scheduler:
            raise UserError(
                f"a stage's scheduler={self.scheduler} has no _target_; expected a schedule of its "
                "own, with all of its keys. Try scheduler._target_="
                "torch.optim.lr_scheduler.ExponentialLR, or scheduler.<key> for all stages"
            )


@dataclass(frozen=True)
class Transfer:
    """Stages by name, in the order in which they are trained; none: everything, at once.

    A stage starts with the best weights of the stages before.

    Args:
        stages: The stages by name.
        cache: Whether what is frozen in a stage is computed once for each image: true, false, or
            auto, where that costs less.
        cached_views: How many views of each training image are computed: 1 as it is, more
            augmented.
        renderings: What a solved head (optimizer=lbfgs) is fitted on beside the images as they are:
            zoom, gamma, equalize, half_size, noise, jpeg; null: nothing.
        from_scratch: Random weights for comparison, whatever model.pretrained and model.weights
            say.
    """

    stages: Mapping[str, Stage] = field(default_factory=dict)
    cache: Literal["auto"] | bool = "auto"
    cached_views: int = 1
    renderings: list[str] | None = None
    from_scratch: bool = False

    def __post_init__(self) -> None:
        if self.cached_views < 1:
            raise UserError(
                f"transfer.cached_views={self.cached_views}; expected 1 or more views of each "
                "image. Try transfer.cached_views=5"
            )
        for family in self.renderings or ():
            if family not in FAMILIES:
                raise UserError(
                    f"transfer.renderings has {family}; expected some of {', '.join(FAMILIES)}. "
                    f"Try transfer.renderings=[{','.join(FAMILIES)}]"
                )

    @property
    def rendered_as(self) -> list[str]:
        """The names of the renderings of these families, in the order of the stress table."""
        chosen = self.renderings or ()
        return [name for family, names in FAMILIES.items() if family in chosen for name in names]

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Transfer":
        """Build the transfer group of a run. Raises UserError for impossible stages."""
        node = config.get("transfer")
        if node is None:  # a benchmark has none
            return cls()
        stages = {}
        for name, stage in (node.get("stages") or {}).items():
            # an experiment's stage, but another transfer= was typed
            if stage and "_target_" not in stage:
                raise UserError(
                    f"transfer.stages.{name} has no _target_: it is no stage of this transfer; "
                    "expected a stage that transfer= has (transfer=frozen --help lists those of "
                    f"frozen). Try another transfer=, or ~transfer.stages.{name}"
                )
            if stage:  # null leaves one out
                built: Stage = build({**stage, "scheduler": None}, f"transfer.stages.{name}")
                stages[name] = replace(built, scheduler=stage.get("scheduler"))
        transfer: Transfer = build({**node, "stages": {}}, "transfer")
        transfer = replace(transfer, stages=stages)
        transfer._check(config["model"])
        return transfer

    def _check(self, model: Mapping[str, Any]) -> None:
        freezes = [name for name, stage in self.stages.items() if stage.trainable != "all"]
        if freezes and not (self.from_scratch or model.get("pretrained") or model.get("weights")):
            raise UserError(
                f"transfer has a stage {freezes[0]} that freezes weights, and these are random; "
                "expected trained ones. Try model.pretrained=true, or model.weights=<file>"
            )
        endless = [name for name, stage in self.stages.items() if stage.epochs is None]
        if endless and len(self.stages) > 1:
            name = endless[0]
            raise UserError(
                f"transfer.stages.{name}.epochs=null, and there are {len(self.stages)} stages; "
                f"expected how long each is. Try transfer.stages.{name}.epochs=10"
            )

    def named(self) -> list[tuple[str, Stage]]:
        """The stages to train, at least one."""
        return list(self.stages.items()) or [("all", Stage())]
