"""Runs, sweeps and evaluations whose images were moved after the training."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from tests.conftest import contents, write_images
from tests.stopping import results, resume, train

from strided.cli import main

pytestmark = pytest.mark.usefixtures("blank_figures")

SMALL = (
    "data=image_folder",
    "data.image_size=8",
    "data.train_fraction=1.0",
    "trainer.max_epochs=1",
)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images")


@pytest.fixture
def run(images: Path, log_dir: Path) -> Path:
    return train(log_dir, *SMALL, f"data.root={images}")


def root_in(folder: Path) -> str:
    return str(yaml.safe_load((folder / "config.yaml").read_text())["data"]["root"])


def test_a_run_goes_on_where_its_images_are_now(
    run: Path, images: Path, tmp_path: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = images.rename(tmp_path / "moved, 2")
    resume(run, "trainer.max_epochs=2", code=1)
    assert f"data.root={images} does not exist" in capsys.readouterr().err
    resume(run, "trainer.max_epochs=2", f"data.root={there}")
    assert root_in(run) == str(there) and results(run)["state"] == "finished"
    resume(run, "trainer.max_epochs=3")
    assert len((run / "metrics.csv").read_text().splitlines()) == 1 + 3
    assert main(["eval", f"checkpoint={run}", f"data.root={there}", f"log_dir={log_dir}"]) == 0


def test_other_images_are_no_moved_ones(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = write_images(tmp_path / "more", num_images=9)
    other = write_images(tmp_path / "other")
    (other / "red").rename(other / "white")
    before = contents(run)
    for root, reason in (
        (more, "names, labels or sizes of files differ"),
        (other, "its classes are blue, green, white, and not blue, green, red"),
        (tmp_path / "nowhere", "does not exist"),
    ):
        resume(run, "trainer.max_epochs=2", f"data.root={root}", code=1)
        message = capsys.readouterr().err
        assert f"data.root={root}" in message and reason in message and "Try " in message
    assert contents(run) == before


def test_a_sweep_goes_on_where_its_images_are_now(
    images: Path, tmp_path: Path, log_dir: Path
) -> None:
    words = ("model=mlp", "trainer=cpu", *SMALL, f"data.root={images}", f"log_dir={log_dir}")
    assert main(["train", "-m", "seed=0,1,2", *words]) == 0
    (folder,) = log_dir.glob("multirun/*/*")
    there = images.rename(tmp_path / "moved")
    stopped = folder / "1" / "results.json"
    stopped.write_text(json.dumps({**json.loads(stopped.read_text()), "state": "interrupted"}))
    shutil.rmtree(folder / "2")
    assert main(["train", f"resume={folder}"]) == 1
    assert main(["train", f"resume={folder}", f"data.root={there}"]) == 0
    assert [root_in(folder / job) for job in "012"] == [str(images), str(there), str(there)]
    assert main(["train", f"resume={folder}"]) == 0  # sweep.yaml knows the place now
