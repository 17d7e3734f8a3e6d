"""The benchmark verb: images per second of training and inference, beside their upper bounds."""

import gc
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from strided.benchmark.failures import raise_failures
from strided.benchmark.page import render
from strided.benchmark.pair import LENGTHS
from strided.benchmark.repeats import measure_model
from strided.benchmark.table import table, write_table
from strided.config.keys import Config
from strided.config.networks import label
from strided.config.trainer_node import processes_to_start
from strided.config.unused import refuse_typed
from strided.errors import UserError, describe_error
from strided.runs.ending import say_ending, words_of
from strided.runs.out_of_memory import telling_of_memory
from strided.runs.results import Results
from strided.system.durable import write_text
from strided.system.signals import Interruption
from strided.training.determinism import training_switches
from strided.training.losses import refuse_two_balances
from strided.training.preparation import set_seeds

log = logging.getLogger(__name__)

GROUPS = ("model", "data", "optimizer", "scheduler", "loss", "augment", "trainer", "seed")


def benchmark(config: Config, folder: Path, results: Results, interruption: Interruption) -> None:
    """Measure every model on the data; write benchmark.csv, and a row each into `results`.

    Raises UserError at the end if a model failed; the others have then been measured.
    """
    check_benchmark(config)
    set_seeds(config["seed"])
    models = config["models"] or {label(config["model"]): config["model"]}
    rows: list[dict[str, Any]] = []
    results.update({"seed": config["seed"], "benchmarks": rows})
    try:
        for name, node in models.items():
            rows.append({"model": name, "state": "running"})
            try:
                measure({**config, "model": node}, folder, rows[-1], interruption)
            except Exception as error:
                rows[-1].update(state="failed", error=describe_error(error))
                if len(models) == 1:
                    raise
                log.warning("%s: %s", name, rows[-1]["error"], exc_info=config["traceback"])
            except BaseException:
                rows[-1]["state"] = "interrupted"
                raise
            gc.collect()  # a failed model: cycles keep it in the memory that the next one needs
    finally:
        write_table(folder / "benchmark.csv", rows)
        write_text(folder / "benchmark.html", render(config, results))
    for line in table(rows):
        log.info("%s", line)
    say_ending("", report=folder / "benchmark.html", then=next_command(config, results))
    raise_failures(rows, "were not measured")


def next_command(config: Config, results: Results) -> list[str]:
    """What to type after a benchmark: the facts of several networks, or the training of one."""
    if config["models"]:
        return ["compare", *words_of(results, "models")]
    return ["train", *words_of(results, *GROUPS)]


def measure(config: Config, folder: Path, row: dict[str, Any], interruption: Interruption) -> None:
    """Measure one model; what it finds is put into `row`."""
    known = cast("Results", row)  # with the keys of a run's results
    with training_switches(config["trainer"]), telling_of_memory(config, known):
        measure_model(config, folder, row, interruption)


def check_benchmark(config: Config) -> None:
    """Raise UserError for a config that cannot be measured, before any image is decoded."""
    numbers: Mapping[str, Any] = config
    for key, least in (("repeats", 1), ("seconds", 0.01)):
        if numbers[key] < least:
            raise UserError(f"{key}={numbers[key]}; expected {least} or more. Try {key}=3")
    if (processes := processes_to_start(config["trainer"])) > 1:
        raise UserError(
            f"trainer.devices={config['trainer'].get('devices')} is {processes} processes; "
            "expected one, which is what benchmark measures. Try trainer.devices=1"
        )
    refuse_typed(
        f"trainer.max_epochs trainer.limit_*_batches {' '.join(f'trainer.{k}' for k in LENGTHS)}",
        "benchmark decides how long it trains and validates",
        "seconds=... repeats=...",
    )
    refuse_typed("callbacks.checkpoint.*", "benchmark saves no checkpoint", "src/train.py")
    refuse_two_balances(config)
