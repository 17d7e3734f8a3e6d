"""Experiments on a question: their runs, what is measured of these, and the page."""

import csv
import json
import signal
from pathlib import Path

import pytest
import torch
from tests.stopping import CASE as RESUMABLE
from tests.stopping import TRUST, stopping

from strided.cli import main
from strided.runs.gradients_csv import read_gradients
from strided.sweeps.experiments import alexnet_vs_vgg, mlp_vs_cnn, plain_vs_residual
from strided.sweeps.experiments.mlp_vs_cnn import reading, shift
from strided.sweeps.experiments.plain_vs_residual import first_to_last
from strided.sweeps.grouped import Job

pytestmark = pytest.mark.usefixtures("blank_figures")

TINY = ("data=digits", "data.batch_size=32", "trainer=cpu", "trainer.max_epochs=1")


def run(name: str, log_dir: Path, *words: str) -> tuple[Path, str]:
    command = ["train", f"experiment={name}", *TINY, *words, f"log_dir={log_dir}"]
    assert main(command) == 0
    (folder,) = log_dir.glob(f"multirun/{name}/*")
    return folder, (folder / "summary.html").read_text()


def test_mlp_vs_cnn_moves_the_test_images(log_dir: Path) -> None:
    folder, page = run(
        "mlp_vs_cnn", log_dir, "data.train_fraction=1.0", "seed=0", "data.resize=null"
    )
    with (folder / "summary.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["model"] for row in rows] == ["mlp", "mlp_small", "lenet5"]
    for number, row in enumerate(rows):
        accuracy = json.loads((folder / str(number) / "moved.json").read_text())["accuracy"]
        assert len(accuracy) == 5 and accuracy[0] == pytest.approx(float(row["test/acc"]))
        assert accuracy[4] < accuracy[0]
    assert (folder / "figures" / "moved.png").is_file()
    assert "Moved by 4 pixels" in page and "61,706" in page


def test_jobs_without_a_checkpoint_have_a_summary_all_the_same(log_dir: Path) -> None:
    words = ("data.train_fraction=1.0", "seed=0", "data.resize=null", "debug=fast_dev_run")
    folder, page = run("mlp_vs_cnn", log_dir, *words)
    assert (folder / "summary.csv").is_file() and "3 of 3" in page


def test_without_test_images_none_are_moved(tmp_path: Path) -> None:
    job = Job(0, ["model=mlp"], "finished", {"val/acc": 0.9})
    assert "there are no test images to move" in mlp_vs_cnn.section(tmp_path, [job])


def test_images_move_by_whole_pixels_and_black_comes_in() -> None:
    images = torch.arange(1, 10, dtype=torch.uint8).reshape(1, 1, 3, 3)
    assert shift(images, 1, 0)[0, 0].tolist() == [[0, 0, 0], [1, 2, 3], [4, 5, 6]]
    assert shift(images, 0, -2)[0, 0].tolist() == [[3, 0, 0], [6, 0, 0], [9, 0, 0]]
    assert torch.equal(shift(images, 0, 0), images)


def test_an_order_of_models_is_claimed_only_where_all_seeds_agree() -> None:
    def rows(*accuracies: float) -> list[dict[str, object]]:
        facts = {"parameters": {"total": 10}, "macs": 10, "moved": [0.9, 0.5]}
        return [{"test/acc": accuracy, **facts} for accuracy in accuracies]

    sure = reading({"a": rows(0.90, 0.91), "b": rows(0.80, 0.89)})
    assert "a is ahead of b" in sure[0]
    for found in (
        {"a": rows(0.90, 0.91), "b": rows(0.80, 0.905)},
        {"a": rows(0.9), "b": rows(0.1)},
    ):
        assert "a is not shown to be ahead of b" in reading(found)[0]


@pytest.mark.slow
def test_plain_vs_residual_shows_errors_and_gradients(
    log_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_vs_residual, "AT_START", (8, 14))
    words = ("model.depth=8,14", "data.train_fraction=0.2", "data.image_size=16")
    folder, page = run("plain_vs_residual", log_dir, *words, "trainer.max_epochs=2")
    for name in ("training", "gradients", "initialisation"):
        assert (folder / "figures" / f"{name}.png").is_file()
    rows = read_gradients(folder / "0" / "gradients.csv")
    assert [row["epoch"] for row in rows] == [0] * 8 + [1] * 8
    assert rows[0]["layer"] == "stem.0.weight" and rows[7]["layer"] == "output.weight"
    assert all(row["norm"] > 0 for row in rows)
    start = json.loads((folder / "initialisation.json").read_text())["networks"]
    assert [(row["kind"], row["depth"], len(row["norms"])) for row in start] == [
        ("plain", 8, 7),
        ("residual", 8, 7),
        ("plain", 14, 13),
        ("residual", 14, 13),
    ]
    assert "plain: from 8 to 14 layers the training error went from" in page


def test_gradients_of_a_resumed_run_are_those_of_one_that_was_not_stopped(log_dir: Path) -> None:
    words = ["train", "model=mlp", "callbacks.gradient_norms.steps=2", *TINY[:3]]
    assert main([*words, "trainer.max_epochs=3", "name=whole", f"log_dir={log_dir}"]) == 0
    assert main([*words, "trainer.max_epochs=2", "name=twice", f"log_dir={log_dir}"]) == 0
    (whole,), (twice,) = log_dir.glob("train/whole/*"), log_dir.glob("train/twice/*")
    assert main(["train", f"resume={twice}", "trainer.max_epochs=3"]) == 0
    assert (whole / "gradients.csv").read_text() == (twice / "gradients.csv").read_text()
    assert len(read_gradients(whole / "gradients.csv")) == 9


@pytest.mark.parametrize("batch", [1, 3, 4])  # of 8: while the first two steps are measured, later
def test_gradients_of_a_run_that_goes_on_inside_an_epoch(log_dir: Path, batch: int) -> None:
    words = ["train", *RESUMABLE, "callbacks.gradient_norms.steps=2", "trainer.max_epochs=2"]
    assert main([*words, "name=whole", f"log_dir={log_dir}"]) == 0
    stopped = [*words, "name=twice", f"log_dir={log_dir}", *stopping(batch)]
    assert main(stopped) == 128 + signal.SIGTERM
    (whole,), (twice,) = log_dir.glob("train/whole/*"), log_dir.glob("train/twice/*")
    assert main(["train", f"resume={twice}", TRUST]) == 0
    assert (whole / "gradients.csv").read_text() == (twice / "gradients.csv").read_text()


def test_gradients_of_first_and_last_layers_are_compared() -> None:
    assert first_to_last([4.0, *[1.0] * 8, 2.0]) == 2
    assert first_to_last([1.0, 0.0]) == float("inf")


def test_alexnet_and_vgg_are_shown_as_published(tmp_path: Path) -> None:
    page = alexnet_vs_vgg.section(tmp_path, [])
    for fact in ("61,100,840", "138,357,544", "11x11", "20.9%", "9.6%", "22 times the multiply"):
        assert fact in page, fact
