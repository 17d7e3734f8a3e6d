"""A run of train: the folder it leaves, what it tests, and that it can be repeated."""

import csv
import os
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
import yaml
from PIL import Image
from tests.conftest import Train, files
from tests.reading import only_run, results, rows, run_log, weights

import strided
from strided.cli import main
from strided.config.yaml_files import CONF_DIR

FAST = ("model=mlp", "data.train_fraction=0.2", "data.batch_size=32")  # 8 batches an epoch
TIMING = ("epoch_seconds", "images_per_second")
TRUST = f"trust=[{__name__.partition('.')[0]}]"
MODELS = sorted(file.stem for file in (CONF_DIR / "model").glob("*.yaml"))
NAMES = {"torchvision": "model.name=mobilenet_v3_small", "timm": "model.name=test_resnet"}


def untimed(folder: Path) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if k not in TIMING} for row in rows(folder)]


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
        "checkpoints/seen.npy",
        "metrics.csv",
        "results.json",
        "predictions.csv",
        "val_predictions.csv",
        "report.html",
        "card.md",
        *(f"figures/{name}.png" for name in ("loss", "accuracy", "confusion", "reliability")),
        *("figures/ranking.png", "figures/risk_coverage.png"),
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
    assert found["hardware"]["gpu"] is None and "gpu_use" not in found
    averages = {"f1", "precision", "recall", "specificity", "npv", "auroc", "auprc"}
    overall = {"loss", "acc", "balanced_acc", "acc_top5", "ece", "nll", "brier", *averages}
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
        "prediction_set",
        "entropy",
    ]
    assert len({row["path"] for row in found}) == 359
    right = sum(row["label"] == row["predicted"] for row in found)
    assert right / 359 == pytest.approx(results(trained_run)["test/acc"])


def test_fast_dev_run_keeps_no_checkpoint(run_train: Train) -> None:
    folder = run_train(*FAST, "debug=fast_dev_run")
    assert files(folder) == {"config.yaml", "overrides.yaml", "results.json", "run.log"}
    assert results(folder)["state"] == "finished"
    assert "test accuracy" in run_log(folder)


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


def test_no_test_batches_means_no_test_and_that_is_said(run_train: Train) -> None:
    folder = run_train(*FAST, "trainer.limit_test_batches=0")
    found = results(folder)
    assert not any(key.startswith("test") for key in found) and found["state"] == "finished"
    assert "trainer.limit_test_batches=0: nothing was tested" in run_log(folder)
    assert "predictions.csv" not in files(folder)


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


# seconds a step; on digits they have nothing that the smaller ones of their family have not
LARGE = ("resnet152", "vgg16", "vgg16_bn", "vgg19", "inception_v3")
# as a smaller one of their family, but for depth and width
LIKE_OTHERS = ("resnet152", "efficientnet_lite1", "efficientnet_lite2")


@pytest.mark.parametrize(
    ("model", "data"),
    [
        pytest.param(
            model,
            data,
            marks=[pytest.mark.slow]
            * ((data == "digits" and model in LARGE) or model in LIKE_OTHERS),
        )
        for model in MODELS
        for data in ("digits", "synthetic")
    ],
)
def test_every_model_trains_a_step(model: str, data: str, run_train: Train) -> None:
    words = [f"model={model}", *([NAMES[model]] if model in NAMES else [])]
    folder = run_train(*words, f"data={data}", "data.batch_size=4", "debug=fast_dev_run")
    found = results(folder)
    assert found["preprocessing"]["channels"] == (1 if data == "digits" else 3)
    assert found["state"] == "finished" and 0 <= found["test/acc"] <= 1
