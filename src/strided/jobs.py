"""One job of a verb in its run folder: a new one, or the rest of a stopped one."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from strided.config.compose import compose_hydra, plain
from strided.config.networks import compose_models
from strided.config.overrides import normalise, typed_trust, typed_value, without
from strided.config.schema import check
from strided.config.targets import trusting
from strided.config.trainer_node import processes_to_start
from strided.config.yaml_files import plain_defaults
from strided.errors import UserError, describe_error
from strided.launching import launch
from strided.runs.folder import (
    create_run_folder,
    log_folder,
    read_config,
    read_results,
    write_config,
)
from strided.runs.record import recorded
from strided.system.durable import write_json
from strided.system.machine import alone_in
from strided.system.processes import from_first, is_first, joined, noticing_loss, place
from strided.system.signals import Interruption

MOST_LINES = 15  # of a message about a mistake
RESUMABLE = ("trainer.max_epochs", "trainer.devices", "logger", "log_dir", "traceback", "trust")


def run(verb: str, words: Sequence[str], config_dir: Path | None = None) -> dict[str, Any]:
    """Run a new job or, with `resume=`, the rest of a stopped one; return its results.json."""
    with trusting(typed_trust(words)), joined():
        if verb == "train" and (stopped := typed_value(words, "resume")):
            return resume_run(Path(stopped).expanduser(), without(words, "resume"), config_dir)
        config, name = compose_run(verb, words, config_dir)
        if config.get("search"):
            raise UserError(
                "a search was asked for where one run is made; expected search= on the command "
                "line of train. Try python src/train.py search=optuna"
            )
        parent = log_folder(config["log_dir"]) / verb / name
        folder = from_first(create_run_folder(parent) if is_first() else None)
        return run_job(verb, {**config, "name": name}, folder, list(words))


def compose_run(
    verb: str, words: Sequence[str], config_dir: Path | None = None
) -> tuple[dict[str, Any], str]:
    """Return the checked config of a single run, and its name."""
    composed, choices = compose_hydra(verb, normalise(verb, words, config_dir), config_dir)
    config = plain(composed)
    check(config)
    name = run_name(config, choices)
    if "models" in config:
        config["models"] = compose_models(verb, config, choices["model"], words, config_dir)
    return config, name


def run_name(config: dict[str, Any], choices: dict[str, str]) -> str:
    """Return the name of the run folder: as typed, of the experiment, of model and data."""
    if config["name"]:
        return str(config["name"])
    if config.get("checkpoint"):  # eval and predict: that of the run
        path = Path(config["checkpoint"])
        known = read_config(path).get("name") if (path / "config.yaml").is_file() else None
        name = Path(str(known or path.stem)).name  # the folder may be a stranger's
        return name if name not in ("", "..") else "run"
    if "checkpoint" in config:
        return choices["model"]
    if "runs" in config:  # compare
        return "runs" if config["runs"] else "models"
    if choices["experiment"] not in ("null", "None"):
        return choices["experiment"]
    model = "models" if config.get("models") else choices["model"]
    return f"{model}-{choices['data']}"


def run_job(
    verb: str,
    config: dict[str, Any],
    folder: Path,
    command: list[str],
    resumed_with: list[str] | None = None,
) -> dict[str, Any]:
    """Run a verb in its folder, in as many processes as it asks for; return its results.json."""
    if verb == "train" and (processes := processes_to_start(config["trainer"])) > 1:
        with alone_in(folder / "run.log"):  # which the first of the processes then takes itself
            write_config(folder, config, command)
        return launch(folder, processes, command, resumed_with)
    with (
        joined(),
        Interruption().listening() as interruption,
        recorded(folder, command) as results,
    ):
        if is_first():
            write_config(folder, config, command)
        if resumed_with is not None:
            results.setdefault("resumed_with", []).append(resumed_with)
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
        from strided.verbs.train import train

        with noticing_loss(folder):
            train(config, folder, results, interruption)
    elif verb == "eval":
        from strided.verbs.eval import evaluate_checkpoint

        evaluate_checkpoint(config, folder, results)
    elif verb == "explain":
        from strided.verbs.explain import explain

        explain(config, folder, results)
    elif verb == "benchmark":
        from strided.verbs.benchmark import benchmark

        benchmark(config, folder, results, interruption)
    elif verb == "compare":
        from strided.verbs.compare import compare

        compare(config, folder, results)
    else:
        from strided.verbs.predict import predict

        predict(config, folder, results)


def resume_run(folder: Path, changes: Sequence[str], config_dir: Path | None) -> dict[str, Any]:
    """Go on with a run in its own folder, from its own config.yaml."""
    for word in changes:
        key = word.partition("=")[0].lstrip("+")
        if key not in RESUMABLE and not key.startswith("logger."):
            raise UserError(
                f"{word} cannot be changed on resume: the run goes on from its own config.yaml. "
                f"Expected only {', '.join(RESUMABLE)}. Try a new run without resume="
            )
    config = read_config(folder)
    if not config.keys() >= {"trainer", "data", "model"}:
        raise UserError(
            f"resume={folder} is not a run of train; expected a folder of logs/train. "
            "Try resume=logs/train/<name>/<date_time>"
        )
    config = plain_defaults("train") | config  # of a run that began before a key existed
    if changes:
        composed, _ = compose_hydra("train", normalise("train", changes, config_dir), config_dir)
        changed = plain(composed)
    for key in sorted({word.partition("=")[0].lstrip("+") for word in changes}):
        group, *inner = key.split(".")
        if key == "logger":  # first: what is typed of one comes on top
            known = config["logger"]
            config["logger"] = {name: known.get(name, n) for name, n in changed["logger"].items()}
        elif len(inner) > 1:
            config[group].setdefault(inner[0], {})[inner[1]] = changed[group][inner[0]][inner[1]]
        elif inner:
            config[group][inner[0]] = changed[group][inner[0]]
    check(config)
    require_epochs_to_come(folder, config["trainer"].get("max_epochs"))
    command = read_results(folder).get("command") or yaml.safe_load(
        (folder / "overrides.yaml").read_text(encoding="utf-8")
    )
    return run_job("train", config, folder, command, resumed_with=list(changes))


def require_epochs_to_come(folder: Path, max_epochs: int | None) -> None:
    """Raise UserError for fewer epochs than the run has made: what was trained is trained."""
    file = folder / "metrics.csv"
    made = len(file.read_text(encoding="utf-8").splitlines()) - 1 if file.is_file() else 0
    if max_epochs is not None and 0 <= max_epochs < made:
        raise UserError(
            f"trainer.max_epochs={max_epochs}, but {folder} has made {made} epochs; expected as "
            f"many or more. Try trainer.max_epochs={made}"
        )


def finish_job(
    verb: str, folder: Path, command: list[str], new_config: Callable[[], dict[str, Any]]
) -> bool:
    """Do what is left of one of many jobs: all of it, the rest of a stopped one, or nothing.

    What goes wrong is kept in its results.json and printed, for the others to go on. Returns
    whether the job is finished.
    """
    if read_results(folder).get("state") == "finished":
        return True
    try:
        if (folder / "checkpoints" / "last.ckpt").is_file():
            resume_run(folder, [], None)
        else:
            (folder / "results.json").unlink(missing_ok=True)
            run_job(verb, new_config(), folder, command)
    except Exception as error:
        if not (folder / "results.json").is_file():  # it failed before it began
            failed = {"command": command, "state": "failed", "error": describe_error(error)}
            write_json(folder / "results.json", failed)
        print_error(error, command)
        return False
    return True


def print_error(error: BaseException, words: Sequence[str]) -> None:
    """Print what went wrong in at most 15 lines, or the traceback when it was asked for."""
    if "traceback=true" in (word.lower() for word in words):
        import traceback

        traceback.print_exception(error)
        return
    if not is_first():
        # the first process says it, unless this one alone has failed
        print(f"process {place().rank}: {describe_error(error).splitlines()[0]}", file=sys.stderr)
        return
    lines = [line for line in describe_error(error).splitlines() if line.strip()]
    if not isinstance(error, UserError):
        lines.append("traceback=true shows where this came from")
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], "..."]
    print("error: " + "\n".join(lines), file=sys.stderr)
