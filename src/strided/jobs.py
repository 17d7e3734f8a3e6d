"""One job of a verb in its run folder: a new one, or the rest of a stopped one."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from strided.config import check, plain, trusting
from strided.errors import UserError
from strided.interruption import Interruption
from strided.overrides import compose_hydra, normalise, typed_trust
from strided.run import (
    create_run_folder,
    describe_error,
    log_folder,
    read_config,
    read_results,
    recorded,
    write_config,
)

MOST_LINES = 15  # of a message about a mistake
RESUMABLE = ("trainer.max_epochs", "trainer.devices", "logger", "log_dir", "traceback", "trust")


def compose_run(
    verb: str, words: Sequence[str], config_dir: Path | None = None
) -> tuple[dict[str, Any], str]:
    """Return the checked config of a single run, and its name."""
    composed, choices = compose_hydra(verb, normalise(verb, words, config_dir), config_dir)
    config = plain(composed)
    check(config)
    return config, run_name(config, choices)


def run_name(config: dict[str, Any], choices: dict[str, str]) -> str:
    """Return the name of the run folder: as typed, of the experiment, of model and data."""
    if config["name"]:
        return str(config["name"])
    if "checkpoint" in config:  # eval and predict: that of the run
        path = Path(config["checkpoint"])
        return read_config(path)["name"] if (path / "config.yaml").is_file() else path.stem
    if choices["experiment"] not in ("null", "None"):
        return choices["experiment"]
    return f"{choices['model']}-{choices['data']}"


def run_job(verb: str, config: dict[str, Any], folder: Path, command: list[str]) -> dict[str, Any]:
    """Run a verb in its folder; return what became results.json."""
    write_config(folder, config, command)
    with (
        Interruption().listening() as interruption,
        recorded(folder, command) as results,
    ):
        run_in(verb, config, folder, results, interruption)
    return results


def run_in(
    verb: str,
    config: dict[str, Any],
    folder: Path,
    results: dict[str, Any],
    interruption: Interruption,
) -> None:
    """Do the work of a verb; imports what only it needs, since importing torch takes seconds."""
    if verb == "train":
        from strided.training import train

        train(config, folder, results, interruption)
    elif verb == "eval":
        from strided.evaluation import evaluate_checkpoint

        evaluate_checkpoint(config, folder, results)
    else:
        from strided.prediction import predict

        predict(config, folder, results)


def resume_run(folder: Path, changes: Sequence[str], config_dir: Path | None) -> None:
    """Go on with a run in its own folder, from its own config.yaml."""
    for word in changes:
        key = word.partition("=")[0].lstrip("+")
        if key not in RESUMABLE and not key.startswith("logger."):
            raise UserError(
                f"{word} cannot be changed on resume: the run goes on from its own config.yaml. "
                f"Expected only {', '.join(RESUMABLE)}. Try a new run without resume="
            )
    config = read_config(folder)
    composed, _ = compose_hydra("train", normalise("train", changes), config_dir)
    changed = plain(composed)
    for key in {word.partition("=")[0].lstrip("+") for word in changes}:
        if key.startswith("trainer."):
            config["trainer"][key.partition(".")[2]] = changed["trainer"][key.partition(".")[2]]
        elif key.partition(".")[0] == "logger":
            config["logger"] = changed["logger"]
    check(config)
    command = read_results(folder).get("command") or yaml.safe_load(
        (folder / "overrides.yaml").read_text(encoding="utf-8")
    )
    run_job("train", config, folder, command)


def run_from_python(verb: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Run a verb as the command line would and return its results. Raises UserError."""
    with trusting(typed_trust(overrides)):
        return _run_new(verb, overrides)


def _run_new(verb: str, overrides: Sequence[str]) -> dict[str, Any]:
    config, name = compose_run(verb, overrides)
    folder = create_run_folder(log_folder(config["log_dir"]) / verb / name)
    return run_job(verb, {**config, "name": name}, folder, list(overrides))


def print_error(error: BaseException, words: Sequence[str]) -> None:
    """Print what went wrong in at most 15 lines, or the traceback when it was asked for."""
    if "traceback=true" in (word.lower() for word in words):
        import traceback

        traceback.print_exception(error)
        return
    lines = [line for line in describe_error(error).splitlines() if line.strip()]
    if not isinstance(error, UserError):
        lines.append("traceback=true shows where this came from")
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], "..."]
    print("error: " + "\n".join(lines), file=sys.stderr)
