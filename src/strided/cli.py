"""The command line: `python src/<verb>.py key=value ...` and `strided <verb> key=value ...`."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml
from omegaconf import DictConfig, OmegaConf

from strided.config import CONF_DIR, check, plain, trusting
from strided.errors import UserError
from strided.help import overview, verb_help
from strided.interruption import Interrupted, Interruption
from strided.overrides import compose_hydra, normalise, quoted, sweep_corners
from strided.run import (
    create_run_folder,
    describe_error,
    log_folder,
    read_config,
    read_results,
    recorded,
    write_config,
)
from strided.sweep import summarise

VERBS = ("train", "eval", "predict")
MOST_LINES = 15  # of a message about a mistake
RESUMABLE = ("trainer.max_epochs", "trainer.devices", "logger", "log_dir", "traceback", "trust")


@dataclass(frozen=True)
class Typed:
    """What was typed after the verb: `words` are the overrides, the rest are flags."""

    verb: str
    words: list[str]
    help: bool
    multirun: bool
    config_dir: Path | None
    cfg: str | None

    def value(self, key: str) -> str | None:
        """Return the last value typed for a key, unless it is null."""
        found = [w.partition("=")[2] for w in self.words if w.partition("=")[0].lstrip("+") == key]
        return found[-1].strip("'\"") if found and found[-1] not in ("null", "") else None

    @property
    def trust(self) -> list[str]:
        """The packages of `trust=[...]`: only what is typed counts, never a YAML file."""
        names = (self.value("trust") or "").strip("[]").split(",")
        return [name.strip() for name in names if name.strip()]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; return the exit code: 0 done, 1 a mistake or failure, 130 and 143 stopped."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(overview(VERBS))
        return 0
    try:
        typed = parse(words[0], words[1:])
        with trusting(typed.trust):
            run_verb(typed)
        return 0
    except (Interrupted, KeyboardInterrupt) as stop:
        print(f"\n{stop or 'stopped'}", file=sys.stderr)
        return stop.exit_code if isinstance(stop, Interrupted) else 130
    except Exception as error:
        print_error(error, words)
        return 1


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


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; expected key=value words. Try --help")


def parse(verb: str, words: Sequence[str]) -> Typed:
    """Split what was typed into overrides and flags. Raises UserError."""
    if verb not in VERBS:
        raise UserError(f"there is no verb {verb}; expected one of {', '.join(VERBS)}. Try --help")
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("words", nargs="*")
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("-cd", "--config-dir", type=Path)
    parser.add_argument("-c", "--cfg", choices=["job"])
    return Typed(verb, **vars(parser.parse_intermixed_args(list(words))))


def run_verb(typed: Typed) -> None:
    """Check what was typed; then run one job, the jobs of a sweep, or the rest of a run."""
    if typed.help:
        print(verb_help(typed.verb, typed.config_dir))
    elif typed.value("resume") and typed.verb == "train":
        resume_run(typed)
    elif typed.multirun:
        run_sweep(typed)
    else:
        config, name = compose_run(typed)
        if typed.cfg:
            print(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
            return
        parent = log_folder(config["log_dir"]) / typed.verb / name
        run_job(typed.verb, {**config, "name": name}, create_run_folder(parent), typed.words)


def compose_run(typed: Typed) -> tuple[dict[str, Any], str]:
    """Return the checked config of a single run, and its name."""
    overrides = normalise(typed.verb, typed.words, typed.config_dir)
    composed, choices = compose_hydra(typed.verb, overrides, typed.config_dir)
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


def resume_run(typed: Typed) -> None:
    """Go on with a run in its own folder, from its own config.yaml."""
    folder = Path(str(typed.value("resume"))).expanduser()
    changes = [word for word in typed.words if word.partition("=")[0] != "resume"]
    for word in changes:
        key = word.partition("=")[0].lstrip("+")
        if key not in RESUMABLE and not key.startswith("logger."):
            raise UserError(
                f"{word} cannot be changed on resume: the run goes on from its own config.yaml. "
                f"Expected only {', '.join(RESUMABLE)}. Try a new run without resume="
            )
    config = read_config(folder)
    composed, _ = compose_hydra("train", normalise("train", changes), typed.config_dir)
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


def run_sweep(typed: Typed) -> None:
    """Run every combination of the swept values as a job; keys and options are checked first.

    Raises UserError at the end if a job failed: the others have run.
    """
    overrides = normalise(typed.verb, typed.words, typed.config_dir, multirun=True)
    names: dict[str, None] = {}
    for corner in sweep_corners(overrides):
        composed, choices = compose_hydra(typed.verb, corner, typed.config_dir)
        config = plain(composed)
        check(config, values=False)  # a bad value fails its own job only
        names[run_name(config, choices)] = None
    parent = log_folder(config["log_dir"]) / "multirun" / "+".join(names)
    folder = create_run_folder(parent)
    trusted = typed.trust

    def job(composed: DictConfig) -> int:
        with trusting(trusted):
            return run_sweep_job(typed.verb, composed)

    try:
        launch_sweep(typed, overrides, folder, job)
    finally:
        failed = summarise(folder)
    if failed:
        raise UserError(f"{failed} of the jobs failed; see {folder / 'summary.csv'}")


def launch_sweep(
    typed: Typed, overrides: list[str], folder: Path, job: Callable[[DictConfig], int]
) -> None:
    """Hand the sweep to Hydra, so that its launchers (joblib, submitit) work too."""
    import hydra

    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to main(), not to Hydra's own printing
    own = [f"hydra.sweep.dir={quoted(str(folder))}", "hydra.sweep.subdir=${hydra.job.num}"]
    flags = ["--multirun"]
    if typed.config_dir:
        flags += ["--config-dir", str(typed.config_dir.resolve())]
    before, sys.argv = sys.argv, [sys.argv[0], *flags, *overrides, *own]
    try:
        hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=typed.verb)(job)()
    finally:
        sys.argv = before


def run_sweep_job(verb: str, composed: DictConfig) -> int:
    """Run one job of a sweep; what goes wrong is kept in its results.json and printed."""
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    command = [word.lstrip("+") for word in hydra.overrides.task]
    print(f"\njob {hydra.job.num}: {' '.join(command)}")
    choices = {str(key): str(value) for key, value in hydra.runtime.choices.items()}
    write_config(folder, dict(OmegaConf.to_container(composed)), command)  # type: ignore[arg-type]
    try:
        with Interruption().listening() as interruption, recorded(folder, command) as results:
            config = plain(composed)
            check(config)
            config["name"] = run_name(config, choices)
            write_config(folder, config, command)
            run_in(verb, config, folder, results, interruption)
    except Exception as error:
        print_error(error, command)
        return 1
    return 0


def run_from_python(verb: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Run a verb as the command line would and return its results. Raises UserError."""
    config, name = compose_run(parse(verb, overrides))
    folder = create_run_folder(log_folder(config["log_dir"]) / verb / name)
    return run_job(verb, {**config, "name": name}, folder, list(overrides))
