"""The table of architectures: facts, speed on this machine, published accuracy."""

import gc
import logging
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from strided.benchmark.failures import raise_failures
from strided.benchmark.timing import images_per_second
from strided.compare.facts import facts_of
from strided.compare.families import family
from strided.compare.files import PAGE, TABLE
from strided.compare.model_page import lines, render
from strided.config.keys import Config, Node
from strided.errors import UserError, describe_error
from strided.models.building import build_model
from strided.runs.csv_files import write_csv
from strided.runs.ending import say_ending, words_of
from strided.runs.out_of_memory import telling_of_memory
from strided.runs.results import Results
from strided.system.durable import write_text

log = logging.getLogger(__name__)

COLUMNS = (
    "model",
    "parameters",
    "aux_parameters",
    "macs",
    "depth",
    "image_size",
    "stem",
    "activation_bytes",
    "checkpoint_bytes",
    "receptive_field",
    "sees_all",
    "filter_sizes",
    *(f"latency_ms{end}" for end in ("", "_min", "_max")),
    *(f"images_per_second{end}" for end in ("", "_min", "_max")),
    "top1",
    "top5",
    "source",
    "strengths",
    "limits",
    "error",
)


def compare_models(
    models: Mapping[str, Node],
    config: Config,
    device: torch.device,
    folder: Path,
    results: Results,
) -> None:
    """Write compare.csv and compare.html, and a row for each network into `results`.

    Raises UserError at the end if a network could not be built; the others then have their rows.
    """
    rows: list[dict[str, Any]] = []
    results.update({"models": rows, "device": str(device), "threads": torch.get_num_threads()})
    try:
        for name, node in models.items():
            rows.append({"model": name})
            try:
                with telling_of_memory({**config, "model": node}, {}):
                    rows[-1].update(_row(name, node, config, device))
            except (UserError, RuntimeError) as error:
                rows[-1]["error"] = describe_error(error)
            gc.collect()  # a network that failed: cycles keep it in memory
    finally:
        write_csv(folder / TABLE, COLUMNS, map(_csv_row, rows))
    write_text(folder / PAGE, render(config, results))
    for line in lines(rows):
        log.info("%s", line)
    then = ["benchmark", *words_of(results, "models")]
    say_ending("", report=folder / PAGE, then=then)
    raise_failures(rows, "have no facts")


def _row(name: str, node: Node, config: Config, device: torch.device) -> dict[str, Any]:
    row = facts_of(node, config["num_classes"], config["channels"], config["image_size"])
    row.update(family(str(node.get("name") or name))._asdict())
    if config["measure"]:
        net = build_model(
            {**node, "stem": row["stem"]} if row["stem"] else node,
            num_classes=config["num_classes"],
            in_channels=config["channels"],
            image_size=row["image_size"],
        )
        row.update(measure(net, row["image_size"], config, device))
        log.info(
            "%s: %.4g ms an image, %.4g images/s",
            name,
            row["latency_ms"]["median"],
            row["images_per_second"]["median"],
        )
    return row


def measure(
    net: nn.Module, image_size: int, config: Config, device: torch.device
) -> dict[str, Any]:
    """Time the network in evaluation mode, float32 and channels_last, on images of noise.

    Returns median, min and max over the repeats of latency_ms (one image at a time) and
    images_per_second (batches of batch_size).
    """
    net.to(device).to(memory_format=torch.channels_last).eval()
    latencies: list[float] = []
    rates: list[float] = []
    for _ in range(config["repeats"]):
        for batch_size, found in ((1, latencies), (config["batch_size"], rates)):
            shape = (batch_size, config["channels"], image_size, image_size)
            images = torch.randn(shape, device=device).to(memory_format=torch.channels_last)
            found.append(images_per_second(_forward(net, images), config["seconds"], device))
    return {
        "latency_ms": _spread([1000 / rate for rate in latencies]),
        "images_per_second": _spread(rates),
    }


def _forward(net: nn.Module, images: torch.Tensor) -> Generator[int, None, None]:
    with torch.inference_mode():
        while True:
            net(images)
            yield len(images)


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": median(values), "min": min(values), "max": max(values)}


def _csv_row(row: dict[str, Any]) -> dict[str, Any]:
    flat = dict(row)
    for name in ("latency_ms", "images_per_second"):
        spread = flat.pop(name, {})
        for end, key in (("", "median"), ("_min", "min"), ("_max", "max")):
            flat[f"{name}{end}"] = f"{spread[key]:.5g}" if spread else ""
    return flat
