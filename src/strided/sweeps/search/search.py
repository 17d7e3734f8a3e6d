"""A search: Optuna chooses the trials, each a job in its folder; the best is tested, once."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep

from strided.config.compose import compose_hydra, plain
from strided.config.keys import Config, Node
from strided.config.overrides import as_typed, key_of, normalise, typed_trust
from strided.config.primary import primary
from strided.config.targets import trusting
from strided.config.typed_only import brings_back
from strided.config.unused import refuse_unused_by_all
from strided.errors import UserError
from strided.jobs.job import compose_run
from strided.jobs.resume import DATA_PLACES
from strided.runs.folder import create_run_folder, log_folder, require_no_way_out
from strided.sweeps.ending import print_ending
from strided.sweeps.folder import SweepFolder
from strided.sweeps.grammar import each_job, sweep_corners, swept_values
from strided.sweeps.kept_words import kept_words
from strided.sweeps.logged import log_sweep
from strided.sweeps.search.space import Search, parse, require_axes
from strided.sweeps.sweep import check_corners, composed, refuse_sweeps
from strided.system.machine import alone_in, cores
from strided.system.signals import Interrupted, Interruption
from strided.system.starting import started
from strided.system.verbosity import among_many, showing

if TYPE_CHECKING:
    from strided.sweeps.search.study import Study

RESUMABLE = ("search.num_trials", "search.num_workers", *DATA_PLACES, "traceback", "trust")
MOST_TRIALS = 10  # the best ones, that the terminal shows


def run_search(words: Sequence[str], config_dir: Path | None) -> None:
    """Search over the keys that the words leave open; checks keys and options first.

    Raises UserError for a mistake in the search before the first trial, and at the end if no trial
    was completed.
    """
    from strided.sweeps.search.study import SearchPlan, Study, read_search

    fixed, swept = split(words, config_dir)
    search = read_search(search_node(fixed, swept, config_dir))
    fixed = [word for word in fixed if not _is_search(word)]
    overrides = with_first_values(fixed, search, config_dir)
    corners = sweep_corners("train", overrides, config_dir)
    name, config = check_corners("train", corners, config_dir)
    refuse_sweeps("train", corners, config_dir)
    typed = [*fixed, *(f"{key}={values}" for key, values in swept.items())]
    # a pruner, which only trials have, can end a run early
    counting = [word for word in typed if not key_of(word).startswith("trainer.min_")]
    jobs = each_job(overrides, config_dir)
    refuse_unused_by_all(composed("train", jobs, config_dir), counting)
    require_monitor(search, config)
    plan = SearchPlan(fixed, config["seed"], search)
    plan.try_out()
    folder = create_run_folder(log_folder(config["log_dir"]) / "multirun" / name)
    run_trials(Study(folder, plan), config_dir, typed_trust(words))


def resume_search(folder: Path, changes: Sequence[str], config_dir: Path | None) -> None:
    """Finish the started trials, then run the missing ones. Raises UserError."""
    from strided.sweeps.search.study import SearchPlan, Study

    require_no_way_out(folder)
    plan = SearchPlan.read(folder)
    kept = kept_words("train", plan.words, config_dir)
    # search.yaml is written again without what was left out; this brings it back later too
    kept.allow(DATA_PLACES)
    changed: dict[str, Any] = {}
    for word in changes:
        key, _, value = word.lstrip("+").partition("=")
        if key not in RESUMABLE and not brings_back(word, kept.left):
            raise UserError(
                f"{word} cannot be changed on resume: the search continues from its "
                f"search.yaml. Expected only {', '.join(RESUMABLE)}. Try a new search"
            )
        if _is_search(word):
            changed[key.partition(".")[2]] = yaml.safe_load(value)
    words = kept.with_typed(changes, SweepFolder(folder).search)
    plan = replace(SearchPlan.read(folder, **changed), words=words)
    run_trials(Study(folder, plan), config_dir, typed_trust(changes))


def split(words: Sequence[str], config_dir: Path | None) -> tuple[list[str], dict[str, str]]:
    """Split what was typed into words for every trial, and keys with several values."""
    fixed, swept = [], {}
    for word in normalise("train", words, config_dir, multirun=True):
        override = OverridesParser.create().parse_override(word)
        key, _, value = as_typed(word).partition("=")
        if override.is_sweep_override():
            if _is_search(word):
                raise UserError(
                    f"{key}={value}: keys of search= are not searched; expected one value"
                )
            swept[key] = word.partition("=")[2]  # several values, still in Hydra's grammar
        elif key not in ("trust", "traceback"):  # these hold for this session only
            fixed.append(as_typed(word))
    return fixed, swept


def _is_search(word: str) -> bool:
    return key_of(word).partition(".")[0] == "search"


def search_node(fixed: Sequence[str], swept: dict[str, str], config_dir: Path | None) -> Node:
    """Return the search group; its space is the YAML's, except for keys that were typed."""
    composed, _ = compose_hydra("train", normalise("train", fixed, config_dir), config_dir)
    node = plain(composed)["search"]
    typed = {word.partition("=")[0] for word in fixed}
    for part in ("sampler", "pruner"):
        if f"search.{part}._target_" in typed:  # the YAML's arguments belong to another class
            own = {key.split(".")[2] for key in typed if key.startswith(f"search.{part}.")}
            node[part] = {key: value for key, value in node[part].items() if key in own}
    listed = {key: str(text) for key, text in node["space"].items() if key not in typed}
    require_axes({key: text for key, text in listed.items() if key not in swept})
    space = listed | swept
    if not space:
        raise UserError(
            "search=optuna has nothing to search: every key has one value; expected several. "
            'Try "optimizer.lr=tag(log,interval(1e-4,1e-1))"'
        )
    for key, text in space.items():
        override = parse(key, text)
        if isinstance(override.value(), Glob):  # on resume it could match more options
            space[key] = f"choice({','.join(swept_values(override, config_dir))})"
    return {**node, "space": space}


