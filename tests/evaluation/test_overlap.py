"""What was trained on is not measured unsaid: on noise with random labels, 0.5 is honest."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.conftest import train_in
from tests.evaluation.test_evaluate import evaluated, results

from strided.cli import main
from strided.data.pixels.copies import pixel_digest
from strided.data.pixels.pipeline import StorePipeline
from strided.training.seen_images import read_seen, trained_on

pytestmark = pytest.mark.usefixtures("blank_figures")

NOISE = ("model=mlp", "data.image_size=8", "trainer.max_epochs=12", "optimizer.lr=0.01")
OWN = "none of them seen in training"


def write_noise(root: Path, count: int, seed: int = 0) -> Path:
    noise = np.random.default_rng(seed)
    for index in range(count):
        file = root / "ab"[index % 2] / f"{index:03d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file)
    return root


def write_table(file: Path, root: Path, leave_out: int = 0) -> Path:
    images = sorted(path.relative_to(root) for path in root.rglob("*.png"))
    with file.open("w", newline="") as stream:
        rows = [(path.as_posix(), path.parent.name) for path in images[leave_out:]]
        csv.writer(stream).writerows([("path", "label"), *rows])
    return file


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_noise(tmp_path_factory.mktemp("noise") / "images", 120)


@pytest.fixture(scope="module")
def run(noise: Path) -> Path:
    """A run on a folder of noise, which it has learnt by heart."""
    return train_in(noise.parent / "logs", *NOISE, "data=image_folder", f"data.root={noise}")


def entries(run: Path) -> np.ndarray:
    checkpoint = run / "checkpoints" / "best.ckpt"
    found = read_seen(checkpoint, trained_on(checkpoint))
    assert found is not None
    return found


def assert_is_a_guess(accuracy: float, images: int) -> None:
    """Within three standard deviations of tossing a coin."""
    assert abs(accuracy - 0.5) < 3 * 0.5 / images**0.5


def assert_refused_then_excluded(
    log_dir: Path, capsys: pytest.CaptureFixture[str], *words: str
) -> dict[str, Any]:
    folder = evaluated(log_dir, *words, code=1)
    message = capsys.readouterr().err
    assert "trained on or validated on" in message and "overlap=exclude" in message
    assert "test/acc" not in results(folder)
    folder = evaluated(log_dir, *words, "overlap=exclude")
    found = results(folder)
    assert_is_a_guess(found["test/acc"], found["splits"]["test"])
    assert found["overlap"]["excluded"] and found["overlap"]["shared"] > 0
    with (folder / "predictions.csv").open(newline="") as stream:
        left_out = [row for row in csv.DictReader(stream) if row["error"]]
    assert len(left_out) == found["overlap"]["shared"] and "seen" in left_out[0]["error"]
    assert f"{len(left_out)} others" in capsys.readouterr().out
    return found


def test_a_copied_folder_with_a_file_less_is_no_new_data(
    noise: Path, run: Path, tmp_path: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = Path(shutil.copytree(noise, tmp_path / "copied"))
    (copied / "a" / "000.png").unlink()
    words = [f"checkpoint={run}", "data=image_folder", f"data.root={copied}"]
    for more in ([], ["data.split_seed=1"], ["data.pipeline=streaming", "data.num_workers=1"]):
        assert_refused_then_excluded(log_dir, capsys, *words, *more)


def test_another_split_seed_is_no_new_data_on_the_set_itself_or_a_copy_in_another_format(
    noise: Path, run: Path, tmp_path: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in noise.rglob("*.png"):
        target = tmp_path / "bmp" / file.parent.name / f"renamed{file.stem}.bmp"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(file).save(target)
    words = [f"checkpoint={run}", "data=image_folder", "data.split_seed=1"]
    assert_refused_then_excluded(log_dir, capsys, *words, f"data.root={tmp_path / 'bmp'}")
    folder = evaluated(log_dir, f"checkpoint={run}", "data.split_seed=1", "overlap=exclude")
    assert results(folder)["overlap"]["shared"] > 0


def test_a_table_at_the_same_root_with_a_row_less_is_no_new_data(
    noise: Path, tmp_path: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, part = (write_table(tmp_path / f"{n}.csv", noise, n) for n in (0, 1))
    data = ("data=csv", f"data.root={noise}")
    run = train_in(log_dir, *NOISE, *data, f"data.csv={whole}")
    assert_refused_then_excluded(log_dir, capsys, f"checkpoint={run}", *data, f"data.csv={part}")


def test_a_test_folder_of_training_images_is_measured_with_the_number_of_them(
    noise: Path, tmp_path: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "set"
    shutil.copytree(noise, root / "train")
    data = ("data=image_folder", f"data.root={root}")
    before = train_in(log_dir, *NOISE, *data)
    write_noise(root / "test", 30, seed=1)
    for file in list((noise / "a").iterdir())[:20]:
        shutil.copy(file, root / "test" / "a" / f"copy_{file.name}")
    words = [f"checkpoint={before}", "split=test"]
    assert_refused_then_excluded(log_dir, capsys, *words)  # it is not that run's own test

    run = train_in(log_dir, *NOISE, *data)
    assert "20 of the images were seen in training; without" in (run / "report.html").read_text()
    told = "50 images, 20 of them seen in training; without these test accuracy"
    assert told in capsys.readouterr().out
    for folder in (run, evaluated(log_dir, f"checkpoint={run}")):
        found = results(folder)["overlap"]
        assert found["shared"] == 20 and not found["excluded"]
        assert_is_a_guess(found["without"]["test/acc"], 30)
        assert results(folder)["test/acc"] > found["without"]["test/acc"]
    assert told in capsys.readouterr().out
    found = results(evaluated(log_dir, f"checkpoint={run}", "split=val"))
    assert found["overlap"]["shared"] == 0  # validated on, but not trained on


def test_nothing_is_left_of_a_set_that_was_all_seen(
    noise: Path, run: Path, tmp_path: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "set"
    write_noise(root / "train", 30, seed=1)
    trained = {int(entry) for entry in entries(run)}
    for file in noise.rglob("*.png"):
        digest = int.from_bytes(pixel_digest(Image.open(file))[:8], "little") | 1
        if digest in trained:
            (root / "test" / file.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, root / "test" / file.parent.name)
    words = [f"checkpoint={run}", "data=image_folder", f"data.root={root}"]
    for more in ([], ["overlap=exclude"]):
        evaluated(log_dir, *words, *more, code=1)
        assert "84 of 84 images" in (message := capsys.readouterr().err)
        assert "would leave none" in message


def test_the_runs_own_splits_and_new_images_are_measured(
    run: Path, tmp_path: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = write_noise(tmp_path / "new", 60, seed=1)
    for words in ([], ["split=val"], ["data=image_folder", f"data.root={new}"]):
        folder = evaluated(log_dir, f"checkpoint={run}", *words)
        assert results(folder)["overlap"] == {"shared": 0, "excluded": False, "without": None}
        assert OWN in capsys.readouterr().out
    assert results(run)["overlap"]["shared"] == 0


def copied(run: Path, target: Path) -> Path:
    """The best checkpoint of a run without the file beside it."""
    target.mkdir()
    return Path(shutil.copy(run / "checkpoints" / "best.ckpt", target))


def test_without_the_file_a_line_says_that_overlap_cannot_be_checked(
    run: Path, noise: Path, tmp_path: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = copied(run, tmp_path / "alone")
    folder = evaluated(log_dir, f"checkpoint={file}")
    said = capsys.readouterr().out
    assert said.count("cannot be checked") == 1 and "seen.npy is not beside best.ckpt" in said
    assert results(folder)["overlap"] is None
    words = [f"checkpoint={file}", f"input={noise}", f"log_dir={log_dir}"]
    assert main(["predict", *words]) == 0
    assert capsys.readouterr().out.count("cannot be checked") == 1
    assert main(["compare", f"runs=[{run},{folder}]", f"log_dir={log_dir}"]) == 0
    assert "cannot be checked for" in capsys.readouterr().out


def spoil(file: Path, how: str) -> None:
    array = np.load(file)
    if how == "text":
        file.write_text("no array")
    elif how == "objects":
        np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    elif how == "zip":
        np.savez(file.with_suffix(""), array)
        file.with_suffix(".npz").rename(file)
    else:
        changes: dict[str, Callable[[], np.ndarray]] = {
            "flipped": lambda: array ^ np.uint64(2),
            "shorter": lambda: array[:-1],
            "floats": lambda: array.astype(float),
            "rows": lambda: array[:, None],
        }
        np.save(file, changes[how]())


@pytest.mark.parametrize("how", ["text", "objects", "zip", "flipped", "shorter", "floats", "rows"])
def test_a_file_that_is_not_the_checkpoints_is_refused(
    run: Path, tmp_path: Path, log_dir: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    file = copied(run, tmp_path / "spoilt")
    beside = Path(shutil.copy(run / "checkpoints" / "seen.npy", file.parent))
    spoil(beside, how)
    evaluated(log_dir, f"checkpoint={file}", code=1)
    message = capsys.readouterr().err
    assert "seen.npy is not the list of images" in message and "expected" in message


def test_the_file_has_each_image_once_and_only_those_of_train_and_val(run: Path) -> None:
    found, sizes = entries(run), results(run)["splits"]
    assert found.dtype == np.uint64 and len(found) == sizes["train"] + sizes["val"]
    assert (found & np.uint64(1)).sum() == sizes["train"]


def test_predict_counts_labelled_images_that_were_seen(
    run: Path, noise: Path, tmp_path: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = Path(shutil.copytree(noise, tmp_path / "given"))
    shutil.copytree(write_noise(tmp_path / "new", 10, seed=1), given / "more")
    shutil.copytree(noise / "a", given / "unlabelled")
    assert main(["predict", f"checkpoint={run}", f"input={given}", f"log_dir={log_dir}"]) == 0
    assert "96 of 130 labelled images were seen in training" in capsys.readouterr().out
    (folder,) = log_dir.glob("predict/*/*")
    assert results(folder)["overlap"] == {"shared": 96, "labelled": 130}


def test_a_network_made_of_another_runs_weights_has_seen_its_images(
    run: Path, noise: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = run / "checkpoints" / "best.ckpt"
    data = ("data=image_folder", f"data.root={noise}", "data.split_seed=1")
    tuned = train_in(log_dir, *NOISE, *data, f"model.weights={weights}")
    found = results(tuned)["overlap"]
    assert found["shared"] > 0 and "of them seen in training" in capsys.readouterr().out
    assert set(entries(run).tolist()) <= set(entries(tuned).tolist())
    assert main(["compare", f"runs=[{run},{tuned}]", f"log_dir={log_dir}"]) == 0
    assert f"{found['shared']} of them seen in training" in capsys.readouterr().out


def test_streaming_and_the_store_keep_the_same_digests(
    run: Path, noise: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ("data=image_folder", f"data.root={noise}", "data.pipeline=streaming")
    words = (*NOISE, *data, "data.num_workers=1", "trainer.max_epochs=2")
    streamed = train_in(log_dir, *words)
    assert sorted(entries(streamed)) == sorted(entries(run))
    before = json.loads((streamed / "results.json").read_text())
    (streamed / "checkpoints" / "seen.npy").unlink()
    assert main(["train", f"resume={streamed}", "trainer.max_epochs=3"]) == 0
    # what the first epochs read is not known any more
    assert trained_on(streamed / "checkpoints" / "last.ckpt")["seen"] is None
    assert before["overlap"]["shared"] == 0


def test_a_run_from_before_copies_were_kept_together_keeps_its_split(
    noise: Path, tmp_path: Path, log_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = Path(shutil.copytree(noise, tmp_path / "images"))
    for file in list(images.rglob("*.png"))[:60]:
        shutil.copy(file, file.with_name(f"copy_{file.name}"))
    words = (*NOISE, "data=image_folder", f"data.root={images}")
    with monkeypatch.context() as before:
        before.setattr(StorePipeline, "copies", lambda _: None)
        old = train_in(log_dir, *words)
    new = train_in(log_dir, *words)
    assert results(old)["duplicates"] > 0 == results(new)["duplicates"]
    assert results(old)["overlap"]["shared"] > 0 == results(new)["overlap"]["shared"]
    for run in (old, new):
        folder = evaluated(log_dir, f"checkpoint={run}")
        for key in ("split_hash", "test/acc", "overlap"):
            assert results(folder)[key] == results(run)[key]
        assert main(["train", f"resume={run}", "trainer.max_epochs=13"]) == 0
        assert results(run)["split_hash"] == results(folder)["split_hash"]


@pytest.mark.parametrize("how", ["gone", "flipped"])
def test_a_resumed_run_of_a_store_writes_the_file_again(
    run: Path, tmp_path: Path, how: str
) -> None:
    again = Path(shutil.copytree(run, tmp_path / "again"))
    file = again / "checkpoints" / "seen.npy"
    whole = file.read_bytes()
    file.unlink() if how == "gone" else spoil(file, how)
    assert main(["train", f"resume={again}", "trainer.max_epochs=13"]) == 0
    assert file.read_bytes() == whole
    assert trained_on(file.with_name("last.ckpt"))["seen"]["images"] == 96
