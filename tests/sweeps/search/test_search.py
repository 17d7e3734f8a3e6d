import csv
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.stopping import forked

from strided.cli import main
from strided.runs.folder import read_config, read_results
from strided.sweeps.search import search as searching
from strided.sweeps.search import worker
from strided.sweeps.search.search import search_node
from strided.sweeps.search.study import read_search

pytestmark = pytest.mark.usefixtures("blank_figures")

TINY = ("model=mlp", "data=digits", "trainer=cpu", "trainer.limit_val_batches=2")
RATE = "optimizer.lr=tag(log,interval(1e-4,1e-1))"


def search(log_dir: Path, *words: str) -> int:
    return main(["train", "search=optuna", *TINY, *words, f"log_dir={log_dir}"])


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "summary.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def best_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "best.json").read_text())
    return found


SMALL = (
    RATE,
    "data.batch_size=0,32,64",
    "trainer.max_epochs=3",
    "trainer.limit_train_batches=3",
    "search.pruner._target_=optuna.pruners.ThresholdPruner",
    "search.pruner.lower=0.3",
)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search of 6 trials by one worker; a batch of 0 images cannot be trained."""
    log_dir = tmp_path_factory.mktemp("search")
    assert search(log_dir, *SMALL, "search.num_trials=6") == 0
    (folder,) = log_dir.glob("multirun/mlp-digits/*")
    return folder


def test_a_bad_value_fails_its_own_trial_only(found: Path) -> None:
    rows = rows_of(found)
    assert [row["job"] for row in rows] == list("012345")
    assert {row["state"] for row in rows} == {"finished", "pruned", "failed"}
    for row in rows:
        assert (row["state"] == "failed") == (row["data.batch_size"] == "0")
        assert ("data.batch_size=0" in row["error"]) == (row["state"] == "failed")


def test_a_pruned_trial_ends_early_and_is_not_the_best(found: Path) -> None:
    for row in rows_of(found):
        if row["state"] != "pruned":
            continue
        assert float(row["best_val/acc"]) < 0.3
        epochs = (found / row["job"] / "metrics.csv").read_text().count("\n") - 1
        assert 1 <= epochs < 3
        assert best_of(found)["trial"] != int(row["job"])


def test_only_the_best_trial_is_tested(found: Path) -> None:
    best = best_of(found)
    finished = [row for row in rows_of(found) if row["state"] == "finished"]
    assert best["best_val/acc"] == max(float(row["best_val/acc"]) for row in finished)
    for row in rows_of(found):
        assert not any(key.startswith("test/") for key in read_results(found / row["job"]))
    tested = read_results(found / "best")
    assert tested["test/acc"] == best["test/acc"]
    assert read_config(found / "best")["checkpoint"] == str(found / str(best["trial"]))


def test_the_best_can_be_repeated(found: Path) -> None:
    best = best_of(found)
    for key, value in best["overrides"].items():
        assert f"{key}={value}" in best["command"].split()
    assert "search." not in best["command"] and "search=" not in best["command"]


def test_of_another_pruner_only_its_own_arguments_count() -> None:
    hyperband = "search.pruner._target_=optuna.pruners.HyperbandPruner"
    words = ["search=optuna", hyperband, "search.pruner.min_resource=2"]
    node = search_node(words, {"seed": "0,1"}, None)
    assert node["pruner"] == {"_target_": "optuna.pruners.HyperbandPruner", "min_resource": 2}
    read_search(node)


def test_the_summary_shows_history_and_importance(found: Path) -> None:
    page = (found / "summary.html").read_text()
    assert page.count("<svg") == 3 and "://" not in page
    assert {file.name for file in (found / "figures").iterdir()} == {
        "history.png", "importance.png",
    }  # fmt: skip
    assert f"trial {best_of(found)['trial']}" in page


def test_the_same_seed_makes_the_same_trials(found: Path, log_dir: Path) -> None:
    assert search(log_dir, *SMALL, "search.num_trials=3") == 0
    (folder,) = log_dir.glob("multirun/mlp-digits/*")
    for row, before in zip(rows_of(folder), rows_of(found), strict=False):
        assert {k: v for k, v in row.items() if k != "train_seconds"} == {
            k: v for k, v in before.items() if k != "train_seconds"
        }


@pytest.mark.filterwarnings("ignore:BruteForceSampler is experimental")
@pytest.mark.parametrize(
    "sampler", ["BruteForceSampler", "GridSampler search.sampler.search_space={seed:[0,1]}"]
)
def test_a_search_ends_when_no_values_are_left(sampler: str, log_dir: Path) -> None:
    words = ["seed=range(0,2)", "trainer.max_epochs=1", "trainer.limit_train_batches=2"]
    words += f"search.sampler._target_=optuna.samplers.{sampler}".split()
    assert search(log_dir, *words, "search.num_trials=5", "search.pruner=null") == 0
    (folder,) = log_dir.glob("multirun/*/*")
    assert sorted(row["seed"] for row in rows_of(folder)) == ["0", "1"]
    assert "test/acc" in best_of(folder)


@pytest.fixture
def copied(found: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(found, tmp_path / "copied"))


def test_a_search_can_be_asked_for_more_trials(copied: Path) -> None:
    before = rows_of(copied)
    assert main(["train", f"resume={copied}", "search.num_trials=7"]) == 0
    rows = rows_of(copied)
    assert rows[:6] == before and len(rows) == 7
    assert [row["optimizer.lr"] for row in rows] == list({row["optimizer.lr"]: 0 for row in rows})


def test_several_workers_know_of_more_trials_too(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is told as a process would be; starting one is tested below."""

    def work_here(message: str, number: int, lock: int | None) -> "subprocess.Popen[bytes]":
        assert worker.main(message) == 0
        return subprocess.Popen(["true"])

    monkeypatch.setattr(worker, "stop_with_parent", lambda parent: None)
    monkeypatch.setattr(searching, "start_worker", work_here)
    more = ["search.num_trials=8", "search.num_workers=2"]
    assert main(["train", f"resume={copied}", *more]) == 0
    assert len(rows_of(copied)) == 8


