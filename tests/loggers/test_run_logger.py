import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from strided import compose
from strided.cli import main
from strided.loggers import StartedRun
from strided.loggers.run_logger import flat, summary

pytestmark = pytest.mark.usefixtures("blank_figures")

Train = Callable[..., Path]
QUICK = ("model=mlp", "data.train_fraction=0.2", "trainer=cpu", "trainer.max_epochs=1")


def started(folder: str) -> StartedRun:
    return StartedRun(Path(folder), {"name": "mlp-digits"}, None, nn.Identity())


def test_a_run_is_called_after_its_folder_and_a_job_after_its_sweep_too() -> None:
    run = started("logs/train/mlp-digits/2026-01-31_12-00-00")
    assert (run.name, run.sweep) == ("mlp-digits/2026-01-31_12-00-00", None)
    job = started("logs/multirun/mlp-digits+lenet5-digits/2026-01-31_12-00-00/3")
    assert job.sweep == "mlp-digits+lenet5-digits/2026-01-31_12-00-00"
    assert job.name == "mlp-digits/2026-01-31_12-00-00/3"


def test_a_summary_has_the_numbers_of_the_run_but_none_of_single_classes() -> None:
    results: Any = {
        "test/acc": 0.5, "test/acc_ci95": [0.4, 0.6], "test/auroc": None, "test/f1/cat": 0.1,
        "best_val/acc": 0.7, "train_seconds": 3.2, "seed": 0,
    }  # fmt: skip
    assert summary(results) == {"test/acc": 0.5, "best_val/acc": 0.7, "train_seconds": 3.2}


def test_a_flat_config_says_all_that_the_nested_one_says() -> None:
    config = {"seed": 0, "tags": ["a", "b"], "model": {"width": 2.5, "weights": None}}
    assert flat(config) == {
        "seed": 0, "tags": "['a', 'b']", "model.width": 2.5, "model.weights": "None",
    }  # fmt: skip


def test_several_loggers_compose() -> None:
    config = compose("train", ["logger=[csv,wandb,tensorboard,mlflow]"])
    assert list(config["logger"]) == ["wandb", "tensorboard", "mlflow"]


@pytest.mark.parametrize("package", ["mlflow", "tensorboard"])
def test_a_missing_package_is_named_with_its_extra_before_any_image_is_read(
    package: str, log_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    words = (*QUICK, f"logger={package}", f"data.cache_dir={log_dir / 'cache'}")
    assert main(["train", *words, f"log_dir={log_dir}"]) == 1
    error = capsys.readouterr().err
    assert f"pip install 'strided[{package}]'" in error and len(error.splitlines()) <= 3
    assert not (log_dir / "cache").exists()


def test_a_callback_that_needs_a_logger_says_so_before_any_image_is_read(
    log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monitor = "callbacks.rate._target_=lightning.pytorch.callbacks.LearningRateMonitor"
    words = (*QUICK, monitor, f"data.cache_dir={log_dir / 'cache'}", f"log_dir={log_dir}")
    assert main(["train", *words]) == 1
    error = capsys.readouterr().err
    assert "LearningRateMonitor" in error and "Try logger=tensorboard" in error
    assert not (log_dir / "cache").exists()
    assert main(["train", *words, "debug=fast_dev_run"]) == 0


def test_csv_adds_nothing(run_train: Train) -> None:
    folder = run_train(*QUICK, "logger=csv")
    assert (folder / "metrics.csv").exists()
    assert not [
        name for name in ("wandb", "tensorboard", "mlflow.yaml") if (folder / name).exists()
    ]
