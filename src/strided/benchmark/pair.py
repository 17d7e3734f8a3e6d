"""Measure a (model, data) pair: images per second of each part."""

import logging
import math
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import torch
from torch import Tensor

from strided.benchmark.bare_network import bare_inference, bare_training
from strided.benchmark.peak import peak_flops
from strided.benchmark.plain_script import plain_training
from strided.benchmark.time_shares import ActionTimes
from strided.benchmark.timing import LEAST_BATCHES, PeakMemory, images_per_second
from strided.config.keys import Config, Node
from strided.config.targets import build
from strided.data import BatchAugment, ImageDataModule
from strided.evaluation.classifier import Classifier
from strided.evaluation.precision import evaluating_in, inference_precision
from strided.runs.results import Results
from strided.system.devices import float32_products
from strided.system.signals import Interruption
from strided.training.callbacks.target import training_flops
from strided.training.execution import execution_switches, without_driver_check
from strided.training.fit import fit
from strided.training.preparation import build_task, prepare_data
from strided.training.task import ClassificationTask
from strided.training.trainer import build_trainer, prepare_run

# the benchmark decides how long a run is and how often it validates
LENGTHS = (
    "check_val_every_n_epoch",
    "fast_dev_run",
    "limit_val_batches",
    "max_steps",
    "max_time",
    "min_epochs",
    "min_steps",
    "overfit_batches",
    "profiler",
    "val_check_interval",
)


@dataclass(frozen=True)
class Measurement:
    """Images per second, torch's threads, and the peak memory in bytes (None: not known)."""

    rate: float
    threads: int
    memory: int | None


@dataclass
class Pair:
    """A network and its data; each part starts from the same `weights`."""

    config: Config
    folder: Path
    interruption: Interruption
    data: ImageDataModule
    task: ClassificationTask
    macs: int
    trainer: pl.Trainer  # trains nothing, but gives device, precision and switches
    weights: dict[str, Tensor] = field(init=False)
    training_rate: float | None = None  # of strided, as last measured
    execution: dict[str, Any] = field(default_factory=dict)  # strided's switches

    def __post_init__(self) -> None:
        self.weights = {key: value.clone() for key, value in self.task.state_dict().items()}

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        return self.trainer.strategy.root_device

    @property
    def batch_size(self) -> int:
        """Images of a batch; fewer than data.batch_size if there are fewer training images."""
        return min(self.data.batch_size, len(self.data.splits["train"]))

    def measure(self, part: str) -> Measurement:
        """Measure one of PARTS. Raises UserError for a config that training refuses."""
        self.task.cpu().zero_grad()  # memory left by the part before must not count for this one
        self.task.load_state_dict(self.weights)
        memory = PeakMemory(self.device)
        rate, threads = PARTS[part](self)
        return Measurement(rate, threads, memory.bytes())

    def peak_flops(self, threads: int) -> float:
        """The FLOPs a second of the fastest matrix product, as precise as the training is."""
        return peak_flops(
            str(self.trainer.precision),
            self.config.get("matmul_precision"),
            threads,
            self.device,
            self.config["seconds"],
        )

    @cached_property
    def flops(self) -> int:
        """The FLOPs of training on an image."""
        side = self.task.preprocessing.image_size
        return training_flops(self.task, (self.task.preprocessing.channels, side, side))

    def time(self, batches: Generator[int, None, None]) -> tuple[float, int]:
        """Return the images per second of a loop, and its number of threads."""
        rate = images_per_second(batches, self.config["seconds"], self.device)
        return rate, torch.get_num_threads()

    def evaluated(self) -> ClassificationTask:
        """The network as eval loads it from a checkpoint: weights in float32, not compiled."""
        options: Any = self.task.hparams
        task = ClassificationTask(**options)
        task.load_state_dict(self.weights)
        task.matmul_precision = self.task.matmul_precision
        task.precision = str(self.trainer.precision)
        return task


def prepare_pair(
    config: Config, folder: Path, row: dict[str, Any], interruption: Interruption
) -> Pair:
    """Decode the images, build the network, and put what is then known into `row`."""
    config = {**config, "logger": {}}
    results = cast("Results", row)  # the findings have the keys of a run's results
    trainer = build_trainer(_trainer_node(config, 1, 1), [], folder)
    data, decided = prepare_data(config, results)
    task = build_task(config, decided, data, results, fresh=True)
    pair = Pair(config, folder, interruption, data, task, results["macs"], trainer)
    row.update(batch_size=pair.batch_size, device=str(pair.device))
    return pair


