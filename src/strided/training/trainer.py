"""What a run trains with: Lightning's Trainer, and the callbacks of the config."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar as LightningProgressBar

from strided.config.keys import Config, Node
from strided.config.schema import OFF_WHEN_NULL
from strided.config.targets import build
from strided.config.trainer_node import among_others
from strided.errors import UserError
from strided.runs.folder import RunFolder
from strided.runs.results import Results
from strided.system.devices import choose_device
from strided.system.processes import from_first, is_first, is_launched
from strided.system.signals import Interruption
from strided.training.callbacks.checkpoint import Checkpoint
from strided.training.callbacks.epoch_recorder import EpochRecorder
from strided.training.callbacks.progress_bar import ProgressBar
from strided.training.callbacks.target import Target
from strided.training.checkpoint_files import find_resumable
from strided.training.execution import NoProfiler
from strided.training.logistic import is_solved
from strided.training.transfer.transfer import Stage


@dataclass(frozen=True)
class Run:
    """Lightning's Trainer with strided's callbacks; `quick` (fast_dev_run) keeps no files.

    `results` becomes results.json: the run adds to it as it learns more.
    """

    config: Config
    folder: Path
    results: Results
    quick: bool
    trainer: pl.Trainer
    recorder: EpochRecorder
    checkpoint: Checkpoint | None
    target: Target | None
    interruption: Interruption
    resume_from: Path | None  # the checkpoint of an earlier session


def prepare_run(config: Config, folder: Path, results: Results, interruption: Interruption) -> Run:
    """Build callbacks and Trainer of the config. Raises UserError for values that they refuse."""
    quick = bool(config["trainer"].get("fast_dev_run"))
    callbacks = build_callbacks(_callbacks(config))
    checkpoint = next((c for c in callbacks if isinstance(c, Checkpoint)), None)
    target = next((c for c in callbacks if isinstance(c, Target)), None)
    files = RunFolder(folder)
    recorder = EpochRecorder(None if quick else files.metrics, checkpoint)
    if checkpoint is not None and not quick:
        files.checkpoints.mkdir(exist_ok=True)
        checkpoint.attach(files.checkpoints, interruption)
    trainer = build_trainer(_trainer_node(config), [recorder, *callbacks], folder)
    if trainer.limit_val_batches == 0 and not without_validation(config):
        raise UserError(
            "trainer.limit_val_batches=0 leaves nothing to choose the best checkpoint by; "
            "expected above 0. Try trainer.limit_val_batches=1"
        )
    # the first process only: it may have to repair files
    resume_from = from_first(find_resumable(folder / "checkpoints") if is_first() else None)
    return Run(
        config=config,
        folder=folder,
        results=results,
        quick=quick,
        trainer=trainer,
        recorder=recorder,
        checkpoint=checkpoint,
        target=target,
        interruption=interruption,
        resume_from=resume_from,
    )


def build_callbacks(node: Node) -> list[pl.Callback]:
    """Build the callbacks of the config, without the ones that a null switches off.

    The Checkpoint is the last: it saves what the others know.
    """
    built = [
        build(callback, f"callbacks.{name}")
        for name, callback in node.items()
        if callback and not _is_off(f"callbacks.{name}", callback)
    ]
    return sorted(built, key=lambda callback: isinstance(callback, Checkpoint))


def _callbacks(config: Config) -> Node:
    """The callbacks of the config; the one epoch of a solved head is the best, and not stopped."""
    nodes = dict(config["callbacks"])
    if is_solved(config):
        nodes["early_stopping"] = None
        if nodes.get("checkpoint") and without_validation(config):
            nodes["checkpoint"] = {**nodes["checkpoint"], "monitor": "train/loss", "mode": "min"}
    return nodes


def _is_off(path: str, callback: Node) -> bool:
    return path in OFF_WHEN_NULL and callback.get(OFF_WHEN_NULL[path]) is None


def stage_trainer(run: Run, stage: Stage, end: int | None) -> pl.Trainer:
    """Build the Trainer of a stage; only callbacks that span the run are shared between stages."""
    nodes = _callbacks(run.config)
    if stage.patience is not None and nodes.get("early_stopping"):
        nodes["early_stopping"] = {**nodes["early_stopping"], "patience": stage.patience}
    shared: dict[type, pl.Callback | None] = {type(c): c for c in (run.checkpoint, run.target)}
    own = [shared.get(type(c), c) for c in build_callbacks(nodes)]
    node = {**_trainer_node(run.config), "max_epochs": end}
    trainer = build_trainer(node, [run.recorder, *filter(None, own)], run.folder)
    trainer.loggers = run.trainer.loggers
    return trainer


def without_validation(config: Config) -> bool:
    """Whether there are no images to validate on, and none are needed."""
    return is_solved(config) and config["data"].get("val_fraction") == 0


def _trainer_node(config: Config) -> Node:
    """The config of the Trainer; one epoch measures the solution of a solved head."""
    node: Node = config["trainer"]
    if is_solved(config):
        node = {**node, "max_epochs": 1, "max_steps": -1}
    return {**node, "limit_val_batches": 0} if without_validation(config) else node


def build_trainer(node: Node, callbacks: list[pl.Callback], folder: Path) -> pl.Trainer:
    """Build Lightning's Trainer. Raises UserError for settings that strided does not support."""
    if node.get("accelerator") == "gpu":
        choose_device("gpu", "trainer.accelerator")
    given: dict[str, Any] = {"logger": False, "default_root_dir": folder}
    has_bar = any(isinstance(callback, LightningProgressBar) for callback in callbacks)
    if node.get("enable_progress_bar") is not False and not has_bar:
        callbacks = [*callbacks, ProgressBar()]
    leave_out_empty_hooks(callbacks)
    if is_launched():
        node = among_others(node)
    if not node.get("profiler"):
        node = {key: value for key, value in node.items() if key != "profiler"}
        given["profiler"] = NoProfiler()
    # all images have one size, so trying cuDNN's algorithms pays off: half a minute for the many
    # shapes of a DenseNet-121, which a single batch does not win back
    search = not (node.get("deterministic") or node.get("fast_dev_run"))
    node = {"benchmark": search, **node}
    trainer: pl.Trainer = build(node, "trainer", callbacks=callbacks, **given)
    return trainer


_HOOKS_OF_A_STEP = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)


def leave_out_empty_hooks(callbacks: list[pl.Callback]) -> None:
    """Take away the hooks of a step that neither a callback's class nor the callback defines.

    Lightning skips what cannot be called. Calling some twenty empty ones takes as long as a layer
    of a small network.
    """
    for callback in callbacks:
        for name in _HOOKS_OF_A_STEP:
            hook = getattr(callback, name)  # LambdaCallback sets its hooks on the instance
            if getattr(hook, "__func__", None) is getattr(pl.Callback, name):
                setattr(callback, name, None)