def with_first_values(fixed: Sequence[str], search: Search, config_dir: Path | None) -> list[str]:
    """Return the overrides of all trials, with the first value of each interval."""
    axes = []
    for key, text in search.space.items():
        value = parse(key, text).value()
        axes.append(f"{key}={value.start if isinstance(value, IntervalSweep) else text}")
    return normalise("train", [*fixed, *axes], config_dir, multirun=True)


def require_monitor(search: Search, config: Config) -> None:
    """Raise UserError unless trials will measure the metric of the search."""
    checkpoint = config["callbacks"].get("checkpoint")
    if not checkpoint or checkpoint.get("monitor") != search.monitor:
        mode = "max" if search.direction == "maximize" else "min"
        raise UserError(
            f"search.metric={search.metric}, but best.ckpt is not chosen by {search.monitor}; "
            f"expected the same. Try callbacks.checkpoint.monitor={search.monitor} "
            f"callbacks.checkpoint.mode={mode}"
        )


def run_trials(study: "Study", config_dir: Path | None, trust: list[str]) -> None:
    """Run the missing trials of a search, test the best one, and write the summary."""
    from strided.sweeps.search.results import jobs, report, table_of, test_best
    from strided.sweeps.search.study import JOURNAL
    from strided.sweeps.search.worker import work

    started()  # checking the words has imported most of what trials need
    with alone_in(study.folder / JOURNAL) as lock:
        study.plan.write(study.folder)  # a resume may have changed it; workers read it there
        try:
            with Interruption().listening(), trusting(trust), showing(among_many()):
                if study.plan.search.num_workers == 1:
                    work(study, study.unfinished(), config_dir)
                else:
                    run_workers(study, config_dir, trust, lock)
                left = study.num_left()
                # only once the best can no longer change
                best = None if left else test_best(study, config_dir, trust)
        except (Interrupted, KeyboardInterrupt):
            print(f"to go on with the whole search: resume={study.folder}")
            raise
        finally:
            report(study)
    if left:
        raise UserError(
            f"{left} of {study.plan.search.num_trials} trials are left, since a worker died; "
            f"expected all to end. Try resume={study.folder}"
        )
    if best is None:
        raise UserError(
            f"none of the {len(study.trials())} trials was completed; see "
            f"{SweepFolder(study.folder).summary}. Try one of them without search="
        )
    with trusting(trust):
        config, _ = compose_run("train", study.plan.words, config_dir)
    log_sweep(study.folder, config, jobs(study), table_of(study))
    print_ending(study.folder, jobs(study), best, MOST_TRIALS)


def run_workers(
    study: "Study", config_dir: Path | None, trust: list[str], lock: int | None
) -> None:
    """Run trials in several processes; pass a signal on to each, and each saves its trial.

    They inherit the lock, so that nobody resumes the search before the last of them has ended.
    """
    interruption = Interruption()
    number, unfinished = study.plan.search.num_workers, study.unfinished()
    workers: list[subprocess.Popen[bytes]] = []
    with interruption.listening():
        try:
            with interruption.deferring():
                for index in range(number):
                    message = worker_message(study, unfinished[index::number], config_dir, trust)
                    workers.append(start_worker(message, number, lock))
                watch(workers, interruption)
        finally:  # also after a second signal, which stops them at once
            for worker in workers:
                if worker.poll() is None:
                    worker.send_signal(signal.SIGTERM)
            for worker in workers:
                worker.wait()


def worker_message(
    study: "Study", unfinished: list[int], config_dir: Path | None, trust: list[str]
) -> str:
    """Return what a worker needs to know, as JSON."""
    return json.dumps(
        {
            "folder": str(study.folder),
            "unfinished": unfinished,
            "config_dir": str(config_dir) if config_dir else None,
            "config_name": primary().name,
            "config_path": str(primary().folder) if primary().folder else None,
            "trust": trust,
            "parent": os.getpid(),
        }
    )


def start_worker(message: str, number: int, lock: int | None) -> "subprocess.Popen[bytes]":
    """Start one of `number` workers, with its share of the cores."""
    threads = str(max(1, cores() // number))
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "strided.sweeps.search.worker", message],
        env={"OMP_NUM_THREADS": threads, **os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        pass_fds=[] if lock is None else [lock],
        start_new_session=True,  # Ctrl-C in a terminal then reaches only us; we pass it on
    )


def watch(workers: list["subprocess.Popen[bytes]"], interruption: Interruption) -> None:
    """Wait for all workers; pass the first signal on, once."""
    handed_on = False
    running = list(workers)
    while running:
        for worker in running:
            if worker.poll() not in (None, 0) and not handed_on:
                print(
                    f"a worker died with exit code {worker.returncode}; the others go on",
                    file=sys.stderr,
                )
        running = [worker for worker in running if worker.returncode is None]
        if interruption.requested is not None and not handed_on:
            handed_on = True
            for worker in running:
                worker.send_signal(interruption.requested)
        time.sleep(0.05)
