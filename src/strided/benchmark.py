"""The benchmark verb: images per second of training and inference, beside what they could be."""

import csv
import io
import logging
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from strided.bottleneck import ActionTimes, bound
from strided.config.trainer_node import processes_to_start
from strided.errors import UserError, describe_error
from strided.models.dry_run import label
from strided.parts import PARTS, Pair, prepare_pair, train_for
from strided.system.durable import write_text
from strided.system.signals import Interruption
from strided.throughput import LEAST_BATCHES
from strided.training.losses import refuse_two_balances
from strided.training.preparation import set_seeds

log = logging.getLogger(__name__)

RATIOS = {
    "strided/ceiling": ("strided", "ceiling"),
    "strided/plain": ("strided", "plain"),
    "inference/bare_inference": ("inference", "bare_inference"),
}
SPREAD = {"": "median", "_min": "min", "_max": "max"}  # ends of columns
COLUMNS = (
    "model",
    "data",
    "parameters",
    "macs",
    "batch_size",
    "device",
    *(f"{part}{end}" for part in PARTS for end in SPREAD),
    *(f"{ratio}{end}" for ratio in RATIOS for end in SPREAD),
    "bound",
    "error",
)
SHOWN = ("ceiling", "plain", "strided", "inference")  # of the columns, beside the ratios


def benchmark(
    config: dict[str, Any], folder: Path, results: dict[str, Any], interruption: Interruption
) -> None:
    """Measure every model on the data; write benchmark.csv, and a row each into `results`.

    Raises UserError at the end if a model failed: the others have been measured.
    """
    check_benchmark(config)
    set_seeds(config["seed"])
    models = config["models"] or {label(config["model"]): config["model"]}
    rows: list[dict[str, Any]] = []
    results.update(seed=config["seed"], benchmarks=rows)
    try:
        for name, node in models.items():
            rows.append({"model": name, "state": "running"})
            try:
                measure_model({**config, "model": node}, folder, rows[-1], interruption)
            except Exception as error:
                rows[-1].update(state="failed", error=describe_error(error))
                if len(models) == 1:
                    raise
                log.warning("%s: %s", name, rows[-1]["error"], exc_info=config["traceback"])
            except BaseException:
                rows[-1]["state"] = "interrupted"
                raise
    finally:
        write_table(folder / "benchmark.csv", rows)
    for line in table(rows):
        log.info("%s", line)
    log.info("results in %s", folder)
    raise_failures(rows)


def check_benchmark(config: dict[str, Any]) -> None:
    """Raise UserError for what cannot be measured, before any image is decoded."""
    for key, least in (("repeats", 1), ("seconds", 0.01)):
        if config[key] < least:
            raise UserError(f"{key}={config[key]}; expected {least} or more. Try {key}=3")
    if (processes := processes_to_start(config["trainer"])) > 1:
        raise UserError(
            f"trainer.devices={config['trainer'].get('devices')} is {processes} processes; "
            "expected one, which is what benchmark measures. Try trainer.devices=1"
        )
    refuse_two_balances(config)


def measure_model(
    config: dict[str, Any], folder: Path, row: dict[str, Any], interruption: Interruption
) -> None:
    """Fill in the row of one model."""
    pair = prepare_pair(config, folder, row, interruption)
    row.update(data=pair.data.name, threads={}, peak_memory_bytes={}, repeats=[])
    for number in range(config["repeats"]):
        measure_repeat(pair, row)
        rates = ", ".join(f"{part} {rate:.5g}" for part, rate in row["repeats"][-1].items())
        log.info("repeat %d/%d, images/s: %s", number + 1, config["repeats"], rates)
    find_bound(pair, row)
    row["state"] = "finished"


def measure_repeat(pair: Pair, row: dict[str, Any]) -> None:
    """Measure each part once; the row has all that was measured, also when this is stopped."""
    rates: dict[str, float] = {}
    for part in PARTS:
        found = pair.measure(part)
        rates[part] = found.rate
        row["threads"][part] = found.threads
        memory = row["peak_memory_bytes"]
        known = (found.memory, memory.get(part, 0))
        memory[part] = None if None in known else max(known)
    row["repeats"].append(rates)
    summarise(row)


def summarise(row: dict[str, Any]) -> None:
    """Add medians and ranges of rates, and of their ratios within a repeat."""
    repeats = row["repeats"]
    row["images_per_second"] = {part: _spread([r[part] for r in repeats]) for part in PARTS}
    row["ratios"] = {
        name: _spread([r[over] / r[under] for r in repeats])
        for name, (over, under) in RATIOS.items()
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": median(values), "min": min(values), "max": max(values)}


def find_bound(pair: Pair, row: dict[str, Any]) -> None:
    """Train once more, timing Lightning's actions: this costs time, and is no repeat."""
    times = ActionTimes(pair.device)
    batches = row["images_per_second"]["strided"]["median"] * pair.config["seconds"]
    train_for(pair, max(LEAST_BATCHES, round(batches / pair.batch_size)), times)
    row.update(execution=pair.execution, time_shares=times.shares())
    row["bound"] = bound(row["time_shares"], row["ratios"]["strided/ceiling"]["median"])
    log.info("%s: %s", row["model"], row["bound"])


def raise_failures(rows: Sequence[dict[str, Any]]) -> None:
    """Raise UserError, with their reasons, if any of several models failed."""
    failed = [row for row in rows if "error" in row]
    if failed:
        reasons = "\n".join(f"{row['model']}: {row['error'].splitlines()[0]}" for row in failed)
        raise UserError(f"{len(failed)} of {len(rows)} models were not measured:\n{reasons}")


def csv_row(row: dict[str, Any]) -> dict[str, Any]:
    """The columns of benchmark.csv that this row has."""
    kept = ("model", "data", "macs", "batch_size", "device", "bound", "error")
    found = {key: row[key] for key in kept if key in row}
    if "parameters" in row:
        found["parameters"] = row["parameters"]["total"]
    for name, spread in {**row.get("images_per_second", {}), **row.get("ratios", {})}.items():
        for end, key in SPREAD.items():
            found[f"{name}{end}"] = float(f"{spread[key]:.5g}")
    return found


def write_table(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write benchmark.csv: a row per model, empty where it was not measured."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(csv_row(row) for row in rows)
    write_text(file, text.getvalue())


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Lines of a table in columns: medians in images per second, and the ratios."""
    head = ["model", "parameters", "million MACs", *SHOWN, "of ceiling", "of plain"]
    measured = [_cells(row) for row in rows if "ratios" in row]
    widths = [max(map(len, column)) for column in zip(head, *measured, strict=True)]
    lines = [
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in [head, *measured]
    ]
    failed = [row for row in rows if "error" in row]
    return lines + [f"{row['model']} failed: {row['error'].splitlines()[0]}" for row in failed]


def _cells(row: dict[str, Any]) -> list[str]:
    rates, ratios = row["images_per_second"], row["ratios"]
    return [
        row["model"],
        f"{row['parameters']['total']:,}",
        f"{row['macs'] / 1e6:.4g}",
        *(f"{rates[part]['median']:.4g}" for part in SHOWN),
        f"{100 * ratios['strided/ceiling']['median']:.0f} %",
        f"{ratios['strided/plain']['median']:.2f}x",
    ]