def test_resuming_takes_no_other_words(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", f"resume={copied}", "seed=3"]) == 1
    assert "seed=3 cannot be changed on resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"space": {"optimizer.lr": "interval(0.5, 1)"}}, "another space than its trials"),
        ({"space": {"seed": "0,1"}}, "another space than its trials"),
        ({"space": {"logger.wandb.project": "a,b"}}, "counts only as typed"),
        ({"space": {"optimizer.lr": 0.1}}, "is one value"),
        ({"space": "abc"}, "does not fit"),
        ({"num_trials": "abc"}, "does not fit"),
        ({"metric": "test/acc"}, "does not fit"),
        ({"sampler": "abc"}, "does not fit"),
    ],
)
def test_a_changed_search_is_a_mistake_that_says_what_to_try(
    changed: dict[str, Any], said: str, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = yaml.safe_load((copied / "search.yaml").read_text())
    plan["search"].update(changed)
    (copied / "search.yaml").write_text(yaml.safe_dump(plan))
    assert main(["train", f"resume={copied}"]) == 1
    error = capsys.readouterr().err
    assert said in error and "traceback=true" not in error


def test_words_that_name_a_folder_are_left_out_and_typing_brings_them_back(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = yaml.safe_load((copied / "search.yaml").read_text())
    word = f"data.cache_dir={tmp_path / 'elsewhere'}"
    plan["words"].append(word)
    (copied / "search.yaml").write_text(yaml.safe_dump(plan))
    assert main(["train", f"resume={copied}", "search.num_trials=7"]) == 0
    assert word in capsys.readouterr().err and not (tmp_path / "elsewhere").exists()
    assert main(["train", f"resume={copied}", "search.num_trials=8", word]) == 0
    assert (tmp_path / "elsewhere").is_dir()


def test_workers_find_the_users_own_network(
    tmp_path: Path, log_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "searched.py").write_text("from strided.models import MLP as _MLP\n\n"
                                                   "class Net(_MLP):\n    pass\n")  # fmt: skip
    (tmp_path / "mine" / "model" / "own.yaml").write_text("_target_: searched.Net\nhidden: [8]\n")
    monkeypatch.chdir(tmp_path)
    words = ["model=own", RATE, "search.num_trials=2", "search.num_workers=2", "search.pruner=null"]
    few = ["trainer.max_epochs=1", "trainer.limit_train_batches=2", "trust=[searched]"]
    assert search(log_dir, *words, *few, "--config-dir", "mine") == 0
    (folder,) = log_dir.glob("multirun/*/*")
    assert [row["state"] for row in rows_of(folder)] == ["finished", "finished"]


def test_a_space_in_yaml_gives_way_to_what_is_typed(tmp_path: Path, log_dir: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    space = {"optimizer.lr": RATE.partition("=")[2], "model.dropout": "interval(0, 0.5)"}
    (tmp_path / "mine" / "experiment" / "spaced.yaml").write_text(
        "# @package _global_\n" + yaml.safe_dump({"search": {"space": space, "num_trials": 1}})
    )
    words = ["experiment=spaced", "model.dropout=0.25", "trainer.max_epochs=1"]
    words += ["trainer.limit_train_batches=2", "search.pruner=null"]
    assert search(log_dir, *words, "--config-dir", str(tmp_path / "mine")) == 0
    (folder,) = log_dir.glob("multirun/*/*")
    assert len(rows_of(folder)) == 1
    config = read_config(folder / "0")
    assert config["model"]["dropout"] == 0.25 and config["optimizer"]["lr"] != 0.001
    assert "pruning" not in config["callbacks"]
    python, script, *again = shlex.split(best_of(folder)["command"])
    assert (python, script) == ("python", "src/train.py")
    assert main(["train", *again]) == 0
    (repeated,) = log_dir.glob("train/spaced/*")
    assert read_results(repeated)["best_val/acc"] == best_of(folder)["best_val/acc"]


@contextmanager
def started(log_dir: Path, tmp_path: Path) -> Iterator[tuple[ForkProcess, list[int], Path]]:
    """Start a search of 4 trials by two workers, in a process; go on once a trial has a checkpoint.

    Yields that process, its workers' numbers, and the search's folder.
    """
    words = ["trainer.max_epochs=8", "search.num_trials=4", "search.num_workers=2"]
    work = partial(search, log_dir, RATE, *words, "search.pruner=null")
    workers: list[int] = []
    with forked(work, tmp_path / "output") as driver:
        try:
            wait_for(log_dir, "multirun/*/*/*/checkpoints/last.ckpt")
            workers = workers_of(driver)
            (folder,) = log_dir.glob("multirun/*/*")
            yield driver, workers, folder
        finally:
            for pid in workers:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def wait_for(folder: Path, pattern: str) -> None:
    deadline = time.monotonic() + 120
    while not list(folder.glob(pattern)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def workers_of(driver: ForkProcess) -> list[int]:
    children = Path(f"/proc/{driver.pid}/task/{driver.pid}/children")
    if not children.is_file():
        pytest.skip("the workers are found in /proc")
    return [int(pid) for pid in children.read_text().split()]


def wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def assert_nothing_is_lost(folder: Path) -> None:
    """Every trial is there, trained once, and the best of them was found."""
    rows = rows_of(folder)
    assert [row["job"] for row in rows] == list("0123")
    assert {row["state"] for row in rows} == {"finished"}
    for row in rows:
        assert len((folder / row["job"] / "metrics.csv").read_text().splitlines()) == 1 + 8
        assert (folder / row["job"] / "run.log").read_text().count("\nepoch 7/7 ") == 1
    assert best_of(folder)["best_val/acc"] == max(float(row["best_val/acc"]) for row in rows)


def test_a_search_that_was_killed_goes_on(
    log_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with started(log_dir, tmp_path) as (driver, workers, folder):
        assert len(workers) == 2
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)  # or it ends a second after its driver
        driver.kill()
        driver.join()
        assert main(["train", f"resume={folder}"]) == 1  # its workers are still there
        assert "another process is at work" in capsys.readouterr().err
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
            wait_for_end(pid)
        assert main(["train", f"resume={folder}", "search.num_workers=1"]) == 0
    assert_nothing_is_lost(folder)


def test_a_worker_that_dies_does_not_end_the_search_but_sigterm_does(
    log_dir: Path, tmp_path: Path
) -> None:
    with started(log_dir, tmp_path) as (driver, workers, folder):
        os.kill(workers[0], signal.SIGKILL)
        wait_for(folder, "2/checkpoints/last.ckpt")  # of the other worker
        driver.terminate()
        driver.join(60)
        assert driver.exitcode == 143
    said = (tmp_path / "output").read_text()
    assert f"to go on with the whole search: resume={folder}" in said
    states = [row["state"] for row in rows_of(folder)]
    assert states.count("killed") == 1 and "interrupted" in states
    assert not (folder / "best.json").exists()
    assert main(["train", f"resume={folder}", "search.num_workers=1"]) == 0
    assert_nothing_is_lost(folder)


def test_a_search_whose_workers_all_died_is_a_failure(
    copied: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os; os._exit(9)")  # as if out of memory
    monkeypatch.syspath_prepend(str(tmp_path))
    more = ["search.num_trials=7", "search.num_workers=2"]
    assert main(["train", f"resume={copied}", *more]) == 1
    error = capsys.readouterr().err
    assert "a worker died" in error and "1 of 7 trials are left" in error


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "nothing to search"),
        ([RATE, "search.metric=test/acc"], "expected best_val/acc, best_val/loss"),
        ([RATE, "search.direction=minimize"], "would take the worst for the best"),
        ([RATE, "search.metric=best_val/loss", "search.direction=minimize"],
         "Try callbacks.checkpoint.monitor=val/loss callbacks.checkpoint.mode=min"),
        ([RATE, "search.sampler.n_startup=3"], "Did you mean n_startup_trials?"),
        ([RATE, "search.sampler._target_=optuna.samplers.TPE"], "has no TPE"),
        ([RATE, "search.sampler._target_=optuna.samplers.GridSampler"], "refused its arguments"),
        ([RATE, "search.pruner._target_=os.system"], "is not allowed"),
        ([RATE, "search.num_trials=0"], "search.num_trials=0; expected 1 or more"),
        ([RATE, "search.num_trials=many"], "expected a whole number"),
        ([RATE, "search.num_workers=1,2"], "keys of search= are not searched"),
        (["optimizer.lr=interval(1,0)"], "cannot be searched"),
        (["optimizer.lr=tag(log,interval(0,1))"], "cannot be searched"),
        (["optimizer.lr=tag(lgo,interval(0,1))"], "has the tag lgo"),
        (["optimizer.rl=interval(0,1)"], "optimizer.rl is not an argument"),
        (["model=mlp,lenet9", RATE], "Did you mean lenet5?"),
        ([RATE, "-m"], "exclude each other"),
        ([RATE, "hydra/launcher=joblib"], "Hydra's own keys are for sweeps"),
        ([RATE, "callbacks.checkpoint=null"], "best.ckpt is not chosen by val/acc"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_before_the_first_trial(
    words: list[str], expected: str, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(log_dir, *words) == 1
    error = capsys.readouterr().err
    assert expected in error and len(error.splitlines()) <= 15
    assert not log_dir.exists()


def test_without_optuna_the_extra_is_named(
    log_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "strided.sweeps.search.study", raising=False)
    assert search(log_dir, RATE) == 1
    assert "pip install 'strided[sweep]'" in capsys.readouterr().err


def test_a_search_without_a_finished_trial_is_a_failure(
    log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(log_dir, RATE, "data.batch_size=0", "search.num_trials=2") == 1
    assert "none of the 2 trials was completed" in capsys.readouterr().err
    (folder,) = log_dir.glob("multirun/*/*")
    assert [row["state"] for row in rows_of(folder)] == ["failed", "failed"]
