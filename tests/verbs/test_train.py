import csv
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import yaml
from lightning.pytorch.callbacks import TQDMProgressBar
from PIL import Image
from tests.conftest import Train, files, with_splits

import strided
from strided.cli import main
from strided.evaluation.classifier import Prediction
from strided.training.callbacks.progress_bar import ProgressBar
from strided.training.trainer import build_trainer

FAST = ("model=mlp", "data.train_fraction=0.2", "data.batch_size=32")  # 8 batches an epoch
TIMING = ("epoch_seconds", "images_per_second")
TRUST = f"trust=[{__name__.partition('.')[0]}]"
MODELS = sorted(file.stem for file in (Path(__file__).parents[2] / "conf" / "model").glob("*.yaml"))
NAMES = {"torchvision": "model.name=mobilenet_v3_small", "timm": "model.name=test_resnet"}


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def untimed(folder: Path) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if k not in TIMING} for row in rows(folder)]


def results(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return loaded


def run_log(folder: Path) -> str:
    return (folder / "run.log").read_text()


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(
        folder / "checkpoints" / "last.ckpt", weights_only=True
    )["state_dict"]
    return state


def only_run(log_dir: Path) -> Path:
    (folder,) = log_dir.glob("train/*/*")
    return folder


def test_a_run_folder_is_complete_and_nothing_is_written_elsewhere(
    tmp_path: Path, log_dir: Path, run_train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    folder = run_train(*FAST, "trainer.max_epochs=2")
    assert files(folder) == {
        "config.yaml",
        "overrides.yaml",
        "checkpoints/best.ckpt",
        "checkpoints/previous.ckpt",
        "checkpoints/last.ckpt",
        "metrics.csv",
        "results.json",
        "predictions.csv",
        "report.html",
        *(f"figures/{name}.png" for name in ("loss", "accuracy", "confusion", "reliability")),
        *(f"figures/{name}.png" for name in ("misclassified", "least_certain", "samples")),
        "run.log",
    }
    assert folder.parent == log_dir / "train" / "mlp-digits"
    assert len(files(log_dir)) == len(files(folder))
    assert {entry.name for entry in tmp_path.iterdir()} == {"elsewhere", "logs"}
    assert not list(elsewhere.iterdir())


def test_results_have_the_keys_that_are_promised(trained_run: Path) -> None:
    found = results(trained_run)
    assert found["state"] == "finished" and "error" not in found
    low, high = found["test/acc_ci95"]
    assert 0 <= low < found["test/acc"] < high <= 1
    assert found["splits"] == {"train": 1150, "val": 288, "test": 359}
    assert found["classes"] == [str(digit) for digit in range(10)]
    assert found["parameters"] == {"total": 61_706, "trainable": 61_706}
    assert found["seed"] == 0 and found["command"][0].startswith("model=")
    assert found["train_seconds"] > 0 and found["images_per_second"] > 0
    for key in ("split_hash", "data_fingerprint"):
        assert isinstance(found[key], str) and len(found[key]) >= 16
    assert set(found["git"]) == {"commit", "dirty"} and "torch" in found["versions"]
    assert found["hardware"]["accelerator"] is None and found["hardware"]["cpu"]
    averages = {"f1", "precision", "recall", "specificity", "auroc"}
    overall = {"loss", "acc", "acc_top5", "ece", "nll", "brier", *averages}
    assert {f"test/{name}" for name in overall} <= found.keys()
    assert {f"test/{name}/{digit}" for name in averages for digit in range(10)} <= found.keys()


def test_metrics_csv_has_a_row_per_epoch(trained_run: Path) -> None:
    found = rows(trained_run)
    assert list(found[0])[:9] == [
        "epoch",
        "step",
        "lr",
        "train/loss",
        "train/acc",
        "val/loss",
        "val/acc",
        "epoch_seconds",
        "images_per_second",
    ]
    assert [(row["epoch"], row["step"]) for row in found] == [("0", "18"), ("1", "36")]
    assert float(found[1]["train/loss"]) < float(found[0]["train/loss"])
    assert all(0 <= float(row[key]) <= 1 for row in found for key in ("train/acc", "val/acc"))
    accuracies = [float(row["val/acc"]) for row in found]
    best = results(trained_run)
    assert best["best_val/acc"] == max(accuracies)
    assert best["best_epoch"] == accuracies.index(max(accuracies))


def test_config_and_overrides_repeat_the_run(run_train: Train) -> None:
    folder = run_train(*FAST, "data.split_seed=3")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["data"]["split_seed"] == 3 and config["model"]["hidden"] == [512, 256]
    typed = yaml.safe_load((folder / "overrides.yaml").read_text())
    assert "data.split_seed=3" in typed and typed == results(folder)["command"]
    again = strided.train(typed)
    assert again["test/loss"] == results(folder)["test/loss"]


def test_predictions_have_a_row_per_test_image(trained_run: Path) -> None:
    with (trained_run / "predictions.csv").open(newline="") as stream:
        found = list(csv.DictReader(stream))
    classes = results(trained_run)["classes"]
    assert list(found[0]) == [
        "path",
        "label",
        "predicted",
        "error",
        *(f"prob/{c}" for c in classes),
    ]
    assert len({row["path"] for row in found}) == 359
    right = sum(row["label"] == row["predicted"] for row in found)
    assert right / 359 == pytest.approx(results(trained_run)["test/acc"])


def test_fast_dev_run_keeps_no_checkpoint(run_train: Train) -> None:
    folder = run_train(*FAST, "debug=fast_dev_run")
    assert files(folder) == {"config.yaml", "overrides.yaml", "results.json", "run.log"}
    assert results(folder)["state"] == "finished"
    assert "test accuracy" in run_log(folder)


def test_overfit_drives_the_loss_to_nearly_nothing(log_dir: Path) -> None:
    strided.train(["debug=overfit", "model=mlp", "trainer.accelerator=cpu", f"log_dir={log_dir}"])
    found = rows(only_run(log_dir))
    assert float(found[-1]["train/loss"]) < 0.05 and len(found) == 50


def test_limit_trains_two_short_epochs(log_dir: Path) -> None:
    strided.train(["debug=limit", "trainer.accelerator=cpu", f"log_dir={log_dir}"])
    found = rows(only_run(log_dir))
    assert len(found) == 2 and 0 < int(found[-1]["step"]) < 18  # less than an epoch in all


def test_profiler_tells_where_the_time_went(
    log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strided.train(["debug=profiler", "trainer.accelerator=cpu", *FAST, f"log_dir={log_dir}"])
    assert "run_training_epoch" in run_log(only_run(log_dir)) + capsys.readouterr().out


def test_early_stopping_ends_a_run_that_does_not_improve(run_train: Train) -> None:
    folder = run_train(
        *FAST,
        "optimizer.lr=0",
        "trainer.max_epochs=9",
        "callbacks.early_stopping.patience=2",
    )
    assert len(rows(folder)) == 3 and results(folder)["best_epoch"] == 0


def test_without_checkpoints_nothing_is_tested_and_that_is_said(run_train: Train) -> None:
    folder = run_train(*FAST, "callbacks.checkpoint=null")
    assert "nothing was tested" in run_log(folder)
    assert not any(key.startswith("test/") for key in results(folder))
    assert results(folder)["state"] == "finished"
    assert not (folder / "checkpoints").exists() and (folder / "report.html").exists()


class Forgetting(pl.Callback):
    """Loses all that was learnt, before the fourth epoch is validated."""

    @torch.no_grad()
    def on_validation_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        if trainer.current_epoch == 3:
            for parameter in task.parameters():
                parameter.zero_()


def test_the_best_checkpoint_is_tested_not_the_last(run_train: Train) -> None:
    forgetting = (TRUST, f"+callbacks.forgetting._target_={__name__}.Forgetting")
    folder = run_train(*FAST, *forgetting, "trainer.max_epochs=4")
    found = results(folder)
    accuracies = [float(row["val/acc"]) for row in rows(folder)]
    assert found["best_epoch"] == accuracies.index(max(accuracies)) < 3
    assert found["test/acc"] > accuracies[-1] + 0.3


def test_the_lowest_loss_is_kept_when_that_is_the_monitor(run_train: Train) -> None:
    lowest = ("callbacks.checkpoint.monitor=val/loss", "callbacks.checkpoint.mode=min")
    # a rate at which the loss falls and rises again
    folder = run_train(*FAST, *lowest, "optimizer.lr=0.03", "trainer.max_epochs=6")
    losses = [float(row["val/loss"]) for row in rows(folder)]
    found = results(folder)
    assert found["best_epoch"] == losses.index(min(losses)) not in (0, 5)
    assert found["best_val/loss"] == pytest.approx(min(losses)) and "best_val/acc" not in found
    kept = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert kept["epoch"] == found["best_epoch"]


@pytest.mark.parametrize(
    ("precision", "dtype"), [("bf16-true", torch.bfloat16), ("64-true", torch.float64)]
)
def test_true_precisions_train_and_evaluate(
    precision: str, dtype: torch.dtype, run_train: Train, log_dir: Path
) -> None:
    words = ("model=lenet5", "data.train_fraction=0.2", f"trainer.precision={precision}")
    folder = run_train(*words, "optimizer.lr=0.01", "trainer.max_epochs=3")
    assert {value.dtype for value in weights(folder).values()} == {dtype}
    assert results(folder)["test/acc"] > 0.3 and torch.get_default_dtype() == torch.float32
    assert main(["eval", f"checkpoint={folder}", "accelerator=cpu", f"log_dir={log_dir}"]) == 0
    (evaluated,) = log_dir.glob("eval/*/*")
    same = pytest.approx(
        results(folder)["test/loss"], abs=0.02 if dtype is torch.bfloat16 else 1e-5
    )
    assert results(evaluated)["test/loss"] == same


def test_no_test_batches_means_no_test_and_that_is_said(run_train: Train) -> None:
    folder = run_train(*FAST, "trainer.limit_test_batches=0")
    found = results(folder)
    assert not any(key.startswith("test") for key in found) and found["state"] == "finished"
    assert "trainer.limit_test_batches=0: nothing was tested" in run_log(folder)
    assert "predictions.csv" not in files(folder)


def test_a_progress_bar_of_the_users_own_replaces_ours(run_train: Train, tmp_path: Path) -> None:
    node = {"_target_": "lightning.pytorch.Trainer", "accelerator": "cpu"}
    own = TQDMProgressBar()
    assert build_trainer(node, [own], tmp_path).progress_bar_callback is own
    assert isinstance(build_trainer(node, [], tmp_path).progress_bar_callback, ProgressBar)
    run_train(*FAST, "+callbacks.bar._target_=lightning.pytorch.callbacks.TQDMProgressBar")


def test_the_rate_does_not_count_checkpoints(
    run_train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = pl.Trainer.save_checkpoint

    def slowly(self: pl.Trainer, *words: Any, **options: Any) -> None:
        time.sleep(0.1)
        save(self, *words, **options)

    monkeypatch.setattr(pl.Trainer, "save_checkpoint", slowly)
    every = "callbacks.checkpoint.every_n_train_steps=1"
    row = rows(run_train(*FAST, every, "trainer.max_epochs=2"))[-1]
    overall = 230 / float(row["epoch_seconds"])
    assert float(row["images_per_second"]) / overall > 2


def test_class_and_file_names_may_be_odd(
    tmp_path: Path, log_dir: Path, run_train: Train, capfd: pytest.CaptureFixture[str]
) -> None:
    classes = ["$_$", 'a,"b"', "größe кот", "it's #1 = <b>&"]
    root = tmp_path / "odd, 'names'"
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for index in range(8):
            image = Image.new("RGB", (9, 9), (label * 60, index * 30, 100))
            image.save(root / name / f"{index}.png")
        with open(os.path.join(os.fsencode(root / name), b"caf\xe9.png"), "wb") as stream:
            Image.new("RGB", (9, 9), (label * 60, 255, 0)).save(stream, "PNG")
    data = (f"data.root={root}", "data.image_size=32", "data.test_fraction=0.5")
    folder = run_train("data=image_folder", *data)
    assert results(folder)["classes"] == sorted(classes)

    def parsed(file: Path) -> list[dict[str, str]]:
        with file.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
            return list(csv.DictReader(stream))

    predictions = parsed(folder / "predictions.csv")
    assert len(predictions) == results(folder)["splits"]["test"]
    for row in predictions:
        assert row["label"] in classes and row["predicted"] in classes
        assert (root / row["path"]).is_file() and row["path"].startswith(row["label"] + "/")
        assert sum(float(row[f"prob/{name}"]) for name in classes) == pytest.approx(1, abs=1e-5)
    words = [f"checkpoint={folder}", f"input={root}", "accelerator=cpu", f"log_dir={log_dir}"]
    assert main(["predict", *words]) == 0
    (predicted,) = log_dir.glob("predict/*/*")
    paths = {row["path"] for row in parsed(predicted / "predictions.csv")}
    assert len(paths) == 36 and all((root / path).is_file() for path in paths)
    assert any("\udce9" in path for path in paths)
    assert "Logging error" not in capfd.readouterr().err


def test_mixed_precision_trains_and_tests(run_train: Train) -> None:
    folder = run_train(*FAST, "trainer.precision=bf16-mixed", "trainer.max_epochs=3")
    assert results(folder)["test/acc"] > 0.5
    assert {value.dtype for value in weights(folder).values()} == {torch.float32}


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_run_leaves_a_checkpoint_for_uncompiled_use(
    run_train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    # few batches of one size: each graph takes the C++ compiler seconds
    words = (*FAST, "trainer.limit_train_batches=4", "trainer.limit_val_batches=1")
    compiled, plain = run_train(*words, "compile=true"), run_train(*words)
    assert weights(compiled).keys() == weights(plain).keys()
    assert results(compiled)["test/loss"] == pytest.approx(results(plain)["test/loss"], abs=1e-3)
    classifier = strided.load(str(compiled), device="cpu")
    assert isinstance(classifier(Image.new("L", (8, 8))), Prediction)


def test_gradient_clipping_bounds_the_step(run_train: Train) -> None:
    one_step = (
        *FAST,
        "optimizer=sgd",
        "optimizer.momentum=0",
        "optimizer.nesterov=false",
        "optimizer.weight_decay=0",
        "trainer.limit_train_batches=1",
    )
    start = weights(run_train(*one_step, "optimizer.lr=0"))
    end = weights(run_train(*one_step, "optimizer.lr=1", "trainer.gradient_clip_val=0.01"))
    moved = torch.stack([(end[key] - start[key]).norm() for key in start]).norm().item()
    assert moved == pytest.approx(0.01, rel=1e-3)


def test_a_diverging_run_fails_with_its_results_kept(
    log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*FAST, "data=digits", "trainer=cpu", "optimizer=sgd", "optimizer.lr=1e30"]
    assert main(["train", *words, f"log_dir={log_dir}"]) == 1
    folder = only_run(log_dir)
    found = results(folder)
    assert found["state"] == "failed" and "the training loss became" in found["error"]
    assert found["error"].splitlines()[0] in capsys.readouterr().err
    assert found["splits"]["train"] == 230 and len(rows(folder)) == 1
    assert "Traceback" in run_log(folder)
    assert "report.html" not in files(folder)


def test_a_run_that_fails_before_training_leaves_its_results_too(
    image_folder: Path, log_dir: Path
) -> None:
    (image_folder / "red" / "broken.png").write_bytes(b"not an image")
    words = ["data=image_folder", f"data.root={image_folder}", f"log_dir={log_dir}"]
    assert main(["train", *words]) == 1
    found = results(only_run(log_dir))
    assert found["state"] == "failed" and "red/broken.png" in found["error"]


def test_the_same_command_gives_the_same_numbers(run_train: Train) -> None:
    words = (*FAST, "model.dropout=0.3", "augment=strong", "trainer.max_epochs=2")
    torch.manual_seed(5)  # whatever state the generators are in when a run starts
    first = run_train(*words)
    torch.manual_seed(6)
    second = run_train(*words, "seed=0")
    assert untimed(first) == untimed(second)
    one, two = weights(first), weights(second)
    assert all(torch.equal(one[key], two[key]) for key in one)
    kept = [key for key in results(first) if key.startswith("test/")]
    assert {k: results(first)[k] for k in kept} == {k: results(second)[k] for k in kept}

    other = run_train(*words, "seed=1")
    assert untimed(other)[0]["train/loss"] != untimed(first)[0]["train/loss"]
    assert results(other)["split_hash"] == results(first)["split_hash"]
    assert (results(first)["seed"], results(other)["seed"]) == (0, 1)


def test_split_seed_alone_decides_the_split(run_train: Train) -> None:
    quick = (*FAST, "debug=fast_dev_run")
    base = results(run_train(*quick))["split_hash"]
    others = ("model=lenet5", "data.batch_size=16", "seed=7", "augment=strong")
    assert results(run_train(*quick, *others))["split_hash"] == base
    assert results(run_train(*quick, "data.split_seed=1"))["split_hash"] != base


@pytest.mark.parametrize("data", ["digits", "synthetic"])
@pytest.mark.parametrize("model", MODELS)
def test_every_model_trains_a_step(model: str, data: str, run_train: Train) -> None:
    words = [f"model={model}", *([NAMES[model]] if model in NAMES else [])]
    folder = run_train(*words, f"data={data}", "data.batch_size=4", "debug=fast_dev_run")
    found = results(folder)
    assert found["preprocessing"]["channels"] == (1 if data == "digits" else 3)
    assert found["state"] == "finished" and 0 <= found["test/acc"] <= 1


def test_a_folder_without_a_test_split_is_not_tested(image_folder: Path, run_train: Train) -> None:
    root = with_splits(image_folder, "train", "val")
    folder = run_train(
        "data=image_folder", f"data.root={root}", "data.image_size=32", "data.batch_size=8"
    )
    found = results(folder)
    assert found["splits"] == {"train": 24, "val": 24} and found["state"] == "finished"
    assert not any(key.startswith("test/") for key in found)
    assert "no test split: nothing was tested" in run_log(folder)
    assert (
        "predictions.csv" not in files(folder)
        and "Nothing was tested" in (folder / "report.html").read_text()
    )


def test_broken_images_are_skipped_on_demand_and_counted(
    image_folder: Path, run_train: Train
) -> None:
    (image_folder / "red" / "broken.png").write_bytes(b"not an image")
    whole = (image_folder / "blue" / "0.jpg").read_bytes()
    (image_folder / "blue" / "half.jpg").write_bytes(whole[: len(whole) // 2])
    folder = run_train(
        "data=image_folder",
        f"data.root={image_folder}",
        "data.image_size=32",
        "data.on_error=skip",
    )
    assert results(folder)["skipped"] == 2
    assert sum(results(folder)["splits"].values()) == 24
    assert "2 of 26 images cannot be read" in run_log(folder)


def test_images_in_two_splits_are_reported(image_folder: Path, run_train: Train) -> None:
    root = with_splits(image_folder, "train", "val", "test")
    shutil.copy(root / "train" / "red" / "0.png", root / "test" / "red" / "copy.png")
    folder = run_train("data=image_folder", f"data.root={root}", "data.image_size=32")
    assert results(folder)["duplicates"] == 1
    assert "pixels of one in another split" in run_log(folder)
    assert "test/red/copy.png = train/red/0.png" in run_log(folder) or (
        "train/red/0.png = test/red/copy.png" in run_log(folder)
    )


def test_a_grey_folder_trains_a_network_of_one_channel(
    image_folder: Path, run_train: Train
) -> None:
    for file in image_folder.rglob("*.*"):
        Image.open(file).convert("L").save(file)
    folder = run_train("data=image_folder", f"data.root={image_folder}", "data.image_size=32")
    assert results(folder)["preprocessing"]["channels"] == 1
    assert results(folder)["parameters"]["total"] < 61_706  # 3 classes rather than 10
    assert "the images are grey" in run_log(folder)


def test_the_rate_of_an_epoch_waits_for_its_last_batch(
    run_train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[torch.device] = []

    def wait(device: torch.device) -> None:  # as for a GPU that is behind
        waits.append(device)
        time.sleep(0.5)

    monkeypatch.setattr("strided.training.callbacks.epoch_recorder.synchronise", wait)
    folder = run_train(*FAST, "trainer.max_epochs=2", "trainer.limit_train_batches=3")
    rates = [float(row["images_per_second"]) for row in rows(folder)]
    assert len(waits) == 2 and max(rates) < 3 * 32 / 0.5