def _ceiling(pair: Pair) -> tuple[float, int]:
    precision = pair.trainer.precision_plugin
    batch = pair.macs * pair.data.batch_size  # as in fit, to get the same threads
    every = pair.trainer.accumulate_grad_batches
    with _silenced(), execution_switches(pair.config, pair.task, pair.trainer, batch):
        return pair.time(bare_training(pair.task, precision, pair.batch_size, pair.device, every))


def _plain(pair: Pair) -> tuple[float, int]:
    augment: BatchAugment = build(pair.config["augment"], "augment")
    optimizer = pair.config["optimizer"]
    every = pair.trainer.accumulate_grad_batches
    # torch's defaults: Lightning changes both
    with torch.backends.cudnn.flags(enabled=True), without_driver_check(pair.device):
        batches = plain_training(pair.task, pair.data, augment, optimizer, pair.device, every)
        return pair.time(batches)


def _strided(pair: Pair) -> tuple[float, int]:
    if pair.training_rate is None:
        pair.training_rate, _ = train_for(pair, LEAST_BATCHES)
    batches = pair.training_rate * pair.config["seconds"] / pair.batch_size
    pair.training_rate, threads = train_for(pair, max(LEAST_BATCHES, round(batches)))
    return pair.training_rate, threads


def _inference(pair: Pair) -> tuple[float, int]:
    classifier = Classifier(pair.evaluated(), str(pair.device))
    device = classifier.device
    split = "test" if "test" in pair.data.splits else "val"

    def batches() -> Generator[int, None, None]:
        while True:
            for batch in pair.data.loader(split, device=device):
                yield len(classifier.outputs(batch.images))

    return pair.time(batches())


def _bare_inference(pair: Pair) -> tuple[float, int]:
    task, device = pair.evaluated(), pair.device
    precision = inference_precision(None, task.precision, device)
    with float32_products(task.matmul_precision, device), evaluating_in(precision, device):
        return pair.time(bare_inference(task, pair.batch_size, device))


PARTS = {
    "ceiling": _ceiling,
    "plain": _plain,
    "strided": _strided,
    "inference": _inference,
    "bare_inference": _bare_inference,
}


def train_for(pair: Pair, batches: int, profiler: ActionTimes | None = None) -> tuple[float, int]:
    """Train as the train verb does: an epoch to warm up, then about `batches` batches.

    Returns the images per second that metrics and results of a run would have, and the threads.
    """
    pair.task.load_state_dict(pair.weights)
    epoch = min(batches, len(pair.data.train_dataloader()))
    node = _trainer_node(pair.config, epoch, 1 + math.ceil(batches / epoch))
    found: Results = {"macs": pair.macs, "hardware": {}}
    with tempfile.TemporaryDirectory(dir=pair.folder) as scratch, _silenced():
        config: Config = {**pair.config, "trainer": node}
        run = prepare_run(config, Path(scratch), found, pair.interruption)
        if run.checkpoint is not None:
            run.checkpoint.folder = None  # the recorder's figure excludes writing
        if profiler is not None:
            run.trainer.profiler = profiler  # type: ignore[attr-defined]
        # without a checkpoint to save first, a signal stops at once
        fit(replace(run, checkpoint=None), pair.task, pair.data)
    pair.execution, rate = found["execution"], found["images_per_second"]
    assert rate is not None, "it has trained an epoch"
    return rate, found["hardware"]["torch_threads"]


def _trainer_node(config: Config, batches: int, epochs: int) -> Node:
    kept = {key: value for key, value in config["trainer"].items() if key not in LENGTHS}
    lengths = {"max_epochs": epochs, "limit_train_batches": batches, "limit_val_batches": 1}
    return {**kept, **lengths}


@contextmanager
def _silenced() -> Iterator[None]:
    """Hide the line for each epoch, and what each start of training says."""
    loggers = [
        logging.getLogger(f"strided.{name}")
        for name in (
            "training.callbacks.epoch_recorder",
            "training.execution",
            "data.pixels.resident",
        )
    ]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
