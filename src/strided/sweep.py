"""Sweeps: every combination of the swept values a job, and a summary of them all."""

import csv
import html
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from strided.config import CONF_DIR, plain, trusting
from strided.distributed import is_launched
from strided.errors import UserError
from strided.jobs import print_error, run_job, run_name
from strided.overrides import as_typed, compose_hydra, normalise, quoted, sweep_corners, typed_trust
from strided.run import (
    create_run_folder,
    failed_results,
    log_folder,
    read_results,
    write_config,
    write_json,
    write_text,
)
from strided.schema import check

COLUMNS = ("test/acc", "test/loss", "best_val/acc", "best_epoch", "train_seconds", "error")


def run_sweep(verb: str, words: Sequence[str], config_dir: Path | None) -> None:
    """Run every combination of the swept values as a job; keys and options are checked first.

    Raises UserError at the end if a job failed: the others have run.
    """
    if is_launched():
        raise UserError(
            "a sweep starts the processes of its jobs itself; expected one process. Try -m "
            "without torchrun, with trainer.devices=<as many>"
        )
    overrides = normalise(verb, words, config_dir, multirun=True)
    names: dict[str, None] = {}
    for corner in sweep_corners(verb, overrides):
        composed, choices = compose_hydra(verb, corner, config_dir)
        config = plain(composed)
        check(config, values=False)  # a bad value fails its own job only
        names[run_name(config, choices)] = None
    parent = log_folder(config["log_dir"]) / "multirun" / _joined(list(names))
    folder = create_run_folder(parent)

    def job(composed: DictConfig) -> int:
        with trusting(typed_trust(words)):
            return run_one(verb, composed)

    try:
        launch(verb, overrides, config_dir, folder, job)
    finally:
        failed = summarise(folder)
    if failed:
        raise UserError(f"{failed} of the jobs failed; see {folder / 'summary.csv'}")


def _joined(names: list[str]) -> str:
    """One name for a sweep over several; a folder's name may not be long."""
    return "+".join(names) if len(names) <= 4 else f"{names[0]}+{len(names) - 1}-more"


def launch(
    verb: str,
    overrides: list[str],
    config_dir: Path | None,
    folder: Path,
    job: Callable[[DictConfig], int],
) -> None:
    """Hand the sweep to Hydra, so that its launchers (joblib, submitit) work too."""
    import hydra

    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to main(), not to Hydra's own printing
    own = [f"hydra.sweep.dir={quoted(str(folder))}", "hydra.sweep.subdir=${hydra.job.num}"]
    flags = ["--multirun"]
    if config_dir:
        flags += ["--config-dir", str(config_dir.resolve())]
    before, sys.argv = sys.argv, [sys.argv[0], *flags, *overrides, *own]
    try:
        hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=verb)(job)()
    finally:
        sys.argv = before


def run_one(verb: str, composed: DictConfig) -> int:
    """Run one job of a sweep; what goes wrong is kept in its results.json and printed."""
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    command = [as_typed(word) for word in hydra.overrides.task]
    print(f"\njob {hydra.job.num}: {' '.join(command)}")
    choices = {str(key): str(value) for key, value in hydra.runtime.choices.items()}
    write_config(folder, dict(OmegaConf.to_container(composed)), command)  # type: ignore[arg-type]
    try:
        config = plain(composed)
        check(config)
        config["name"] = run_name(config, choices)
    except UserError as error:
        write_json(folder / "results.json", failed_results(command, error))
        print_error(error, command)
        return 1
    try:
        run_job(verb, config, folder, command)
    except Exception as error:
        print_error(error, command)
        return 1
    return 0


def summarise(folder: Path) -> int:
    """Write the summary of a sweep's folder; return how many jobs did not finish."""
    jobs = sorted((entry for entry in folder.iterdir() if entry.name.isdigit()), key=_number)
    rows = [_row(job) for job in jobs]
    overrides = list(dict.fromkeys(key for row in rows for key in row["overrides"]))
    head = ["job", *overrides, "state", *COLUMNS]
    body = [
        [row["job"], *(row["overrides"].get(key, "") for key in overrides), row["state"]]
        + [row["results"].get(column, "") for column in COLUMNS]
        for row in rows
    ]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *body])
    write_text(folder / "summary.csv", text.getvalue())
    write_text(folder / "summary.html", _page(folder, head, body))
    return sum(row["state"] != "finished" for row in rows)


def _number(job: Path) -> int:
    return int(job.name)


def _row(job: Path) -> dict[str, Any]:
    results = read_results(job)
    typed = [word.partition("=") for word in results.get("command", ())]
    return {
        "job": job.name,
        "overrides": {key: value for key, _, value in typed},
        "state": "killed" if results.get("state", "running") == "running" else results["state"],
        "results": results,
    }


def _page(folder: Path, head: list[str], body: list[list[Any]]) -> str:
    def cells(values: list[Any], tag: str) -> str:
        shown = (f"{v:.4f}" if isinstance(v, float) else str(v) for v in values)
        return "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in shown)

    rows = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in body)
    title = html.escape(f"{folder.parent.name} {folder.name}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>'
        ":root{color-scheme:light dark}body{font:16px system-ui,sans-serif;margin:2rem}"
        "td,th{padding:.2rem .8rem;text-align:left}</style></head>"
        f"<body><h1>{title}</h1><table><tr>{cells(head, 'th')}</tr>{rows}</table></body></html>\n"
    )
