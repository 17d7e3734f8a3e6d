import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from strided.cli import main
from strided.runs.folder import read_results

FAST = ("model=mlp", "data.train_fraction=0.2", "data.batch_size=32", "logger=tensorboard")

Train = Callable[..., Path]


def read_back(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return events


def test_scalars_config_figures_and_hyperparameters_are_in_the_event_files(
    run_train: Train,
) -> None:
    monitor = "callbacks.rate._target_=lightning.pytorch.callbacks.LearningRateMonitor"
    each_step = ("callbacks.rate.logging_interval=step", "trainer.log_every_n_steps=1")
    folder = run_train(*FAST, "trainer.max_epochs=2", monitor, *each_step)
    events = read_back(folder)
    with (folder / "metrics.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for name in ("lr", "train/loss", "val/acc", "epoch_seconds", "images_per_second"):
        logged = [(event.step, event.value) for event in events.Scalars(name)]
        assert logged == [(int(row["step"]), pytest.approx(float(row[name]))) for row in rows]
    results = read_results(folder)
    (tested,) = {event.value for event in events.Scalars("test/acc")}
    assert tested == pytest.approx(results["test/acc"])
    assert len(events.Scalars("lr-Adam/pg1")) == int(rows[-1]["step"]), "one for each step"

    (text,) = events.Tensors("config/text_summary")
    config = yaml.safe_load(text.tensor_proto.string_val[0].decode().strip("`\n"))
    assert config.pop("git_commit") == results["git"]["commit"]
    assert config == yaml.safe_load((folder / "config.yaml").read_text())
    for figure in ("confusion", "loss", "misclassified"):
        (image,) = events.Images(figure)
        shown = np.asarray(Image.open(io.BytesIO(image.encoded_image_string)))
        assert (
            shown == np.asarray(Image.open(folder / f"figures/{figure}.png").convert("RGB"))
        ).all()

    parameters = session_start(events)
    assert parameters["optimizer.lr"].number_value == 0.001
    assert parameters["model._target_"].string_value == "strided.models.MLP"


def session_start(events: EventAccumulator) -> Any:
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    return HParamsPluginData.FromString(content).session_start_info.hparams


def test_a_resumed_run_goes_on_with_the_same_curves(run_train: Train) -> None:
    folder = run_train(*FAST)
    assert main(["train", f"resume={folder}", "trainer.max_epochs=2"]) == 0
    assert [event.value for event in read_back(folder).Scalars("epoch")] == [0, 1]


def test_a_disk_that_refuses_does_not_stop_a_run(run_train: Train, log_dir: Path) -> None:
    folder = run_train(*FAST)
    for file in (folder / "tensorboard").iterdir():
        file.unlink()
    (folder / "tensorboard").rmdir()
    (folder / "tensorboard").write_text("a file where the folder should be")
    assert main(["train", f"resume={folder}", "trainer.max_epochs=2"]) == 0
    assert (folder / "run.log").read_text().count("TensorBoard did not start") == 1
    assert read_results(folder)["state"] == "finished"
