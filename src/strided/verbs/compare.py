"""The compare verb: networks before training, or finished runs."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from strided.compare.model_table import compare_models
from strided.compare.run_comparison import compare_runs
from strided.config.keys import Config
from strided.config.unused import refuse_typed
from strided.errors import UserError
from strided.runs.results import Results
from strided.system.devices import choose_device
from strided.system.signals import Interruption


def compare(config: Config, folder: Path, results: Results, _: Interruption) -> None:
    """Compare `models` or `runs`; write compare.csv and compare.html. Raises UserError."""
    check_compare(config)
    if config["runs"]:
        compare_runs([Path(os.path.expanduser(run)) for run in config["runs"]], folder, results)
    else:
        device = choose_device(config["accelerator"])
        compare_models(config["models"], config, device, folder, results)


def check_compare(config: Config) -> None:
    """Raise UserError for a config that cannot be compared."""
    if bool(config["runs"]) == bool(config["models"]):
        both = "both were given" if config["runs"] else "neither was given"
        raise UserError(
            f"compare takes models= or runs=, and {both}; expected one of them. Try "
            '"models=[vgg16,resnet18]" or "runs=[<a run folder>,<another>]"'
        )
    measuring = "repeats seconds batch_size accelerator"
    if config["runs"]:
        of_models = f"model model.* num_classes image_size channels measure {measuring}"
        refuse_typed(of_models, "runs= compares what runs have measured", "models= for networks")
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
