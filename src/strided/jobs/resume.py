"""Continue a stopped run in its folder, from its config."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from strided.config.compose import compose_hydra, plain
from strided.config.keys import Config, node_of
from strided.config.overrides import key_of, normalise
from strided.config.schema import GROUPS_OF_NODES, check
from strided.config.typed_only import brings_back, left_out, typed_keys, without_places
from strided.config.yaml_files import plain_defaults
from strided.errors import UserError, sought_from
from strided.jobs.job import run_job
from strided.runs.folder import (
    PREVIOUS,
    RunFolder,
    lies_in,
    read_config,
    read_overrides,
    read_results,
    require_no_way_out,
)
from strided.runs.metrics_csv import read_rows
from strided.runs.results import Results

# Where the data are now: they may have been moved since the run began.
DATA_PLACES = ("data.root", "data.csv", "data.extra", "data.cache_dir")
RESUMABLE = (
    *("trainer.max_epochs", "trainer.devices", "logger", "log_dir", *DATA_PLACES),
    *("traceback", "trust"),
)
# Groups without which nothing can be trained; each is a `_target_` and its arguments.
NODES = ("data", "model", "optimizer", "scheduler", "loss", "augment", "trainer")


def resume_run(
    folder: Path,
    changes: Sequence[str],
    config_dir: Path | None,
    command: Sequence[str] = (),
) -> Results:
    """Continue a run in its folder, from its config.yaml.

    Addresses and folders that only the file names are left out, and that is said. They stay if
    `command`, the words of a sweep's job, has them. Data that were moved must have the files that
    the run began with; config.yaml then holds the new place.
    """
    if not folder.exists():
        raise UserError(
            f"resume={folder} does not exist{sought_from(folder)}; expected the folder of a run. "
            "Try: ls logs/train/*"
        )
    require_no_way_out(folder)
    known = _read_config(folder)
    home = ("log_dir",) if lies_in(folder, known.get("log_dir")) else ()
    config, left = without_places(known, home)
    _require_resumable(changes, left, folder)
    if command or not any(config["logger"].values()):  # only MLflow's store would be in log_dir
        left.pop("log_dir", None)
    if "data.root" in map(key_of, changes):  # typed now, so a download may go there
        _allow_download(config, known)
    changes = [*changes, *(w for w in command if brings_back(w, left) or _moves(w, config))]
    if changes:
        overrides = normalise("train", changes, config_dir)
        composed, _ = compose_hydra("train", overrides, config_dir)
        _change(config, plain(composed), typed_keys(overrides))
        left = _still_left(left, config, typed_keys(overrides))
    check(config)
    if left:
        print(left_out(left, RunFolder(folder).config), file=sys.stderr)
    if {"data.root", "data.csv"} & set(map(key_of, changes)):
        _require_same_files(folder, config)
    require_epochs_to_come(folder, config["trainer"].get("max_epochs"))
    return run_job("train", config, folder, _typed_at_first(folder), resumed_with=list(changes))


def _read_config(folder: Path) -> Config:
    """Read config.yaml and fill in keys that are newer than it. Raises UserError."""
    config = read_config(folder)
    if not config.keys() >= {"trainer", "data", "model"}:
        raise UserError(
            f"resume={folder} is not a run of train; expected a folder of logs/train. "
            "Try resume=logs/train/<name>/<date_time>"
        )
    for group in (*NODES, *GROUPS_OF_NODES):
        node = config.get(group)
        if not isinstance(node, dict) or (group in NODES and "_target_" not in node):
            raise UserError(
                f"{RunFolder(folder).config} has no {group} with its _target_; expected it as the "
                "run wrote it. Try another copy of the folder, or a new run"
            )
    return {**plain_defaults("train"), **config}


def _require_resumable(changes: Sequence[str], left: Mapping[str, Any], folder: Path) -> None:
    """Raise UserError for a word that a resume cannot change; it can bring back what was left."""
    last = RunFolder(folder).last
    for word in changes:
        key = key_of(word)
        known = key in RESUMABLE or key.startswith("logger.")
        if not known and not brings_back(word, left):
            kept = last.is_file() and not key.startswith("model")
            begin = f", which may begin with its weights: model.weights={last}" if kept else ""
            raise UserError(
                f"{word} cannot be changed on resume: the run continues from its config.yaml. "
                f"Expected only {', '.join(RESUMABLE)}. Try a new run without resume={begin}"
            )


def _moves(word: str, config: Config) -> bool:
    """Whether a word of a sweep's job says that its data are elsewhere than config.yaml does."""
    key = key_of(word)
    known = config["data"].get(key.partition(".")[2])
    return key in DATA_PLACES and word.partition("=")[2] != str(known)


def _allow_download(config: Config, known: Config) -> None:
    """Let the data set download again if the run allowed it."""
    config["data"].pop("download", None)
    if "download" in known["data"]:
        config["data"]["download"] = known["data"]["download"]


def _require_same_files(folder: Path, config: Config) -> None:
    """Raise UserError if data that were moved are others; before anything is written."""
    from strided.training.preparation import check_moved_data  # torch takes seconds

    files = RunFolder(folder)
    for checkpoint in (files.last, files.checkpoints / PREVIOUS):
        if checkpoint.is_file():
            check_moved_data(config["data"], checkpoint)
            return


def _change(config: Config, changed: Config, keys: Iterable[str]) -> None:
    """Take the typed keys over from `changed` into `config`."""
    for key in sorted(keys):
        group, *inner = key.split(".")
        if key == "logger":  # first: typed keys of a logger then apply to it
            known = config["logger"]
            config["logger"] = {name: known.get(name, n) for name, n in changed["logger"].items()}
        elif key == "log_dir":
            config["log_dir"] = changed["log_dir"]
        elif inner:
            node, new = node_of(config, group), node_of(changed, group)
            for name in inner[:-1]:
                node, new = node.setdefault(name, {}), new[name]
            node[inner[-1]] = new[inner[-1]]


def _still_left(left: Mapping[str, Any], config: Config, typed: Iterable[str]) -> dict[str, Any]:
    """Return what is still left out: not typed now, and not of a logger that was taken away."""
    gone = {f"logger.{name}" for name in _loggers(left) - config["logger"].keys()}
    return {
        key: value
        for key, value in left.items()
        if key not in set(typed) and ".".join(key.split(".")[:2]) not in gone
    }


def _loggers(keys: Iterable[str]) -> set[str]:
    return {key.split(".")[1] for key in keys if key.startswith("logger.")}


def _typed_at_first(folder: Path) -> list[str]:
    """Return the words that began the run."""
    if command := read_results(folder).get("command"):
        return command
    return read_overrides(folder)


def require_epochs_to_come(folder: Path, max_epochs: int | None) -> None:
    """Raise UserError for fewer epochs than the run has made: trained epochs cannot be undone."""
    file = RunFolder(folder).metrics
    made = len(read_rows(file)) if file.is_file() else 0
    if max_epochs is not None and 0 <= max_epochs < made:
        raise UserError(
            f"trainer.max_epochs={max_epochs}, but {folder} has made {made} epochs; expected as "
            f"many or more. Try trainer.max_epochs={made}"
        )
