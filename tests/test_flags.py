"""Hydra's own flags: what they show, where composing begins, and what is refused."""

import shutil
from pathlib import Path

import pytest
import yaml

import strided
from strided.cli import main
from strided.config.compose import compose
from strided.config.primary import Primary, beginning_with
from strided.config.yaml_files import CONF_DIR
from strided.runs.folder import read_config, read_results

Capture = pytest.CaptureFixture[str]


def shown(capsys: Capture, *words: str) -> str:
    assert main(words) == 0
    return capsys.readouterr().out


def refused(capsys: Capture, *words: str) -> str:
    assert main(words) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "shows where this came from" not in said
    return said


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder with a primary config of the user's."""
    text = "defaults: [train, _self_, override model: mlp_small]\noptimizer: {lr: 0.5}\n"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "mine.yaml").write_text(text)
    return tmp_path / "mine"


def test_cfg_shows_references_and_resolve_their_values(capsys: Capture) -> None:
    words = ("train", "augment=standard", "--cfg", "job", "--package", "augment")
    text = shown(capsys, *words)
    assert text.startswith("# @package augment\n")
    assert yaml.safe_load(text)["horizontal_flip"] == "${data.horizontal_flip}"
    assert yaml.safe_load(shown(capsys, *words, "--resolve"))["horizontal_flip"] is False


def test_cfg_shows_the_job_hydra_or_all(capsys: Capture) -> None:
    job, own, whole = (
        yaml.safe_load(shown(capsys, "train", "-c", kind, "--resolve"))
        for kind in ("job", "hydra", "all")
    )
    assert list(own) == ["hydra"] and own["hydra"]["job"]["config_name"] == "train"
    assert whole == {**job, "hydra": whole["hydra"]}
    assert shown(capsys, "train", "--cfg", "job", "-p", "optimizer.lr") == "0.001\n"


def test_cfg_shows_what_is_still_missing(capsys: Capture) -> None:
    assert yaml.safe_load(shown(capsys, "eval", "--cfg", "job"))["checkpoint"] == "???"


def test_cfg_refuses_what_a_run_would_refuse(capsys: Capture) -> None:
    for word in ("trainer.max_epoch=3", "scheduler.max_lr=1", "data.val_fraction=half"):
        refused(capsys, "train", word, "--cfg", "job")
    gone = ("scheduler=one_cycle", "~optimizer.lr")
    assert "scheduler.max_lr refers to" in refused(capsys, "train", *gone, "--cfg", "job")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--info"], "BasicLauncher"),
        (["-i", "plugins"], "BashCompletion"),
        (["--info", "searchpath"], str(CONF_DIR)),
        (["--info", "defaults"], "model/mlp "),
        (["--info", "defaults-tree"], "model: mlp"),
        (["--info", "config"], "strided.models.MLP"),
        (["--version"], strided.__version__),
        (["--hydra-help"], "log_dir= and name= take the place"),
    ],
)
def test_hydra_tells_about_itself(flags: list[str], says: str, capsys: Capture) -> None:
    assert says in shown(capsys, "train", "model=mlp", *flags)


@pytest.mark.parametrize("flag", ["--version", "--hydra-help"])
def test_these_need_no_verb(flag: str, capsys: Capture) -> None:
    assert "Hydra" in shown(capsys, flag)


