"""Results of a search: the best trial, tested once, best.json, summary.csv and summary.html."""

import re
import shlex
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from strided.config.overrides import as_typed
from strided.config.primary import Primary, beginning_with, primary
from strided.config.typed_only import downloads_nothing
from strided.config.yaml_files import IS_CHECKOUT
from strided.errors import UserError, first_line
from strided.jobs.job import compose_run
from strided.jobs.runner import finish_job
from strided.pages.axis import Axis
from strided.pages.chart import Chart
from strided.pages.figure import Figure
from strided.pages.page import heading, tile, tiles
from strided.pages.png import write_png
from strided.pages.rows import Rows
from strided.runs.folder import RunFolder, read_config, read_results
from strided.sweeps.charts import NAMES, charts, said
from strided.sweeps.folder import SweepFolder
from strided.sweeps.grouped import Job, Row, ranking, shortened, values
from strided.sweeps.page import (
    common_words,
    how_to_repeat,
    in_grid,
    list_of_errors,
    table_of_rows,
    write_page,
)
from strided.sweeps.search.study import Study
from strided.sweeps.summary import Table, table_of_jobs
from strided.system.durable import write_json
from strided.system.plain_data import read_json

STATES = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


def best_trial(study: Study) -> FrozenTrial | None:
    """Return the best of the completed trials, None if there is none."""
    if not any(trial.state == TrialState.COMPLETE for trial in study.trials()):
        return None
    return study.study.best_trial


def test_best(study: Study, config_dir: Path | None, trust: list[str]) -> str | None:
    """Test best.ckpt of the best trial, once; write best.json; return a message for the user.

    Returns None if no trial was completed. A resumed search that found no better trial tests
    nothing. Raises UserError if the test fails.
    """
    best = best_trial(study)
    if best is None:
        return None
    results = read_results(study.folder / str(best.number))
    tested = evaluate_once(study.folder, best.number) if "test" in results.get("splits", ()) else {}
    metric = study.plan.search.metric
    command = shlex.join(repetition(study.folder / str(best.number), config_dir, trust))
    found = {"trial": best.number, metric: best.value, **tested}
    accuracy = ""
    if tested:
        low, high = tested["test/acc_ci95"]
        accuracy = (
            f", test accuracy {tested['test/acc']:.4f} (95 % interval {low:.4f} to {high:.4f})"
        )
    write_json(
        SweepFolder(study.folder).best_trial,
        {**found, "overrides": best.params, "command": command, "trials": count(study)},
    )
    return (
        f"best: trial {best.number}, {metric} {best.value:.4f}{accuracy}; to repeat it: {command}"
    )


def repetition(trial: Path, config_dir: Path | None, trust: list[str]) -> list[str]:
    """Return the words of a command that repeats a trial's training outside of the search."""
    words = ["python", "src/train.py"] if IS_CHECKOUT else ["strided", "train"]
    words += primary().words() + (["--config-dir", str(config_dir)] if config_dir else [])
    words += [f"trust=[{','.join(trust)}]"] if trust else []
    # an experiment's YAML may describe the search, which a single run refuses
    without = [f"~search.{key}" for key in read_config(trial).get("search") or {}]
    return [*words, *read_results(trial)["command"], *without]


def evaluate_once(folder: Path, number: int) -> dict[str, Any]:
    """Measure a trial's best.ckpt on the test split, in best/, and return its overall metrics."""
    best, trial = folder / "best", folder / str(number)
    best.mkdir(exist_ok=True)
    if RunFolder(best).config.is_file() and read_config(best)["checkpoint"] != str(trial):
        RunFolder(best).results.unlink(missing_ok=True)  # of the best trial before a resume
    config = read_config(trial)
    words = [f"checkpoint={trial}", f"accelerator={config['trainer']['accelerator']}"]
    if not downloads_nothing(config["data"]):  # best.ckpt may be from before the data were moved
        places = (f"data.{key}={config['data'].get(key)}" for key in ("root", "csv"))
        words += [word for word in places if word.partition("=")[2] not in ("None", "data")]
    with beginning_with(Primary()):  # what was typed is for train
        done = finish_job("eval", best, words, lambda: compose_run("eval", words)[0])
    if not done:
        raise UserError(
            f"the test of trial {number}, the best, failed: {read_results(best)['error']}. "
            f"Try resume={folder}"
        )
    measured = read_results(best)
    return {key: value for key, value in measured.items() if re.fullmatch("test/[^/]+", key)}


def count(study: Study) -> dict[str, int]:
    """Return the number of trials in each final state."""
    states = [job.state for job in jobs(study)]
    return {state: states.count(state) for state in dict.fromkeys(states)}


def jobs(study: Study) -> list[Job]:
    """Return the trials as jobs."""
    found = []
    for trial in study.trials():
        known = [(key, trial.params[key]) for key in study.space if key in trial.params]
        command = [as_typed(f"{key}={value}") for key, value in known]
        job = Job.read(study.folder / str(trial.number), command)
        found.append(Job(job.number, command, STATES.get(trial.state, job.state), job.results))
    return found


