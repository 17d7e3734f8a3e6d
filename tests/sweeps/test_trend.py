"""An experiment that is a sweep: its jobs, its figure, and the reading of it."""

import csv
from pathlib import Path

import pytest

from strided.cli import main
from strided.config.yaml_files import CONF_DIR
from strided.errors import UserError
from strided.sweeps.axes import Sweep
from strided.sweeps.sweep import sweep_of
from strided.sweeps.trend import reading, section

pytestmark = pytest.mark.usefixtures("blank_figures")

EXPERIMENT = """# @package _global_
defaults:
  - override /data: digits
trainer:
  max_epochs: 1
sweep:
  over:
    data.train_fraction: [0.2, 0.4]
    model: [mlp, lenet5]
    seed: [0, 1]
  x: data.train_fraction
  lines: model
"""


@pytest.fixture
def config_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "conf"
    (folder / "experiment").mkdir(parents=True)
    (folder / "experiment" / "sizes.yaml").write_text(EXPERIMENT)
    return folder


def test_an_experiment_runs_its_sweep_and_draws_it(config_dir: Path, log_dir: Path) -> None:
    words = ["experiment=sizes", "seed=3", "trainer=cpu", f"log_dir={log_dir}"]
    assert main(["train", *words, "--config-dir", str(config_dir)]) == 0
    (folder,) = log_dir.glob("multirun/sizes/*")
    with (folder / "summary.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 4  # the seed that was typed takes the place of the sweep's
    assert {row["seed"] for row in rows} == {"3"}
    assert {(row["data.train_fraction"], row["model"]) for row in rows} == {
        (fraction, model) for fraction in ("0.2", "0.4") for model in ("mlp", "lenet5")
    }
    assert (folder / "figures" / "trend.png").is_file()
    page = (folder / "summary.html").read_text()
    assert "<svg" in page
    assert "data.train_fraction=0.2: " in page
    (folder / "figures" / "trend.png").unlink()
    assert main(["train", f"resume={folder}", "--config-dir", str(config_dir)]) == 0
    assert (folder / "figures" / "trend.png").is_file()


@pytest.mark.parametrize(
    "words",
    [
        ("-m", "experiment=sizes,lenet5_mnist", "seed=0"),
        ("-m", "experiment=glob(siz*)", "seed=0"),
        ("search=optuna", "experiment=sizes", "optimizer.lr=0.1,0.2", "seed=0"),
    ],
)
def test_an_experiment_of_many_runs_is_not_one_of_several(
    words: tuple[str, ...], config_dir: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", *words, f"log_dir={log_dir}", "--config-dir", str(config_dir)]
    assert main(command) == 1
    said = capsys.readouterr().err
    assert "experiment=sizes is many runs by itself, over data.train_fraction, model, and" in said
    assert not log_dir.exists() or not any(log_dir.iterdir())


def test_a_reading_claims_no_difference_where_repeats_overlap() -> None:
    sweep = Sweep({"size": [1, 2], "model": ["a", "b"], "seed": [0, 1]}, "size", "model")
    accuracy = {
        ("a", "1"): [0.5, 0.6],
        ("b", "1"): [0.7, 0.8],
        ("a", "2"): [0.8, 0.9],
        ("b", "2"): [0.7, 0.85],
    }
    first, second = reading(sweep, accuracy, {key: [3.0] for key in accuracy})
    assert first == (
        "size=1: b 75.0% (70.0% to 80.0%, 3 s), a 55.0% (50.0% to 60.0%, 3 s). "
        "Every repeat of b is above all of a, as in 1 of 3 cases where two are alike."
    )
    assert "overlap: no difference is shown" in second
    (alone,) = reading(sweep, {("a", "1"): [0.5], ("b", "1"): [0.7]}, {})
    assert "Without repeats" in alone and "b 70.0% (nan s)" in alone
    switch = Sweep({"size": [1], "shortcut": [True, False]}, "size", "shortcut")
    (told,) = reading(switch, {("True", "1"): [0.7], ("False", "1"): [0.5]}, {})
    assert "shortcut=True 70.0%" in told


@pytest.mark.parametrize(
    "node",
    [
        {"over": {"seed": [0, 1]}, "x": "sed", "lines": "seed"},
        {"over": {}, "y": "seed"},
        {"over": {"seed": [0, 1]}, "x": "seed"},
        {"over": 5, "x": "seed", "lines": "seed"},
        {"over": {"seed": 3}, "x": "seed", "lines": "seed"},
        {"over": {"seed": []}, "x": "seed", "lines": "seed"},
    ],
)
def test_a_sweep_that_makes_no_sense_is_refused(node: dict[str, object]) -> None:
    with pytest.raises(UserError, match="expected"):
        Sweep.of(node)


def test_a_sweep_needs_no_figure(tmp_path: Path) -> None:
    sweep = Sweep.of({"over": {"data.fold": [0, 1]}})
    assert Sweep.of(vars(sweep)) == sweep  # as a resume reads it
    assert section(tmp_path, sweep, []) == "" and not any(tmp_path.iterdir())


@pytest.mark.parametrize("file", sorted((CONF_DIR / "experiment").glob("*.yaml")), ids=str)
def test_sweeps_of_the_experiments_that_come_along_can_be_read(file: Path) -> None:
    sweep = sweep_of("train", [f"experiment={file.stem}"], None)
    assert (sweep is not None) == ("sweep:" in file.read_text())


def test_what_is_typed_of_a_sweep_counts(config_dir: Path) -> None:
    words = ["experiment=sizes", "sweep.over.seed=[4,null]"]
    sweep = sweep_of("train", words, config_dir)
    assert sweep is not None
    assert sweep.words([])[-1] == "seed=4,null"
    assert sweep_of("train", ["experiment=sizes", "sweep=null"], config_dir) is None
