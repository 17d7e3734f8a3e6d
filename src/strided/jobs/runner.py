"""What the command line and a sweep run: a new job, or the rest of a stopped one."""

import gc
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from strided.config.keys import Config
from strided.config.overrides import key_of, typed_trust, typed_value, without
from strided.config.targets import trusting
from strided.config.unused import insisting_on, refuse_unused
from strided.errors import UserError, describe_error, printable
from strided.jobs.choices import show_choices
from strided.jobs.job import compose_choices, run_job
from strided.jobs.resume import resume_run
from strided.runs.folder import (
    RunFolder,
    create_run_folder,
    log_folder,
    read_results,
)
from strided.runs.results import Results
from strided.system.durable import write_json
from strided.system.processes import from_first, is_first, joined, place

MOST_LINES = 15  # of a message about a mistake


def run(verb: str, words: Sequence[str], config_dir: Path | None = None) -> tuple[Path, Results]:
    """Run a new job or, with `resume=`, the rest of a stopped one.

    Returns its run folder and its results.json.
    """
    with trusting(typed_trust(words), config_dir), joined():
        if verb == "train" and (stopped := typed_value(words, "resume")):
            folder = Path(os.path.expanduser(stopped))
            return folder, resume_run(folder, without(words, "resume"), config_dir)
        config, name, choices = compose_choices(verb, words, config_dir)
        if config.get("search"):
            raise UserError(
                "search= was given, but this is a single run; expected search= on the command line "
                "of train. Try python src/train.py search=optuna"
            )
        refuse_sweep(config, words)
        if "trainer" in config:
            refuse_unused(config, words)
        parent = log_folder(config["log_dir"]) / verb / name
        folder = from_first(create_run_folder(parent) if is_first() else None)
        if is_first():
            show_choices(verb, choices, config, words, config_dir)
        with insisting_on(words):
            return folder, run_job(verb, {**config, "name": name}, folder, list(words))


def refuse_sweep(config: Config, words: Sequence[str]) -> None:
    """Raise UserError for an experiment of many runs: the command line runs all, Python one."""
    if left := axes_left(config, words):
        example = ", ".join(f'"{key}={values[0]}"' for key, values in left.items())
        raise UserError(
            f"this experiment is many runs, over {', '.join(left)}, and a call from Python makes "
            f"one; expected a value of each. Try train([..., {example}]), in a loop for several, "
            "or the command line for all runs with their summary"
        )


def axes_left(config: Config, words: Sequence[str]) -> dict[str, Any]:
    """Return what the experiment of a config varies, but for the keys that the words set."""
    typed = {key_of(word) for word in words}
    over = (config.get("sweep") or {}).get("over", {})
    return {key: values for key, values in over.items() if key not in typed}


def finish_job(
    verb: str, folder: Path, command: list[str], new_config: Callable[[], Config]
) -> bool:
    """Finish one of many jobs: run all of it, the rest of a stopped one, or nothing.

    An error is kept in its results.json and printed, so that the others continue. Returns whether
    the job is finished.
    """
    if read_results(folder).get("state") == "finished":
        return True
    try:
        if RunFolder(folder).last.is_file():
            with insisting_on(()):  # it began with its words
                resume_run(folder, [], None, command)
        else:
            RunFolder(folder).results.unlink(missing_ok=True)
            run_job(verb, new_config(), folder, command)
        return True
    except Exception as error:
        if not RunFolder(folder).results.is_file():  # the job failed before it began
            reason = describe_error(error)
            failed: Results = {"command": command, "state": "failed", "error": reason}
            write_json(RunFolder(folder).results, failed)
        print_error(error, command)
    gc.collect()  # the network that failed: cycles keep it in the memory that the next job needs
    return False


def print_error(error: BaseException, words: Sequence[str]) -> None:
    """Print an error in at most 15 lines, or its traceback if that was asked for."""
    if "traceback=true" in (word.lower() for word in words):
        import traceback

        print(printable("".join(traceback.format_exception(error))), file=sys.stderr)
        return
    if not is_first():
        # the first process prints it, unless only this one has failed
        first = printable(describe_error(error)).splitlines()[0]
        print(f"process {place().rank}: {first}", file=sys.stderr)
        return
    lines = [line for line in printable(describe_error(error)).splitlines() if line.strip()]
    if not isinstance(error, UserError):
        lines.append("traceback=true shows where this came from")
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], "..."]
    print("error: " + "\n".join(lines), file=sys.stderr)
