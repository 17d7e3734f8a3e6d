"""Sweeps: run every combination of the swept values as a job, and summarise them all."""

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from strided.config.compose import compose_hydra, plain
from strided.config.keys import Config
from strided.config.overrides import (
    ONLY_TYPED,
    as_typed,
    is_hydra,
    key_of,
    normalise,
    quoted,
    read_words,
    typed_trust,
    typed_value,
)
from strided.config.primary import beginning_with, primary
from strided.config.schema import check
from strided.config.targets import trusting
from strided.config.typed_only import brings_back
from strided.config.unused import insisting_on, refuse_unused_by_all, steady
from strided.config.yaml_files import config_folders, primary_name
from strided.errors import UserError, first_line, printable
from strided.jobs.job import run_name
from strided.jobs.resume import DATA_PLACES
from strided.jobs.runner import axes_left, finish_job
from strided.runs.folder import (
    create_run_folder,
    lies_in,
    log_folder,
    read_results,
    require_no_way_out,
    write_config,
)
from strided.sweeps import pooled
from strided.sweeps.axes import Sweep
from strided.sweeps.ending import print_ending, what_to_try
from strided.sweeps.folder import SweepFolder
from strided.sweeps.grammar import sweep_corners, sweep_jobs
from strided.sweeps.grouped import Job
from strided.sweeps.kept_words import kept_words
from strided.sweeps.logged import log_sweep
from strided.sweeps.summary import summarise
from strided.sweeps.trend import section, study
from strided.system.durable import write_text
from strided.system.machine import alone_in
from strided.system.plain_data import read_yaml
from strided.system.signals import Interrupted, Interruption
from strided.system.starting import started
from strided.system.verbosity import among_many, showing
from strided.verbs.table import VERBS

RESUMABLE = (*DATA_PLACES, "traceback", "trust")


def sweep_of(verb: str, words: Sequence[str], config_dir: Path | None) -> Sweep | None:
    """The sweep of the typed experiment, if that is a sweep."""
    name = typed_value(words, "experiment")
    several = name and re.search("[,(]", name)  # a,b or glob(a*)
    if verb != "train" or several or (name is None and not primary().is_typed):
        return None
    own = [word for word in words if key_of(word) == "sweep" or key_of(word).startswith("sweep.")]
    overrides = normalise(verb, [*([f"experiment={name}"] if name else []), *own], config_dir)
    typed = normalise(verb, words, config_dir, multirun=True)
    node = compose_hydra(verb, overrides, config_dir, typed)[0]["sweep"]
    return Sweep.of(dict(OmegaConf.to_container(node))) if node else None  # type: ignore[arg-type]


@Interruption().listening()  # between jobs too: each job also listens itself
def run_sweep(
    verb: str, words: Sequence[str], config_dir: Path | None, trend: Sweep | None = None
) -> None:
    """Run every combination of the swept values as a job; keys and options are checked first.

    `trend` is what the experiment itself varies. Raises UserError at the end if a job failed; the
    others have then run.
    """
    typed, trusted = words, typed_trust(words)  # before the values that a YAML adds
    words = trend.words(words) if trend else words
    overrides = normalise(verb, words, config_dir, multirun=True)
    corners = sweep_corners(verb, overrides, config_dir)
    name, config = check_corners(verb, corners, config_dir)
    jobs = sweep_jobs(overrides, config_dir)
    if "trainer" in config:
        refuse_sweeps(verb, corners, config_dir)
        refuse_unused_by_all(composed(verb, jobs, config_dir), typed)
    folder = create_run_folder(log_folder(config["log_dir"]) / "multirun" / name)
    # trust= and Hydra's keys may name any class, so they count only as typed
    kept = [word for word in words if not is_hydra(word) and key_of(word) not in ONLY_TYPED]
    state = {"verb": verb, "words": kept, "jobs": jobs, "trend": trend and vars(trend)}
    write_text(
        SweepFolder(folder).sweep, yaml.safe_dump(state, sort_keys=False, allow_unicode=True)
    )
    _run_jobs(verb, overrides, config_dir, folder, jobs, trusted, trend, config)


