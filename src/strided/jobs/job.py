"""One job of a verb in its run folder: a new one, or the rest of a stopped one."""

import re
from collections.abc import Sequence
from pathlib import Path

from strided.config.compose import compose_checked
from strided.config.keys import Config
from strided.config.networks import compose_models
from strided.config.trainer_node import processes_to_start
from strided.errors import UserError
from strided.jobs.launching import launch
from strided.runs.folder import (
    RunFolder,
    read_config,
    write_config,
)
from strided.runs.out_of_memory import telling_of_memory
from strided.runs.record import recorded
from strided.runs.results import Results
from strided.system.machine import alone_in
from strided.system.processes import is_first, joined, noticing_loss
from strided.system.signals import Interruption
from strided.system.starting import started
from strided.verbs.table import VERBS


def compose_run(
    verb: str, words: Sequence[str], config_dir: Path | None = None
) -> tuple[Config, str]:
    """Return the checked config of a single run, and its name."""
    config, name, _ = compose_choices(verb, words, config_dir)
    return config, name


def compose_choices(
    verb: str, words: Sequence[str], config_dir: Path | None = None
) -> tuple[Config, str, dict[str, str]]:
    """Return what `compose_run` does, and the chosen option of each group."""
    config, choices = compose_checked(verb, words, config_dir)
    name = run_name(config, choices)
    if "models" in config:
        config["models"] = compose_models(verb, config, choices["model"], words, config_dir)
    return config, name, choices


def run_name(config: Config, choices: dict[str, str]) -> str:
    """Return the name of the run folder: typed, the experiment's, or made of model and data."""
    if config["name"]:
        return _inside_log_dir(str(config["name"]))
    if isinstance(checkpoint := config.get("checkpoint"), list) and len(checkpoint) > 1:
        return "ensemble"
    if checkpoint:  # eval and predict: the name of the run
        path = Path(checkpoint[0] if isinstance(checkpoint, list) else checkpoint)
        has_config = RunFolder(path).config.is_file()
        if not has_config and any(job.name.isdecimal() for job in path.glob("*/")):
            return "ensemble"  # a sweep's jobs
        known = read_config(path).get("name") if has_config else None
        name = Path(str(known or path.stem)).name  # the folder may come from elsewhere
        return name if name not in ("", "..") else "run"
    if "checkpoint" in config:
        return _inside_log_dir(choices["model"])
    if "bundle" in config:  # serve
        place = Path(str(config["bundle"]))
        name = place.parent.name if place.name.isdecimal() else place.name
        return name if name not in ("", "..") else "run"
    if "runs" in config:  # compare
        return next((kind for kind in ("runs", "pool") if config.get(kind)), "models")
    if choices["experiment"] not in ("null", "None"):
        return _inside_log_dir(choices["experiment"])  # ...yaml is the option ..
    model = "models" if config.get("models") else choices["model"]
    return _inside_log_dir(f"{model}-{choices['data']}")


def _inside_log_dir(name: str) -> str:
    """Return a name under which a run folder lies inside log_dir. Raises UserError for others."""
    parts = re.split(r"[/\\]", name)
    if "" in parts or "." in parts or ".." in parts or ":" in name or not name.isprintable():
        raise UserError(
            f"name={name!r} leads out of log_dir, or is no name of a folder; expected words such "
            "as name=baseline or name=baseline/small. Try log_dir=<another folder> to write "
            "elsewhere"
        )
    return name


def run_job(
    verb: str,
    config: Config,
    folder: Path,
    command: list[str],
    resumed_with: list[str] | None = None,
) -> Results:
    """Run a verb in its folder, in as many processes as it asks for; return its results.json."""
    if verb == "train" and (processes := processes_to_start(config["trainer"])) > 1:
        started()
        with alone_in(RunFolder(folder).log):  # in a launch, the first process then takes it
            write_config(folder, config, command)
        return launch(folder, processes, command, resumed_with)
    with (
        joined(),
        Interruption().listening() as interruption,
        recorded(folder, command, is_service=VERBS[verb].is_service) as results,
        noticing_loss(folder),
    ):
        if is_first():
            write_config(folder, config, command)
        if resumed_with is not None:
            results.setdefault("resumed_with", []).append(resumed_with)
        with telling_of_memory(config, results, folder):
            VERBS[verb].work()(config, folder, results, interruption)
    return results