REFUSED = {
    "--experimental-rerun config.pickle": "resume=<run folder>",
    "--resolve": "Try --cfg job",
    "--package model": "Try --cfg job",
    "--cfg job --info": "exclude each other",
    "--run --multirun": "exclude each other",
    "--cfg job --package optimzer": "Did you mean optimizer?",
    "--config-name mine": "--config-dir",
    "--config-name eval": "strided eval",
    "--config-name ../conf/train": "expected one whose defaults are [train, _self_]",
    "--config-path nowhere": "not a folder",
    "hydra.run.dir=x": "log_dir=<folder>",
    "hydra.output_subdir=x": "config.yaml",
    "hydra.verbose=true": "traceback=true",
    "hydra/launcher=joblib": "-m",
    "hydra.mode=MULTIRUN": "-m",
    "-m seed=0,1 hydra.sweep.dir=x": "log_dir=<folder>",
    "-m seed=0,1 hydra.job.chdir=true": "full paths",
    "-m seed=0,1 hydra.searchpath=[/x]": "--config-dir",
    "-m +hydra.sweeper.params.seed=0": "key=1,2",
    "-m seed=0,1 hydra/sweeper=ax": "search=optuna",
    "-m seed=0,1 hydra/launcher=joblib": "pip install hydra-joblib-launcher",
    "-m seed=0,1 hydra/launcher=submitit_slurm": "pip install hydra-submitit-launcher",
    "-m seed=0,1 hydra/launcher=subitit_slurm": "Did you mean submitit_slurm?",
    "~seed": "seed=<value>",
    "~logger": "~logger.<key>",
    "~callbacks.early_stoping": "early_stoping",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_strided_does_otherwise_is_said(words: str, log_dir: Path, capsys: Capture) -> None:
    said = refused(capsys, "train", f"log_dir={log_dir}", *words.split())
    assert REFUSED[words] in said
    assert "Try" in said or "Did you mean" in said
    assert not log_dir.exists()


def test_run_is_what_happens_anyway(log_dir: Path) -> None:
    assert main(["train", "-r", "debug=fast_dev_run", "trainer=cpu", f"log_dir={log_dir}"]) == 0
    assert list(log_dir.glob("train/lenet5-digits/*/results.json"))


@pytest.mark.parametrize("word", ["~experiment", "~debug", "experiment=null"])
def test_what_is_off_may_be_taken_away(word: str) -> None:
    assert strided.compose("train", [word]) == strided.compose("train")


def test_a_callback_may_be_taken_away() -> None:
    before = strided.compose("train")["callbacks"]
    after = strided.compose("train", ["~callbacks.early_stopping"])["callbacks"]
    assert after == {key: before[key] for key in before if key != "early_stopping"}


def test_a_shown_config_runs_again(tmp_path: Path, log_dir: Path, capsys: Capture) -> None:
    words = ["model=mlp_small", "augment=standard", "trainer=cpu", "debug=fast_dev_run"]
    text = shown(capsys, "train", *words, "--cfg", "job", "--resolve")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "again.yaml").write_text(text)
    flags = ["--config-dir", str(tmp_path / "mine"), "--config-name", "again"]
    with beginning_with(Primary("again")):
        again = compose(extra=tmp_path / "mine")
    assert again == strided.compose("train", words)
    assert main(["train", *flags, f"log_dir={log_dir}"]) == 0
    (folder,) = log_dir.glob("train/again/*")
    assert read_config(folder)["model"]["_target_"] == "strided.models.MLP"


def test_a_config_of_the_users_is_a_sweep(mine: Path, log_dir: Path) -> None:
    flags = ["-m", "-cd", str(mine), "-cn", "mine", f"log_dir={log_dir}"]
    assert main(["train", *flags, "debug=fast_dev_run", "trainer=cpu", "seed=3,4"]) == 0
    found = sorted(log_dir.glob("multirun/mlp_small-digits/*/[01]"))
    assert [read_config(job)["seed"] for job in found] == [3, 4]
    assert {read_config(job)["optimizer"]["lr"] for job in found} == {0.5}


@pytest.mark.slow  # sweeps/search/test_search.py starts workers in a folder of the user's
def test_the_workers_of_a_search_begin_there_too(mine: Path, log_dir: Path) -> None:
    words = ["search=optuna", "search.num_trials=2", "search.num_workers=2", "search.pruner=null"]
    words += ["model.dropout=interval(0,0.5)", "trainer=cpu", "trainer.max_epochs=1"]
    words += ["trainer.limit_train_batches=2"]
    flags = ["--config-dir", str(mine), "--config-name", "mine.yaml", f"log_dir={log_dir}"]
    assert main(["train", *flags, *words]) == 0
    (folder,) = log_dir.glob("multirun/*/*")
    for job in (folder / "0", folder / "1"):
        assert read_results(job)["state"] == "finished"
        assert read_config(job)["optimizer"]["lr"] == 0.5
    assert "--config-name mine.yaml" in (folder / "best.json").read_text()


def test_another_folder_takes_the_place_of_conf(tmp_path: Path, capsys: Capture) -> None:
    copy = shutil.copytree(CONF_DIR, tmp_path / "conf")
    (copy / "optimizer" / "adam.yaml").write_text("_target_: torch.optim.Adam\nlr: 0.25\n")
    (copy / "model" / "tiny.yaml").write_text("_target_: strided.models.MLP\nhidden: [8]\n")
    words = ("train", "-cp", str(copy), "model=tiny", "--cfg", "job")
    config = yaml.safe_load(shown(capsys, *words))
    assert config["optimizer"]["lr"] == 0.25 and config["model"]["hidden"] == [8]
    assert "tiny" in shown(capsys, "train", "-cp", str(copy), "--help")


def test_a_config_that_lacks_keys_is_refused(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "half.yaml").write_text("defaults: [_self_, model: mlp]\nseed: 1\n")
    said = refused(capsys, "train", "-cd", str(tmp_path), "-cn", "half", "--cfg", "job")
    assert "lacks name" in said and "[train, _self_]" in said


def test_a_group_that_a_config_switched_on_may_be_switched_off(mine: Path) -> None:
    text = "defaults: [train, _self_, override debug: limit]\n"
    (mine / "mine.yaml").write_text(text)
    with beginning_with(Primary("mine")):
        on = compose(extra=mine)
        off = [compose(overrides=[word], extra=mine) for word in ("~debug", "debug=null")]
    assert on != strided.compose() and off == [strided.compose()] * 2
