import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.conftest import contents

import strided
from strided.cli import main
from strided.errors import UserError
from strided.evaluation.classifier import Classifier, Prediction
from strided.evaluation.predict_files import find_images
from strided.training.loading import load_task

Train = Callable[..., Path]


def predicted(log_dir: Path, run: Path, given: Path | str, *more: str, code: int = 0) -> Path:
    """Run predict in this process, expecting an exit code; return its new run folder."""
    before = set(log_dir.glob("predict/*/*"))
    words = [f"checkpoint={run}", f"input={given}", "accelerator=cpu", f"log_dir={log_dir}"]
    assert main(["predict", *words, *more]) == code
    (folder,) = set(log_dir.glob("predict/*/*")) - before
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def results(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return loaded


def digit(index: int) -> Image.Image:
    """One of scikit-learn's digits, as training sees it."""
    from sklearn.datasets import load_digits

    return Image.fromarray((load_digits().images[index] * 255 / 16).round().astype(np.uint8))


@pytest.fixture
def folder_run(image_folder: Path, run_train: Train) -> tuple[Path, Path]:
    """A run on an image folder with train/, val/ and test/, and that folder."""
    root = image_folder.parent / "split"
    for turn, split in enumerate(("train", "val", "test")):
        for file in image_folder.rglob("*.*"):
            target = root / split / file.relative_to(image_folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.open(file).rotate(90 * turn).save(target)
    return run_train("data=image_folder", f"data.root={root}", "data.image_size=32"), root


@pytest.mark.parametrize("arguments", [{"lr": 0.1}, {"model": "resnet18"}, None])
def test_a_checkpoint_of_another_lightning_project_is_refused(
    arguments: dict[str, Any] | None, tmp_path: Path
) -> None:
    file = tmp_path / "foreign.ckpt"
    content = {"hyper_parameters": arguments, "state_dict": {"fc.weight": torch.zeros(2)}}
    torch.save(content, file)
    with pytest.raises(UserError, match="another project"):
        load_task(file)


def test_an_image_has_the_same_logits_whatever_else_is_in_its_batch(trained_run: Path) -> None:
    classifier = Classifier.load(trained_run, device="cpu")
    noise = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (70, 1, 32, 32), dtype=torch.uint8, generator=noise)
    whole = classifier.logits(pixels)
    for size in (1, 7, 64):
        assert torch.equal(torch.cat([classifier.logits(p) for p in pixels.split(size)]), whole)
    assert torch.equal(classifier.logits(pixels.flip(0)), whole.flip(0))


def test_predictions_are_the_same_for_any_batch_size(
    folder_run: tuple[Path, Path], log_dir: Path
) -> None:
    run, root = folder_run
    for size in (1, 7, 64):
        folder = predicted(log_dir, run, root / "test", f"batch_size={size}")
        assert contents(folder)["predictions.csv"] == contents(run)["predictions.csv"]


def test_predict_of_the_test_folder_gives_the_rows_of_the_test(
    folder_run: tuple[Path, Path], log_dir: Path
) -> None:
    run, root = folder_run
    folder = predicted(log_dir, run, root / "test")
    one, two = ((path / "predictions.csv").read_bytes() for path in (folder, run))
    assert one == two and len(rows(folder)) == 24
    assert results(folder)["state"] == "finished" and results(folder)["unreadable"] == 0


def test_predict_agrees_with_a_run_that_was_trained_on_a_zip(
    folder_run: tuple[Path, Path], run_train: Train, log_dir: Path
) -> None:
    _, root = folder_run
    archive = shutil.make_archive(str(root.parent / "pictures"), "zip", root.parent, root.name)
    run = run_train("data=image_folder", f"data.root={archive}", "data.image_size=32")
    folder = predicted(log_dir, run, root / "test")
    assert (folder / "predictions.csv").read_bytes() == (run / "predictions.csv").read_bytes()


def test_an_unreadable_file_gets_a_row_with_the_reason(trained_run: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    digit(0).save(photos / "a.png")
    (photos / "b.png").write_bytes(b"not an image")
    digit(1).save(photos / "c.png")
    folder = predicted(tmp_path / "logs", trained_run, photos)
    first, broken, last = rows(folder)
    assert [row["path"] for row in (first, broken, last)] == ["a.png", "b.png", "c.png"]
    assert broken["error"] and broken["predicted"] == broken["prob/0"] == ""
    assert first["predicted"] and last["predicted"] and not first["error"]
    assert results(folder)["images"] == 3 and results(folder)["unreadable"] == 1


def test_predict_fails_when_no_file_can_be_read(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(b"not an image")
    folder = predicted(tmp_path / "logs", trained_run, tmp_path / "a.png", code=1)
    assert "could be read" in capsys.readouterr().err
    assert rows(folder)[0]["error"]


def test_pixel_formats_of_one_picture_give_one_answer(trained_run: Path, tmp_path: Path) -> None:
    grey = digit(7)
    pixels = np.asarray(grey)
    photos = tmp_path / "photos"
    photos.mkdir()
    grey.save(photos / "grey.png")
    Image.fromarray(pixels.astype(np.uint16) * 257).save(photos / "deep.png")
    grey.convert("RGB").save(photos / "colour.bmp")
    grey.convert("RGBA").save(photos / "transparency.png")
    grey.convert("P").save(photos / "palette.png")
    grey.convert("RGB").save(photos / "lossless.webp", lossless=True)
    grey.save(photos / "grey.tiff")
    found = rows(predicted(tmp_path / "logs", trained_run, photos))
    assert len(found) == 7 and not any(row["error"] for row in found)
    for column in [f"prob/{k}" for k in range(10)]:
        values = [float(row[column]) for row in found]
        assert values == pytest.approx([values[0]] * 7, abs=1e-5), column


def test_predict_takes_a_file_a_glob_and_any_depth_of_folders(
    trained_run: Path, tmp_path: Path
) -> None:
    for index, name in enumerate(("a.png", "b.jpg", "deep/er/c.png")):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        digit(index).save(file)
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    photos, log_dir = tmp_path / "photos", tmp_path / "logs"
    assert [row["path"] for row in rows(predicted(log_dir, trained_run, photos))] == [
        "a.png",
        "b.jpg",
        "deep/er/c.png",
    ]
    by_glob = rows(predicted(log_dir, trained_run, f"{photos}/**/*.png"))
    assert [Path(row["path"]).name for row in by_glob] == ["a.png", "c.png"]
    (single,) = rows(predicted(log_dir, trained_run, photos / "b.jpg"))
    assert single["path"] == str(photos / "b.jpg") and single["label"] == ""


def test_hidden_files_are_passed_over(tmp_path: Path) -> None:
    root = tmp_path / ".mine" / "photos"  # hidden folders above do not count
    for name in ("a.png", "._a.png", ".thumbnails/a.png", "__MACOSX/._a.png", "deep/.b.jpg"):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        digit(0).save(file)
    found, folder, *_ = find_images(str(root))
    assert [file.relative_to(root).as_posix() for file in found] == ["a.png"] and folder == root
    by_glob, *_ = find_images(f"{root}/*.png")
    assert [file.name for file in by_glob] == ["a.png"]
    named, *_ = find_images(str(root / "._a.png"))  # asked for by name
    assert [file.name for file in named] == ["._a.png"]


@pytest.mark.skipif(os.name == "nt", reason="pipes of Unix")
def test_each_file_is_a_row_or_is_counted_by_its_ending(trained_run: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "deep" / "@eaDir").mkdir(parents=True)
    digit(0).save(photos / "a.jfif", "JPEG")
    digit(1).save(photos / "b", "PNG")
    digit(2).save(photos / "deep" / "c.gif")
    digit(2).save(photos / "deep" / "@eaDir" / "c.jpg")
    (photos / "broken.pgm").write_bytes(b"")
    (photos / "notes.txt").write_text("no image")
    (photos / "deep" / "more").write_text("no image")
    os.mkfifo(photos / "pipe.png")
    log_dir = tmp_path / "logs"
    folder = predicted(log_dir, trained_run, photos)
    assert {row["path"]: bool(row["error"]) for row in rows(folder)} == {
        **{"a.jfif": False, "b": False, "broken.pgm": True, "deep/c.gif": False}
    }
    ignored = {".txt": 1, "no ending": 1, "pipe, socket or device": 1}
    assert results(folder)["ignored_by_ending"] == ignored and results(folder)["ignored_files"] == 3
    assert "pipe, socket or device" in (folder / "run.log").read_text()
    for pattern in ("*", "**", "**/*"):  # a folder that a glob names is taken with all in it
        found = find_images(f"{photos}/{pattern}")
        names = [file.relative_to(photos).as_posix() for file in found.files]
        assert names == ["a.jfif", "b", "broken.pgm", "deep/c.gif"], pattern
        assert found.ignored == ignored
    with pytest.raises(UserError, match="is a pipe.*expected.*Try"):
        find_images(str(photos / "pipe.png"))
    with pytest.raises(UserError, match=r"gives no image \(1 .txt\).*expected.*Try"):
        find_images(f"{photos}/*.txt")
    with pytest.raises(UserError, match=r"notes.txt is no image.*expected.*Try.*data=csv"):
        find_images(str(photos / "notes.txt"))
    (photos / "moved.png").symlink_to("/nowhere/a.png")
    with pytest.raises(UserError, match=r"is a link to /nowhere/a.png.*expected.*Try"):
        find_images(str(photos / "moved.png"))


def test_a_file_name_that_is_no_unicode_is_kept(
    trained_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    with open(os.path.join(os.fsencode(photos), b"caf\xe9.png"), "wb") as stream:  # Latin-1
        digit(0).save(stream, "PNG")
    folder = predicted(tmp_path / "logs", trained_run, photos)
    text = (folder / "predictions.csv").read_text(encoding="utf-8", errors="surrogateescape")
    (row,) = csv.DictReader(text.splitlines())
    assert (photos / row["path"]).is_file() and row["predicted"]
    assert "caf" in (folder / "run.log").read_text(encoding="utf-8", errors="replace")
    assert "Logging error" not in capfd.readouterr().err


def test_the_label_is_the_folder_where_that_is_a_class(trained_run: Path, tmp_path: Path) -> None:
    for index, name in enumerate(("7/a.png", "other/b.png")):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True)
        digit(index).save(file)
    found = rows(predicted(tmp_path / "logs", trained_run, tmp_path / "photos"))
    assert [row["label"] for row in found] == ["7", ""]


@pytest.mark.parametrize(("kind", "command"), [("zip", "unzip"), ("gztar", "tar xf")])
def test_an_archive_is_told_how_to_unpack(tmp_path: Path, kind: str, command: str) -> None:
    (tmp_path / "photos").mkdir()
    digit(0).save(tmp_path / "photos" / "a.png")
    archive = Path(shutil.make_archive(str(tmp_path / "all"), kind, tmp_path / "photos"))
    with pytest.raises(UserError, match=rf"expected.*Try unpacking it \({command} {archive.name}"):
        find_images(str(archive))


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(UserError, match="gives no image"):
        find_images(str(tmp_path))


def test_a_classifier_takes_an_image_an_array_or_a_path(trained_run: Path, tmp_path: Path) -> None:
    classifier = strided.load(str(trained_run), device="cpu")
    image = digit(4)
    image.save(tmp_path / "4.png")
    answers = [
        classifier(image),
        classifier(np.asarray(image)),
        classifier(np.asarray(image.convert("RGB"))),
        classifier(tmp_path / "4.png"),
        classifier(str(tmp_path / "4.png")),
    ]
    for answer in answers:
        assert isinstance(answer, Prediction)
        assert answer.probabilities == pytest.approx(answers[0].probabilities, abs=1e-5)  # type: ignore[union-attr]


def test_a_prediction_names_every_class_and_sums_to_one(trained_run: Path) -> None:
    answer = strided.load(str(trained_run))(digit(0))
    assert isinstance(answer, Prediction)
    assert list(answer.probabilities) == [str(k) for k in range(10)]
    assert sum(answer.probabilities.values()) == pytest.approx(1.0, abs=1e-5)
    best = max(answer.probabilities, key=lambda label: answer.probabilities[label])
    assert answer.label == best


def test_several_images_give_as_many_predictions_whatever_the_batch(trained_run: Path) -> None:
    classifier = strided.load(str(trained_run))
    images = [digit(index) for index in range(7)]
    together = classifier(images)
    assert isinstance(together, list) and len(together) == 7
    for batch_size in (1, 3):
        apart = classifier(iter(images), batch_size=batch_size)
        assert isinstance(apart, list)
        for one, other in zip(together, apart, strict=True):
            assert one.label == other.label
            assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)
    assert classifier([]) == []


def test_a_classifier_agrees_with_the_predictions_of_training(trained_run: Path) -> None:
    classifier = strided.load(str(trained_run))
    found = rows(trained_run)[:20]
    for row in found:
        answer = classifier(digit(int(Path(row["path"]).stem)))
        assert isinstance(answer, Prediction) and answer.label == row["predicted"]
        shown = [float(row[f"prob/{k}"]) for k in range(10)]
        assert list(answer.probabilities.values()) == pytest.approx(shown, abs=2e-6)


def test_last_checkpoint_loads_too(trained_run: Path) -> None:
    classifier = strided.load(str(trained_run / "checkpoints" / "last.ckpt"))
    assert isinstance(classifier(digit(0)), Prediction)


def test_a_moved_run_folder_still_loads(copied_run: Path) -> None:
    (copied_run / "config.yaml").unlink()  # a checkpoint needs nothing else
    assert strided.load(str(copied_run)).classes == [str(k) for k in range(10)]


def test_a_broken_image_is_an_error_that_names_it(trained_run: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"not an image")
    with pytest.raises(UserError):
        strided.load(str(trained_run))(tmp_path / "broken.png")
