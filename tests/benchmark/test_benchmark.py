"""The benchmark verb: every part does what it says, and the figures agree with each other."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
from lightning.pytorch.plugins.precision import Precision
from PIL import Image
from tests.conftest import files

from strided.benchmark.bare_network import bare_inference, bare_training
from strided.benchmark.pair import PARTS, Pair, prepare_pair, train_for
from strided.benchmark.plain_script import (
    TrainingImages,
    per_image_transform,
    plain_loader,
    plain_training,
)
from strided.benchmark.table import COLUMNS, RATIOS, ratio
from strided.benchmark.time_shares import ACTIONS, REST, ActionTimes, bound
from strided.benchmark.timing import PeakMemory, images_per_second
from strided.cli import main
from strided.config.compose import compose
from strided.config.yaml_files import CONF_DIR
from strided.data import BatchAugment, Preprocessing
from strided.system.signals import Interruption

# from Python 3.12 on; the loader's workers fork, as in any script on Linux
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")

CPU = torch.device("cpu")
ADAM = {"_target_": "torch.optim.Adam", "lr": 1e-3}
QUICK = ("trainer=cpu", "repeats=1", "seconds=0.02")


def run(log_dir: Path, *words: str, code: int = 0) -> tuple[Path, dict[str, Any]]:
    """Run the verb; return its folder and results.json."""
    assert main(["benchmark", *QUICK, *words, f"log_dir={log_dir}"]) == code
    (folder,) = log_dir.glob("benchmark/*/*")
    return folder, json.loads((folder / "results.json").read_text())


def pair_of(folder: Path, *words: str) -> Pair:
    """A network and its data, as the verb prepares them."""
    config = compose("benchmark", [*QUICK, *words])
    return prepare_pair(config, folder, {}, Interruption())


def test_the_figures_of_a_run_agree_with_each_other(
    log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, results = run(log_dir, "repeats=2")
    shown = capsys.readouterr().out
    assert results["state"] == "finished" and results["seed"] == 0
    assert {"git", "versions", "hardware", "command"} <= results.keys()
    (row,) = results["benchmarks"]
    assert row["model"] == "lenet5" and row["data"] == "digits" and row["state"] == "finished"
    assert row["parameters"]["total"] == 61_706 and row["macs"] == 416_520
    assert len(row["data_fingerprint"]) == 64 and row["execution"]["precision"] == "32-true"
    assert len(row["repeats"]) == 2
    for part in PARTS:
        rates = [repeat[part] for repeat in row["repeats"]]
        assert min(rates) > 0
        spread = {"median": median(rates), "min": min(rates), "max": max(rates)}
        assert row["images_per_second"][part] == pytest.approx(spread)
        assert row["threads"][part] >= 1
    for name, (over, under) in RATIOS.items():
        paired = [repeat[over] / repeat[under] for repeat in row["repeats"]]
        assert row["ratios"][name]["median"] == pytest.approx(median(paired))
    of_peak = [
        r["strided"] * 2_263_920 / peak
        for r, peak in zip(row["repeats"], row["peaks"], strict=True)
    ]  # three times the multiply-adds, twice, less a gradient of the image
    assert row["of_peak"]["strided"]["median"] == pytest.approx(median(of_peak))
    assert row["peak"].startswith(f"{100 * median(of_peak):.0f} % of the arithmetic")
    assert "1 thread)" in row["peak"] and row["peak"] in shown
    assert set(row["time_shares"]) == {*ACTIONS, REST}
    assert sum(row["time_shares"].values()) == pytest.approx(1)
    assert all(0 <= share <= 1 for share in row["time_shares"].values())
    assert row["bound"].startswith("bound by ") and row["bound"] in shown
    assert files(folder) == {
        "config.yaml",
        "overrides.yaml",
        "run.log",
        "results.json",
        "benchmark.csv",
        "benchmark.html",
    }
    page = (folder / "benchmark.html").read_text()
    assert "of the plain script" in page and "waits for" in page


def test_a_single_repeat_has_no_share_of_the_peak(log_dir: Path) -> None:
    folder, results = run(log_dir)
    (row,) = results["benchmarks"]
    assert row["peak"].startswith("a large matrix product here: ") and "%" not in row["peak"]
    page = (folder / "benchmark.html").read_text()
    assert "no ratio is given" in page and "of the peak" not in page


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_peak_memory_is_of_the_time_since(log_dir: Path) -> None:
    held = torch.ones(50_000_000)  # 200 MB, written to
    before = PeakMemory(CPU).bytes()
    assert before is not None and before > held.numel() * 4
    del held
    after = PeakMemory(CPU)
    assert after.bytes() is not None and after.bytes() < before - 150_000_000  # type: ignore[operator]


def test_a_table_has_a_row_for_every_model_and_why_one_failed(
    log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("models=[mlp,lenet5,lenet5_original]", "data=synthetic", "data.image_size=40")
    folder, results = run(log_dir, *words, "data.num_images=90", code=1)
    assert folder.parent.name == "models-synthetic"
    captured = capsys.readouterr()
    with (folder / "benchmark.csv").open(newline="") as stream:
        mlp, lenet5, original = csv.DictReader(stream)
    assert tuple(mlp) == COLUMNS
    assert mlp["model"] == "mlp" and float(mlp["strided"]) > 0 and mlp["error"] == ""
    assert float(mlp["ceiling_min"]) <= float(mlp["ceiling"]) <= float(mlp["ceiling_max"])
    for row in (lenet5, original):
        assert row["ceiling"] == "" and "data.image_size=32" in row["error"]
    assert "lenet5 failed: " in captured.out
    assert "2 of 3 models were not measured" in captured.err and "Traceback" not in captured.err
    assert [row["state"] for row in results["benchmarks"]] == ["finished", "failed", "failed"]
    assert results["state"] == "failed"


def test_a_lone_model_that_fails_says_why(
    log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, results = run(log_dir, "data.image_size=40", code=1)
    assert "data.image_size=32" in capsys.readouterr().err
    assert results["benchmarks"][0]["error"] == results["error"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["repeats=0"], "repeats=0; expected 1 or more"),
        (["seconds=0"], "seconds=0; expected 0.01 or more"),
        (["models=[lenet5,lenet]"], "Did you mean lenet5"),
        (["-m", "models=[lenet5,mlp]"], "Try -m model=a,b"),
        (["trainer=ddp_cpu"], "Try trainer.devices=1"),
    ],
)
def test_mistakes_are_named(
    words: list[str], message: str, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", *words, f"log_dir={log_dir}"]) == 1
    assert message in capsys.readouterr().err


def test_ctrl_c_keeps_what_was_measured(log_dir: Path) -> None:
    words = ["trainer=cpu", "repeats=100000", "seconds=0.02", f"log_dir={log_dir}"]
    script = CONF_DIR.parent / "src" / "benchmark.py"
    with subprocess.Popen(
        [sys.executable, str(script), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("repeat 1/"):
                    break
            time.sleep(0.3)
            os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the workers too
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()  # or the test would wait for it for good
        assert process.returncode == 130, errors
    assert "Traceback" not in errors and "stopped by SIGINT" in errors
    (folder,) = log_dir.glob("benchmark/*/*")
    results = json.loads((folder / "results.json").read_text())
    assert results["state"] == results["benchmarks"][0]["state"] == "interrupted"
    assert results["benchmarks"][0]["repeats"]
    (row,) = csv.DictReader((folder / "benchmark.csv").read_text().splitlines())
    assert float(row["strided/ceiling"]) > 0


def test_the_ceiling_trains_the_network(tmp_path: Path) -> None:
    pair = pair_of(tmp_path, "model=mlp")
    batches = bare_training(pair.task, Precision(), 8, CPU)
    assert [next(batches) for _ in range(2)] == [8, 8]
    moved = [not torch.equal(pair.weights[k], v) for k, v in pair.task.state_dict().items()]
    assert moved and all(moved)


def test_steps_are_as_many_as_trainings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = 0
    whole = torch.optim.Adam.step

    def counted(*given: Any, **named: Any) -> Any:
        nonlocal steps
        steps += 1
        return whole(*given, **named)

    monkeypatch.setattr(torch.optim.Adam, "step", counted)
    pair = pair_of(tmp_path, "model=mlp", "data.batch_size=100")  # 12 batches
    augment = BatchAugment()
    for every, expected in ((1, [4, 12]), (3, [1, 4]), (5, [0, 3])):
        bare = bare_training(pair.task, Precision(), 8, CPU, every)
        plain = plain_training(pair.task, pair.data, augment, ADAM, CPU, every)
        found = []
        for batches, number in ((bare, 4), (plain, 12)):
            steps = 0
            for _ in range(number):
                next(batches)
            found.append(steps)
        assert found == expected


def test_no_part_asks_for_a_driver_at_each_step(tmp_path: Path, monkeypatch: Any) -> None:
    asked: dict[str, str | None] = {}
    whole = torch.optim.Adam.step

    def noted(*given: Any, **named: Any) -> Any:
        asked[part] = os.environ.get("PYTORCH_NVML_BASED_CUDA_CHECK")
        return whole(*given, **named)

    monkeypatch.setattr(torch.optim.Adam, "step", noted)
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    pair = pair_of(tmp_path, "model=mlp")
    for part in ("ceiling", "plain", "strided"):
        pair.measure(part)
    assert asked == {"ceiling": None, "plain": None, "strided": None}
    assert os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] == "1"


def test_the_ceiling_of_few_images_has_the_threads_of_training(tmp_path: Path) -> None:
    torch.set_num_threads(2)
    try:
        pair = pair_of(tmp_path, "data.train_fraction=0.05", "data.batch_size=256")
        assert [pair.measure(part).threads for part in ("ceiling", "strided")] == [2, 2]
    finally:
        torch.set_num_threads(1)


def test_bare_inference_moves_nothing(tmp_path: Path) -> None:
    pair = pair_of(tmp_path, "model=resnet_cifar", "data=synthetic", "data.num_images=60")
    assert next(bare_inference(pair.task, 8, CPU)) == 8
    assert all(torch.equal(pair.weights[k], v) for k, v in pair.task.state_dict().items())


def test_the_plain_loop_sees_every_image_once_an_epoch_and_trains(tmp_path: Path) -> None:
    pair = pair_of(tmp_path, "model=mlp", "data.batch_size=100")
    loader = plain_loader(pair.data, BatchAugment())
    labels = torch.cat([labels for _, labels in loader])
    assert sorted(labels.tolist()) == sorted(pair.data.labels("train").tolist())

    batches = plain_training(pair.task, pair.data, BatchAugment(), ADAM, CPU)
    counts = [next(batches) for _ in range(len(loader) + 1)]
    assert sum(counts[:-1]) == len(pair.data.splits["train"]) and counts[-1] == 100
    assert all(torch.equal(pair.weights[k], v) for k, v in pair.task.state_dict().items())


@pytest.mark.parametrize("words", [[], ["data=synthetic", "data.image_size=40"]])
def test_a_plain_image_is_that_of_the_data_module(words: list[str], tmp_path: Path) -> None:
    pair = pair_of(tmp_path, "model=mlp", *words)
    transform = per_image_transform(pair.data.preprocessing, BatchAugment(), pair.data.native_size)
    image, label = TrainingImages(pair.data, transform)[5]
    index = pair.data.splits["train"][5]
    pixels = torch.tensor(pair.data.picture("train", 5)).permute(2, 0, 1)[: len(image)]
    assert label == pair.data.source.labels[index]
    torch.testing.assert_close(image, pair.data.preprocessing.normalise(pixels))


@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
def test_plain_images_of_any_size_become_the_networks(resize: Any) -> None:
    preprocessing = Preprocessing(3, 20, resize, 0.8, mean=(0.5,) * 3, std=(0.5,) * 3)
    everything = BatchAugment(
        horizontal_flip=True,
        crop_padding=0.1,
        rotation=5,
        zoom=0.1,
        brightness=0.1,
        contrast=0.1,
        erasing=1,
        rand_augment_ops=1,
        cutout=0.3,
        border="reflect",
    )
    transform = per_image_transform(preprocessing, everything, None)
    for size in ((10, 12), (60, 40)):
        assert transform(Image.new("RGB", size)).shape == (3, 20, 20)
        cropped = per_image_transform(preprocessing, BatchAugment(crop_scale=0.3), None)
        assert cropped(Image.new("RGB", size)).shape == (3, 20, 20)


def test_mixed_labels_reach_the_plain_loss(tmp_path: Path) -> None:
    mixing = BatchAugment(mixup=1.0, cutmix=1.0)
    pair = pair_of(tmp_path, "model=mlp")
    own = {**ADAM, "layer_decay": 0.9, "norm_bias_factor": 2.0}  # which torch does not take
    batches = plain_training(pair.task, pair.data, mixing, own, CPU)
    assert next(batches) == 64


def test_workers_read_a_zip_apart_from_each_other(image_folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for file in image_folder.rglob("*.*"):
            archive.write(file, file.relative_to(image_folder))
    words = ("data=image_folder", f"data.root={tmp_path / 'images.zip'}", "data.image_size=12")
    pair = pair_of(tmp_path, "model=mlp", "data.batch_size=2", *words)
    for _ in range(5):  # worked by chance where one file had one place for all
        counts = torch.cat([labels for _, labels in plain_loader(pair.data, BatchAugment())])
        assert sorted(counts.tolist()) == sorted(pair.data.labels("train").tolist())


def test_strideds_figure_is_the_recorders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from strided.training.callbacks.epoch_recorder import EpochRecorder

    epochs: list[int] = []
    whole = EpochRecorder.on_train_epoch_end

    def noted(recorder: EpochRecorder, trainer: Any, task: Any) -> None:
        whole(recorder, trainer, task)
        epochs.append(int(trainer.global_step))
        figures.append(recorder.images_per_second)

    figures: list[float | None] = []
    monkeypatch.setattr(EpochRecorder, "on_train_epoch_end", noted)
    pair = pair_of(tmp_path, "model=mlp", "trainer.max_steps=1", "trainer.val_check_interval=9")
    rate, threads = train_for(pair, 5)
    assert epochs == [5, 10] and rate == figures[-1] and threads == 1
    train_for(pair, 40)  # an epoch has 18
    assert epochs[2:] == [18, 36, 54, 72]
    assert not list(tmp_path.iterdir())  # no metrics, no checkpoint


def test_inference_takes_the_evaluations_way(tmp_path: Path, monkeypatch: Any) -> None:
    from strided.evaluation.classifier import Classifier

    shapes: list[tuple[int, ...]] = []
    whole = Classifier.outputs

    def noted(classifier: Classifier, pixels: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(pixels.shape))
        assert pixels.dtype == torch.uint8 and not classifier.task.training
        return whole(classifier, pixels)

    monkeypatch.setattr(Classifier, "outputs", noted)
    pair = pair_of(tmp_path, "model=mlp")
    assert pair.measure("inference").rate > 0
    assert shapes[0] == (64, 1, 8, 8)


def test_every_part_starts_from_the_same_weights(tmp_path: Path) -> None:
    pair = pair_of(tmp_path, "model=mlp")
    pair.measure("ceiling")
    assert any(not torch.equal(pair.weights[k], v) for k, v in pair.task.state_dict().items())
    pair.measure("bare_inference")
    assert all(torch.equal(pair.weights[k], v) for k, v in pair.task.state_dict().items())


def test_mixed_precision_averaged_weights_and_a_schedule_of_steps_are_measured(
    log_dir: Path,
) -> None:
    words = ("model=mlp", "trainer.precision=bf16-mixed", "scheduler=one_cycle")
    _, results = run(log_dir, *words, "callbacks.ema.decay=0.9", "augment=standard")
    assert results["benchmarks"][0]["execution"]["precision"] == "bf16-mixed"


def test_action_times_count_what_is_nested_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(
        "strided.benchmark.time_shares.time.perf_counter", lambda: float(next(clock))
    )
    times = ActionTimes(CPU)

    def epoch() -> None:
        with times.profile("[Callback]EpochRecorder.on_train_epoch_start"):  # mark 0, 1 to 2
            pass
        with times.profile("[_TrainingEpochLoop].train_dataloader_next"):  # 3 to 4
            pass
        with (
            times.profile("run_training_batch"),  # 5 to 10
            times.profile("[LightningModule]ClassificationTask.optimizer_step"),  # 6 to 9
            times.profile("[Strategy]SingleDeviceStrategy.training_step"),  # 7 to 8
        ):
            pass
        with times.profile("[Callback]EpochRecorder.on_train_batch_end"):  # 11 to 12
            pass
        with times.profile("[_EvaluationLoop].val_next"):  # 13 to 14
            pass
        with times.profile("[Strategy]SingleDeviceStrategy.batch_to_device"):  # 15 to 16
            pass

    epoch()
    epoch()  # the first is forgotten
    assert times.total == 12
    assert times.seconds == {"waiting for data": 1, "arithmetic": 3}
    shares = times.shares()
    assert shares["arithmetic"] == 0.25 and shares[REST] == pytest.approx(8 / 12)
    assert bound(shares, "50 % (40 to 60)").startswith(
        "bound by everything else: 50 % (40 to 60) of its ceiling; of the time waiting for data"
    )
    assert bound(shares, "-").startswith("bound by everything else: of the time")


def test_a_ratio_of_one_repeat_is_not_told() -> None:
    spread = {"median": 0.5, "min": 0.4, "max": 0.6}
    row = {"repeats": [{}, {}], "ratios": {"strided/ceiling": spread, "strided/plain": spread}}
    assert ratio(row, "strided/ceiling") == "50 % (40 to 60)"
    assert ratio(row, "strided/plain") == "0.50x (0.40 to 0.60)"
    assert ratio({**row, "repeats": [{}]}, "strided/ceiling") == "-"


def test_lightning_has_every_action_that_is_timed(tmp_path: Path) -> None:
    names: set[str] = set()

    class Noted(ActionTimes):
        def start(self, action_name: str) -> None:
            names.add(action_name)
            super().start(action_name)

    train_for(pair_of(tmp_path, "model=mlp"), 3, Noted(CPU))
    for end in (end for ends in ACTIONS.values() for end in ends):
        assert any(name.endswith(end) for name in names), end


def test_the_rate_is_images_over_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    closed: list[bool] = []
    monkeypatch.setattr("strided.benchmark.timing.time.perf_counter", lambda: now[0])

    def batches() -> Any:
        try:
            while True:
                now[0] += 0.5
                yield 10
        finally:
            closed.append(True)

    assert images_per_second(batches(), 4.0, CPU) == 20
    assert closed == [True]
