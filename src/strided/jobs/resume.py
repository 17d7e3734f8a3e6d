"""Continue a stopped run in its folder, from its config."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from strided.config.compose import compose_hydra, plain
from strided.config.keys import node_of
from strided.config.overrides import key_of, normalise
from strided.config.schema import check
from strided.config.yaml_files import plain_defaults
from strided.errors import UserError
from strided.jobs.job import run_job
from strided.runs.folder import (
    RunFolder,
    read_config,
    read_results,
)
from strided.runs.results import Results

RESUMABLE = ("trainer.max_epochs", "trainer.devices", "logger", "log_dir", "traceback", "trust")


def resume_run(folder: Path, changes: Sequence[str], config_dir: Path | None) -> Results:
    """Continue a run in its folder, from its config.yaml."""
    for word in changes:
        key = key_of(word)
        if key not in RESUMABLE and not key.startswith("logger."):
            raise UserError(
                f"{word} cannot be changed on resume: the run continues from its config.yaml. "
                f"Expected only {', '.join(RESUMABLE)}. Try a new run without resume="
            )
    if not folder.exists():
        raise UserError(
            f"resume={folder} does not exist (in {Path.cwd()}); expected the folder of a run. "
            "Try: ls logs/train/*"
        )
    config = read_config(folder)
    if not config.keys() >= {"trainer", "data", "model"}:
        raise UserError(
            f"resume={folder} is not a run of train; expected a folder of logs/train. "
            "Try resume=logs/train/<name>/<date_time>"
        )
    config = {**plain_defaults("train"), **config}  # for a run that began before a key existed
    if changes:
        composed, _ = compose_hydra("train", normalise("train", changes, config_dir), config_dir)
        changed = plain(composed)
    for key in sorted({key_of(word) for word in changes}):
        group, *inner = key.split(".")
        if key == "logger":  # first: typed keys of a logger then apply to it
            known = config["logger"]
            config["logger"] = {name: known.get(name, n) for name, n in changed["logger"].items()}
        elif len(inner) > 1:
            new = node_of(changed, group)[inner[0]]
            node_of(config, group).setdefault(inner[0], {})[inner[1]] = new[inner[1]]
        elif inner:
            node_of(config, group)[inner[0]] = node_of(changed, group)[inner[0]]
    check(config)
    require_epochs_to_come(folder, config["trainer"].get("max_epochs"))
    command = read_results(folder).get("command") or yaml.safe_load(
        RunFolder(folder).overrides.read_text(encoding="utf-8")
    )
    return run_job("train", config, folder, command, resumed_with=list(changes))


def require_epochs_to_come(folder: Path, max_epochs: int | None) -> None:
    """Raise UserError for fewer epochs than the run has made: trained epochs cannot be undone."""
    file = RunFolder(folder).metrics
    made = len(file.read_text(encoding="utf-8").splitlines()) - 1 if file.is_file() else 0
    if max_epochs is not None and 0 <= max_epochs < made:
        raise UserError(
            f"trainer.max_epochs={max_epochs}, but {folder} has made {made} epochs; expected as "
            f"many or more. Try trainer.max_epochs={made}"
        )