@Interruption().listening()
def resume_sweep(folder: Path, changes: Sequence[str], config_dir: Path | None) -> None:
    """Run the unfinished jobs of a sweep in their folders. Raises UserError."""
    require_no_way_out(folder)
    sweep = read_sweep(SweepFolder(folder).sweep)
    verb = sweep["verb"]
    kept = kept_words(verb, sweep["words"], config_dir)
    kept.allow(DATA_PLACES)
    for word in changes:
        known = key_of(word) in RESUMABLE or is_hydra(word)
        if not known and not brings_back(word, kept.left):
            raise UserError(
                f"{word} cannot be changed on resume: the sweep continues from its sweep.yaml. "
                f"Expected only {', '.join(RESUMABLE)} and Hydra's own keys. Try a new sweep"
            )
    words = kept.with_typed(changes, SweepFolder(folder).sweep)
    words += [word for word in changes if is_hydra(word)]
    overrides = normalise(verb, words, config_dir, multirun=True)
    _, config = check_corners(verb, sweep_corners(verb, overrides, config_dir), config_dir)
    jobs = sweep_jobs(overrides, config_dir)

    def told(jobs: Iterable[Sequence[str]]) -> list[list[str]]:
        # 0.1 kept a space in one of several paths as Hydra escapes it
        return [[*map(as_typed, kept.without_left(job))] for job in jobs]

    if told(jobs) != told(sweep["jobs"]):
        raise UserError(
            f"resume={folder}: the words of this sweep no longer stand for the same "
            f"{len(sweep['jobs'])} jobs; expected the options in conf/ and --config-dir as they "
            "were. Try a new sweep"
        )
    keep_places(SweepFolder(folder).sweep, sweep, changes)
    trend = Sweep.of(sweep["trend"]) if sweep.get("trend") else None
    _run_jobs(verb, overrides, config_dir, folder, jobs, typed_trust(changes), trend, config)


def keep_places(file: Path, sweep: dict[str, Any], changes: Sequence[str]) -> None:
    """Write to sweep.yaml where the data were moved to; a cache counts only as typed."""
    moved = {key_of(word): word for word in changes if key_of(word) in ("data.root", "data.csv")}
    if not moved:
        return

    def with_moved(words: Sequence[str]) -> list[str]:
        return [*(word for word in words if key_of(word) not in moved), *moved.values()]

    kept = {"words": with_moved(sweep["words"]), "jobs": [*map(with_moved, sweep["jobs"])]}
    with alone_in(file):  # a session at work has locked this very file, not the one to come
        write_text(file, yaml.safe_dump({**sweep, **kept}, sort_keys=False, allow_unicode=True))


def read_sweep(file: Path) -> dict[str, Any]:
    """Read sweep.yaml, which may be a stranger's. Raises UserError unless it is as it was written.

    Keys: verb, words, jobs (the words of each) and trend, the sweep of an experiment or None.
    """
    try:
        sweep = read_yaml(file)
        jobs, trend = sweep["jobs"], sweep.get("trend")
        if sweep["verb"] not in VERBS:
            raise ValueError(f"verb {sweep['verb']}, expected one of {', '.join(VERBS)}")
        if not (isinstance(jobs, list) and isinstance(trend, dict | None)):
            raise ValueError("jobs is no list, or trend no mapping")
        if not all(isinstance(job, list) and all(isinstance(w, str) for w in job) for job in jobs):
            raise ValueError("jobs are no lists of words")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{file} is damaged: {first_line(error)}; expected it as the sweep wrote it. "
            "Try a new sweep"
        ) from error
    return {**sweep, "words": read_words(sweep["words"], file)}


def check_corners(
    verb: str, corners: Sequence[Sequence[str]], config_dir: Path | None
) -> tuple[str, Config]:
    """Check keys and options of every choice of groups; return a name for all, and a config.

    Values are not checked: a bad value only fails its job.
    """
    names: dict[str, None] = {}
    for corner in corners:
        composed, choices = compose_hydra(verb, corner, config_dir)
        config = plain(composed)
        check(config, values=False)
        names[run_name(config, choices)] = None
    first, *others = names
    # long folder names are not allowed
    return "+".join(names) if len(others) < 4 else f"{first}+{len(others)}-more", config


