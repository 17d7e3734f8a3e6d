"""The compare verb: networks before training, finished runs, or folds put together."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from strided.compare.model_table import compare_models
from strided.compare.pool_comparison import compare_pools
from strided.compare.run_comparison import compare_runs
from strided.config.keys import Config
from strided.config.unused import refuse_typed
from strided.errors import UserError
from strided.runs.results import Results
from strided.system.devices import choose_device
from strided.system.signals import Interruption


def compare(config: Config, folder: Path, results: Results, _: Interruption) -> None:
    """Compare `models` or `runs`, or pool folds; write a table and a page. Raises UserError."""
    check_compare(config)
    if config["runs"]:
        compare_runs(_paths(config["runs"]), folder, results)
    elif config["pool"]:
        compare_pools(_paths(config["pool"]), config["prevalence"], folder, results)
    else:
        device = choose_device(config["accelerator"])
        compare_models(config["models"], config, device, folder, results)


def _paths(folders: Sequence[str]) -> list[Path]:
    return [Path(os.path.expanduser(folder)) for folder in folders]


def check_compare(config: Config) -> None:
    """Raise UserError for a config that cannot be compared."""
    given = [config["models"], config["runs"], config["pool"]]
    if sum(map(bool, given)) != 1:
        both = "both were given" if any(given) else "neither was given"
        raise UserError(
            f"compare takes models=, runs= or pool=, and {both}; expected one of them. Try "
            '"models=[vgg16,resnet18]", "runs=[<a run folder>,<another>]" or "pool=[<a sweep>]"'
        )
    measuring = "repeats seconds batch_size accelerator"
    if not config["models"]:
        of_models = f"model model.* num_classes image_size channels measure {measuring}"
        key = "runs" if config["runs"] else "pool"
        refuse_typed(of_models, f"{key}= compares what runs have measured", "models= for networks")
    if not config["pool"]:
        refuse_typed("prevalence", "only pool= has predictive values at one", "pool=[<a sweep>]")
    refuse_typed(
        "model.weights model.pretrained",
        "compare shows networks before they have weights",
        "src/eval.py for the accuracy of weights",
    )
    if not config["measure"]:
        refuse_typed(measuring, "measure=false measures nothing", "measure=true")
    numbers: Mapping[str, Any] = config
    for key, least, example in (
        ("repeats", 1, "3"),
        ("seconds", 0.01, "1"),
        ("batch_size", 1, "32"),
        ("num_classes", 1, "1000"),
        ("channels", 1, "3"),
        ("image_size", 1, "null"),
    ):
        if numbers[key] is not None and numbers[key] < least:
            raise UserError(f"{key}={numbers[key]}; expected {least} or more. Try {key}={example}")