def report(study: Study) -> None:
    """Write summary.csv, summary.html and figures/ from the trials so far."""
    trials = jobs(study)
    if not trials:
        return
    best = best_of(study)
    table_of(study).write(SweepFolder(study.folder).summary)
    write_page(
        study.folder,
        "".join(
            [
                tiles(first_figures(study, best)),
                how_to_repeat(best["command"]) if best else "",
                in_grid(draw(study)),
                heading("Trials"),
                table_of_trials(study),
                common_words(study.plan.words),
                list_of_errors(trials),
            ]
        ),
    )


def table_of(study: Study) -> Table:
    """Return a row for each trial."""
    columns = (study.plan.search.metric, "best_epoch", "train_seconds", "error")
    return table_of_jobs(jobs(study), columns)


def table_of_trials(study: Study) -> str:
    """Return the trials as HTML, the best first."""
    each: list[Row] = [(job.overrides, [job]) for job in jobs(study)]
    metrics = [study.plan.search.metric, "best_epoch", "train_seconds"]
    return table_of_rows(study.folder, ranking(each, metrics[0]), each, metrics)


def best_of(study: Study) -> dict[str, Any]:
    """Return what best.json says; empty before the best trial was tested."""
    file = SweepFolder(study.folder).best_trial
    if not file.is_file():
        return {}
    try:
        best: dict[str, Any] = read_json(file)
        float(best[study.plan.search.metric]), str(best["command"]), int(best["trial"])
        if "test/acc" in best:
            low, high = best["test/acc_ci95"]
            float(low), float(high)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file} is damaged: {first_line(error)}; expected it as the search wrote it. Try "
            "deleting it: the search writes it again"
        ) from error
    return best


def first_figures(study: Study, best: dict[str, Any]) -> list[str]:
    """Return the best trial, its test and the number of trials as tiles."""
    found = []
    if best:
        metric = study.plan.search.metric
        params = ", ".join(
            f"{key}={shortened(str(value))}" for key, value in best["overrides"].items()
        )
        found.append(tile("Best by validation", said([best[metric]], metric), params, "good"))
    if "test/acc" in best:
        low, high = best["test/acc_ci95"]
        told = f"95 % interval {low:.1%} to {high:.1%}; trial {best['trial']}, tested once"
        found.append(tile("Test accuracy", said([best["test/acc"]], "test/acc"), told))
    states = ", ".join(f"{number} {state}" for state, number in count(study).items())
    return [*found, tile("Trials", str(len(study.trials())), states)]


def draw(study: Study) -> list[Figure]:
    """Draw the trials one after the other, their values, and the importance of each key.

    The first and the last are also written into figures/.
    """
    folder = SweepFolder(study.folder).figures
    folder.mkdir(exist_ok=True)
    metric = study.plan.search.metric
    history = history_of(study)
    write_png(history, folder / "history.png")
    done: list[Row] = [(job.overrides, [job]) for job in jobs(study) if job.state == "finished"]
    if len({values(row, metric)[0] for row in done}) < 2:
        return [history]
    importance = importance_of(study)
    write_png(importance, folder / "importance.png")
    return [history, importance, *charts(done, [metric], ranking(done, metric)[0])]


def history_of(study: Study) -> Figure:
    """Draw the value of each trial, and the best so far."""
    metric, trials = study.plan.search.metric, study.trials()
    known = [(trial, trial.value) for trial in trials if trial.value is not None]
    y = Axis.over(NAMES[metric], [value for _, value in known], percent=metric.endswith("acc"))
    chart = Chart("trials", Axis.over("trial", [t.number for t in trials], whole=True), y)
    for trial in trials:
        if trial.state == TrialState.FAIL:
            chart.upright(trial.number, "failed", "bad")
    better = max if study.plan.search.direction == "maximize" else min
    done = [(t.number, value) for t, value in known if t.state == TrialState.COMPLETE]
    steps = [(n, better(value for _, value in done[: at + 1])) for at, (n, _) in enumerate(done)]
    if steps:
        chart.steps(steps, "best so far", "c1", after=False)
    for trial, value in known:
        pruned, state = trial.state == TrialState.PRUNED, STATES.get(trial.state, "running")
        params = ", ".join(f"{key}={chosen}" for key, chosen in trial.params.items())
        title, colour = f"trial {trial.number}, {state}: {value:.4f}, {params}", "quiet"
        colour = colour if pruned else "c0"
        chart.dot(trial.number, value, colour, title, radius=4, ring=pruned)
        chart.name(state, colour, sign="ring" if pruned else "box")
    return chart.figure()


def importance_of(study: Study) -> Figure:
    """Draw each key's share in explaining the differences between completed trials."""
    importance = optuna.importance.get_param_importances(study.study)
    chart = Rows("importance", Axis("share of the differences (PED-ANOVA)", 0, 1, percent=True))
    for key, share in importance.items():
        chart.bar(key, share, f"{share:.0%}", "c0")
    return chart.figure()
