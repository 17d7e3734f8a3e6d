"""Measure one model: every part in turn, repeated, with medians and ranges."""

import logging
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from strided.benchmark.pair import PARTS, Pair, prepare_pair, train_for
from strided.benchmark.table import RATIOS, ratio
from strided.benchmark.time_shares import ActionTimes, against_peak, bound
from strided.benchmark.timing import LEAST_BATCHES
from strided.config.keys import Config
from strided.system.signals import Interruption

log = logging.getLogger(__name__)


def measure_model(
    config: Config, folder: Path, row: dict[str, Any], interruption: Interruption
) -> None:
    """Fill in the row of one model."""
    pair = prepare_pair(config, folder, row, interruption)
    row.update(data=pair.data.name, threads={}, peak_memory_bytes={}, repeats=[], peaks=[])
    for number in range(config["repeats"]):
        measure_repeat(pair, row)
        rates = ", ".join(f"{part} {rate:.5g}" for part, rate in row["repeats"][-1].items())
        log.info("repeat %d/%d, images/s: %s", number + 1, config["repeats"], rates)
    find_bound(pair, row)
    row["state"] = "finished"


def measure_repeat(pair: Pair, row: dict[str, Any]) -> None:
    """Measure each part once; the row holds every measurement, even if this is stopped."""
    rates: dict[str, float] = {}
    for part in PARTS:
        found = pair.measure(part)
        rates[part] = found.rate
        row["threads"][part] = found.threads
        memory = row["peak_memory_bytes"]
        known = (found.memory, memory.get(part, 0))
        memory[part] = None if None in known else max(known)
    row["peaks"].append(pair.peak_flops(row["threads"]["strided"]))
    row["repeats"].append(rates)
    summarise(row, pair.flops)


def summarise(row: dict[str, Any], flops: int) -> None:
    """Add medians and ranges of rates, and of their ratios within a repeat.

    `flops` are those of training on an image.
    """
    repeats = row["repeats"]
    row["images_per_second"] = {part: _spread([r[part] for r in repeats]) for part in PARTS}
    row["ratios"] = {
        name: _spread([r[over] / r[under] for r in repeats])
        for name, (over, under) in RATIOS.items()
    }
    row["peak_flops"] = _spread(row["peaks"])
    row["of_peak"] = {
        part: _spread(
            [flops * r[part] / peak for r, peak in zip(repeats, row["peaks"], strict=True)]
        )
        for part in ("strided", "ceiling")
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": median(values), "min": min(values), "max": max(values)}


def find_bound(pair: Pair, row: dict[str, Any]) -> None:
    """Train once more with Lightning's actions timed: this costs time, so it is no repeat."""
    times = ActionTimes(pair.device)
    batches = row["images_per_second"]["strided"]["median"] * pair.config["seconds"]
    train_for(pair, max(LEAST_BATCHES, round(batches / pair.batch_size)), times)
    row.update(execution=pair.execution, time_shares=times.shares())
    row["bound"] = bound(row["time_shares"], ratio(row, "strided/ceiling"))
    log.info("%s: %s", row["model"], row["bound"])
    repeated = len(row["repeats"]) > 1
    of_peak = {p: spread["median"] for p, spread in row["of_peak"].items() if repeated}
    row["peak"] = against_peak(of_peak, row["peak_flops"]["median"], row["threads"]["strided"])
    log.info("%s: %s", row["model"], row["peak"])