def refuse_sweeps(verb: str, corners: Iterable[Sequence[str]], config_dir: Path | None) -> None:
    """Raise UserError for an experiment that is a sweep, and here would be one run of several."""
    for corner in corners:
        composed, choices = compose_hydra(verb, corner, config_dir)
        config = plain(composed)
        if node := config.get("sweep"):
            Sweep.of(node)
        if left := axes_left(config, corner):
            name, values = choices["experiment"], [f"{key}={v[0]}" for key, v in left.items()]
            raise UserError(
                f"experiment={name} is many runs by itself, over {', '.join(left)}, and would be "
                "one of several here; expected a command of its own, or a value of each. Try "
                f"experiment={name} alone, or {' '.join(values)}"
            )


def composed(verb: str, jobs: Iterable[Sequence[str]], config_dir: Path | None) -> Iterator[Config]:
    """Compose the config of each job; one that cannot be composed will fail by itself."""
    for job in jobs:
        with suppress(UserError):
            yield plain(compose_hydra(verb, normalise(verb, job, config_dir), config_dir)[0])


def _run_jobs(
    verb: str,
    overrides: list[str],
    config_dir: Path | None,
    folder: Path,
    commands: list[list[str]],
    trusted: list[str],
    trend: Sweep | None,
    config: Config,
) -> None:
    started()  # checking the words has imported most of what jobs need
    varied = {key_of(word) for job in commands for word in {*job} ^ {*commands[0]}}
    insisted, level, begun = steady(overrides, varied), among_many(), primary()
    own_folder = config_dir and config_dir.resolve()  # a launcher may run jobs elsewhere

    def job(_: DictConfig) -> int:
        with (
            trusting(trusted, own_folder),
            beginning_with(begun),
            insisting_on(insisted),
            showing(level),
        ):
            return run_one(verb, own_folder)

    with alone_in(SweepFolder(folder).sweep):
        try:
            launch(verb, overrides, config_dir, folder, job)
        except (Interrupted, KeyboardInterrupt):
            print(f"to go on with the whole sweep: resume={folder}")
            raise
        finally:
            jobs = [Job.read(folder / str(n), command) for n, command in enumerate(commands)]
            shown = section(folder, trend, jobs) if trend else ""
            page, together = pooled.section(folder, jobs)
            table = summarise(folder, jobs, verb, shown + page, bool(shown))
        if trend and (more := study(folder, trend, jobs)):
            summarise(folder, jobs, verb, shown + page + more, bool(shown))
        log_sweep(folder, config, jobs, table)
        print_ending(folder, jobs, together)
    if failed := sum(job.state != "finished" for job in jobs):
        raise UserError(
            f"{failed} of the {len(jobs)} jobs failed; see {SweepFolder(folder).summary}. "
            f"{what_to_try(folder, jobs, RESUMABLE)}"
        )


def launch(
    verb: str,
    overrides: list[str],
    config_dir: Path | None,
    folder: Path,
    job: Callable[[DictConfig], int],
) -> None:
    """Hand the sweep to Hydra, so that its launchers (joblib, submitit) work too."""
    import hydra

    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach main() instead of being printed by Hydra
    own = [f"hydra.sweep.dir={quoted(str(folder))}", "hydra.sweep.subdir=${hydra.job.num}"]
    own += primary().settings(overrides)
    main, *others = map(str, config_folders(config_dir))
    flags = ["--multirun", *(["--config-dir", *others] if others else [])]
    before, sys.argv = sys.argv, [sys.argv[0], *flags, *overrides, *own]
    try:
        name = primary_name(verb, config_dir)
        hydra.main(version_base="1.3", config_path=main, config_name=name)(job)()
    finally:
        sys.argv = before


def run_one(verb: str, config_dir: Path | None) -> int:
    """Run or finish the job of a sweep that Hydra has begun; return its exit code.

    It is composed as a single run is: Hydra's own config lacks what `compose_hydra` decides.
    """
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    command = [as_typed(word) for word in hydra.overrides.task]
    print(printable(f"\njob {hydra.job.num}: {' '.join(command)}"))
    if read_results(folder).get("state") == "finished":
        print("finished before")
        return 0

    def new_config() -> Config:
        composed, choices = compose_hydra(verb, list(hydra.overrides.task), config_dir)
        write_config(folder, dict(OmegaConf.to_container(composed)), command)  # type: ignore[arg-type]
        config = plain(composed)
        check(config)
        home = config["log_dir"] if lies_in(folder, config["log_dir"]) else None
        return {**config, "name": run_name(config, choices), "log_dir": home}

    return 0 if finish_job(verb, folder, command, new_config) else 1
