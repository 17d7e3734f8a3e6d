"""Results of a search: the best trial, tested once, best.json, summary.csv and summary.html."""

import html
import re
import shlex
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from strided.config.primary import Primary, beginning_with, primary
from strided.config.typed_only import downloads_nothing
from strided.config.yaml_files import IS_CHECKOUT
from strided.errors import UserError, first_line
from strided.jobs.job import compose_run
from strided.jobs.runner import finish_job
from strided.pages.page import picture
from strided.runs.folder import RunFolder, read_config, read_results
from strided.sweeps.folder import SweepFolder
from strided.sweeps.search.study import Study
from strided.sweeps.summary import Job, Table, list_of_errors, table_of_jobs, write_page
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
        command = [f"{key}={trial.params[key]}" for key in study.space if key in trial.params]
        job = Job.read(study.folder / str(trial.number), command)
        found.append(Job(job.number, command, STATES.get(trial.state, job.state), job.results))
    return found


def report(study: Study) -> None:
    """Write summary.csv, summary.html and figures/ from the trials so far."""
    trials = jobs(study)
    if not trials:
        return
    table = table_of(study)
    table.write(SweepFolder(study.folder).summary)
    figures = draw(study)
    pictures = "".join(map(picture, figures))
    states = ", ".join(f"{number} {state}" for state, number in count(study).items())
    words = html.escape(" ".join(study.plan.words))
    lead = f"<p>{len(trials)} trials: {states}. In each: <code>{words}</code></p>"
    write_page(
        study.folder,
        f"{lead}{headline(study)}{pictures}<h2>Trials</h2>{table.html()}{list_of_errors(trials)}",
    )


def table_of(study: Study) -> Table:
    """Return a row for each trial."""
    columns = (study.plan.search.metric, "best_epoch", "train_seconds", "error")
    return table_of_jobs(jobs(study), columns)


def headline(study: Study) -> str:
    """Return the best trial as HTML; empty before it was tested."""
    file = SweepFolder(study.folder).best_trial
    if not file.is_file():
        return ""
    metric = study.plan.search.metric
    try:
        return _headline(read_json(file), metric)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file} is damaged: {first_line(error)}; expected it as the search wrote it. Try "
            "deleting it: the search writes it again"
        ) from error


def _headline(best: dict[str, Any], metric: str) -> str:
    text = f"Best: trial {int(best['trial'])}, {metric} {best[metric]:.4f}"
    if "test/acc" in best:
        low, high = best["test/acc_ci95"]
        text += f"; test accuracy {best['test/acc']:.4f} (95 % interval {low:.4f} to {high:.4f})"
    return f'<p class="headline">{text}</p><p><code>{html.escape(best["command"])}</code></p>'


def draw(study: Study) -> list[Path]:
    """Draw the history and, if the trials' values differ, the importance of each key."""
    folder = SweepFolder(study.folder).figures
    folder.mkdir(exist_ok=True)
    figures = [draw_history(study, folder / "history.png")]
    values = {t.value for t in study.trials() if t.state == TrialState.COMPLETE}
    if len(values) > 1:
        figures.append(draw_importance(study, folder / "importance.png"))
    return figures


def draw_history(study: Study, file: Path) -> Path:
    """Draw the value of each trial, and the best so far."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots()
    trials = study.trials()
    for state, marker in ((TrialState.COMPLETE, "o"), (TrialState.PRUNED, "x")):
        ended = [t for t in trials if t.state == state and t.value is not None]
        numbers = [t.number for t in ended]
        axes.plot(numbers, [t.value for t in ended], marker, label=STATES[state])  # type: ignore[arg-type]
    for trial in trials:
        if trial.state == TrialState.FAIL:
            axes.axvline(trial.number, color="tab:red", linestyle=":")
    if any(trial.state == TrialState.FAIL for trial in trials):
        axes.plot([], [], ":", color="tab:red", label="failed")
    better = max if study.plan.search.direction == "maximize" else min
    done = [(t.number, t.value) for t in trials if t.state == TrialState.COMPLETE]
    best = [
        better(value for _, value in done[: n + 1] if value is not None) for n in range(len(done))
    ]
    axes.step([n for n, _ in done], best, where="post", label="best so far")
    axes.set(xlabel="trial", ylabel=study.plan.search.metric)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=120)
    return file


def draw_importance(study: Study, file: Path) -> Path:
    """Draw each key's share in explaining the differences between completed trials."""
    from matplotlib.figure import Figure

    importance = optuna.importance.get_param_importances(study.study)
    figure = Figure(figsize=(9, 1.2 + 0.35 * len(importance)), layout="constrained")
    axes = figure.subplots()
    keys = list(importance)[::-1]
    axes.barh(keys, [importance[key] for key in keys])
    axes.set(xlabel=f"importance for {study.plan.search.metric} (PED-ANOVA)", xlim=(0, 1))
    figure.savefig(file, dpi=120)
    return file
