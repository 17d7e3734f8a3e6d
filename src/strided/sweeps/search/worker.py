"""Run trials of a search one after the other: `python -m strided.sweeps.search.worker <JSON>`."""

import json
import os
import shlex
import sys
from contextlib import nullcontext, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from strided.config.keys import Config
from strided.config.overrides import as_typed
from strided.config.primary import Primary, beginning_with
from strided.config.targets import trusting
from strided.config.unused import insisting_on, steady
from strided.errors import printable
from strided.jobs.job import compose_run
from strided.jobs.runner import finish_job
from strided.runs.folder import lies_in, read_results
from strided.runs.results import by_name
from strided.sweeps.search.study import SearchPlan, Study
from strided.system.signals import Interrupted, Interruption, stop_with_parent
from strided.system.starting import starting


def work(
    study: Study, unfinished: list[int], config_dir: Path | None, *, quiet: bool = False
) -> None:
    """Finish the trials of an earlier session, then run new ones until there are enough.

    `quiet` prints only a line for each trial; everything else is in its run.log.
    """
    with insisting_on(steady(study.plan.words, study.plan.search.space)):
        for number in unfinished:
            run_trial(study, number, config_dir, quiet=quiet)
        while (begun := study.next_trial()) is not None:
            run_trial(study, begun, config_dir, quiet=quiet)


def run_trial(study: Study, number: int, config_dir: Path | None, *, quiet: bool) -> None:
    """Run or finish a trial in its folder, and tell the study."""
    folder = study.folder / str(number)
    folder.mkdir(exist_ok=True)
    chosen = [as_typed(f"{key}={value}") for key, value in study.parameters(number).items()]
    command = [*study.plan.words, *chosen]
    print(printable(f"\ntrial {number}: {shlex.join(chosen)}"), flush=True)
    with open(os.devnull, "w") as nowhere:
        out, err = redirect_stdout(nowhere), redirect_stderr(nowhere)
        with out if quiet else nullcontext(), err if quiet else nullcontext():
            finish_job(
                "train", folder, command, lambda: trial_config(study, number, command, config_dir)
            )
    results = read_results(folder)
    state = study.tell(number, results)
    metric = study.plan.search.metric
    score = by_name(results).get(metric)
    measured = "not measured" if score is None else f"{score:.4f}"
    said = results.get("error") or f"{metric} {measured}"
    print(printable(f"trial {number}: {state}, {said}"), flush=True)


def trial_config(study: Study, number: int, command: list[str], config_dir: Path | None) -> Config:
    """Return the config of a trial: it is not tested, and it can be pruned. Raises UserError."""
    config, name = compose_run("train", command, config_dir)
    search = study.plan.search
    if search.pruner is not None:
        config["callbacks"]["pruning"] = {
            "_target_": "strided.sweeps.search.pruning.Pruning",
            "trial": number,
            "monitor": search.monitor,
            "pruner": search.pruner,
        }
    config["trainer"]["limit_test_batches"] = 0
    home = config["log_dir"] if lies_in(study.folder, config["log_dir"]) else None
    return {**config, "name": name, "log_dir": home}


def main(typed: str) -> int:
    """Work as one of several processes; return the exit code."""
    message: dict[str, Any] = json.loads(typed)
    folder = Path(message["folder"])
    config_dir = Path(message["config_dir"]) if message["config_dir"] else None
    path = Path(message["config_path"]) if message["config_path"] else None
    begun = beginning_with(Primary(message["config_name"], path))
    stop_with_parent(message["parent"])
    try:
        with (
            starting(),
            trusting(message["trust"], config_dir),
            begun,
            Interruption().listening(),
        ):
            study = Study(folder, SearchPlan.read(folder))
            work(study, message["unfinished"], config_dir, quiet=True)
    except Interrupted as stop:
        return stop.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
