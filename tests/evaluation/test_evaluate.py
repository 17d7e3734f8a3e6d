import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tests.conftest import Train, with_splits, write_images

from strided.cli import main
from strided.errors import UserError
from strided.evaluation.classifier import Classifier
from strided.evaluation.evaluate import evaluate
from strided.evaluation.held_out import set_up_data
from strided.evaluation.precision import inference_precision
from strided.evaluation.predict_files import find_images, predict_files

pytestmark = pytest.mark.usefixtures("blank_figures")


def evaluated(log_dir: Path, *words: str, code: int = 0) -> Path:
    """Run eval in this process, expecting an exit code; return its new run folder."""
    before = set(log_dir.glob("eval/*/*"))
    assert main(["eval", *words, "accelerator=cpu", f"log_dir={log_dir}"]) == code
    (folder,) = set(log_dir.glob("eval/*/*")) - before
    return folder


def results(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return loaded


def predictions(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def assert_same_metrics(one: dict[str, Any], two: dict[str, Any], split: str) -> None:
    measured = {key for key in one if key.startswith(f"{split}/")}
    assert measured == {key for key in two if key.startswith(f"{split}/")} and len(measured) > 10
    for key in measured:
        assert one[key] == pytest.approx(two[key], abs=1e-6), key


def test_eval_agrees_with_the_test_of_training(
    trained_run: Path, log_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    folder = evaluated(log_dir, f"checkpoint={trained_run}")
    assert_same_metrics(results(trained_run), results(folder), "test")
    assert results(folder)["confusion"] == results(trained_run)["confusion"]
    assert results(folder)["split_hash"] == results(trained_run)["split_hash"]
    names = [(run / "predictions.csv").read_bytes() for run in (folder, trained_run)]
    assert names[0] == names[1]
    assert folder.parent.name == "lenet5-digits" and not list(elsewhere.iterdir())


def test_the_precision_is_what_was_asked_for_and_is_recorded(
    trained_run: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert results(trained_run)["inference_precision"] == "32-true"
    whole = (trained_run / "predictions.csv").read_bytes()
    for precision in ("32-true", "bf16-mixed"):
        folder = evaluated(log_dir, f"checkpoint={trained_run}", f"precision={precision}")
        found = results(folder)
        assert found["inference_precision"] == precision
        assert found["test/acc"] == pytest.approx(results(trained_run)["test/acc"], abs=0.01)
        same = (folder / "predictions.csv").read_bytes() == whole
        assert same is (precision == "32-true")
    evaluated(log_dir, f"checkpoint={trained_run}", "precision=16-mixed", code=1)
    said = capsys.readouterr().err
    assert "precision=16-mixed on a CPU; expected a GPU" in said and "Try precision=32" in said


@pytest.mark.parametrize(
    ("trained", "device", "expected"),
    [
        ("32-true", "cuda", "32-true"),
        ("bf16-mixed", "cuda", "bf16-mixed"),
        ("bf16-true", "cuda", "bf16-mixed"),
        ("16-mixed", "cuda", "16-mixed"),
        ("16-true", "mps", "16-mixed"),
        ("bf16-mixed", "cpu", "32-true"),
        ("16-mixed", "cpu", "32-true"),
    ],
)
def test_on_a_gpu_the_precision_is_that_of_the_training(
    trained: str, device: str, expected: str
) -> None:
    assert inference_precision(None, trained, torch.device(device)) == expected


def test_what_an_evaluation_switches_is_switched_back(
    trained_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    classifier = Classifier.load(trained_run, device="cpu", precision="bf16-mixed")
    seen = []
    classifier.task.register_forward_hook(
        lambda *_: seen.append((torch.backends.cudnn.benchmark, torch.is_autocast_enabled("cpu")))
    )
    logits = classifier.logits(torch.zeros(2, 1, 32, 32, dtype=torch.uint8))
    assert logits.dtype == torch.float32 and seen == [(False, True)]
    assert torch.backends.cudnn.benchmark and not torch.is_autocast_enabled("cpu")


def test_metrics_follow_from_the_predictions(trained_run: Path, log_dir: Path) -> None:
    folder = evaluated(log_dir, f"checkpoint={trained_run}")
    rows, found = predictions(folder), results(folder)
    right = sum(row["label"] == row["predicted"] for row in rows) / len(rows)
    assert found["test/acc"] == pytest.approx(right)
    assert sum(map(sum, found["confusion"])) == len(rows) == found["splits"]["test"]
    low, high = found["test/acc_ci95"]
    assert low < right < high


def test_val_can_be_measured_and_is_that_of_training(trained_run: Path, log_dir: Path) -> None:
    folder = evaluated(log_dir, f"checkpoint={trained_run}", "split=val")
    assert "were chosen on these images: figures flatter" in (folder / "run.log").read_text()
    found = results(folder)
    assert found["val/acc"] == pytest.approx(results(trained_run)["best_val/acc"], abs=1e-6)
    assert not any(key.startswith("test/") for key in found)
    assert found["splits"] == {"val": 288}


def test_last_checkpoint_can_be_measured(trained_run: Path, log_dir: Path) -> None:
    file = trained_run / "checkpoints" / "last.ckpt"
    folder = evaluated(log_dir, f"checkpoint={file}", "split=val")
    with (trained_run / "metrics.csv").open(newline="") as stream:
        last = list(csv.DictReader(stream))[-1]
    assert results(folder)["val/acc"] == pytest.approx(float(last["val/acc"]), abs=1e-6)
    assert results(folder)["val/loss"] == pytest.approx(float(last["val/loss"]), abs=1e-5)


@pytest.fixture
def folder_run(image_folder: Path, run_train: Train) -> tuple[Path, Path]:
    """A run on an image folder with train/, val/ and test/, and that folder."""
    root = with_splits(image_folder, "train", "val", "test")
    run = run_train("data=image_folder", f"data.root={root}", "data.image_size=32", "optimizer=sgd")
    return run, root


@pytest.fixture
def new_images(tmp_path: Path) -> Path:
    """A folder of images of the same classes that no run here is trained on."""
    return write_images(tmp_path / "new", size=13)


def test_another_data_set_with_the_same_classes_can_be_measured(
    folder_run: tuple[Path, Path], new_images: Path, log_dir: Path
) -> None:
    run, _ = folder_run
    folder = evaluated(log_dir, f"checkpoint={run}", "data=image_folder", f"data.root={new_images}")
    found = results(folder)
    assert found["data_fingerprint"] != results(run)["data_fingerprint"]
    assert found["classes"] == ["blue", "green", "red"]
    assert len(predictions(folder)) == found["splits"]["test"]


def test_a_new_split_of_the_training_data_is_refused(
    trained_run: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluated(log_dir, f"checkpoint={trained_run}", "data.split_seed=0")  # the one it has
    for words in (["data.split_seed=1"], ["data=digits", "data.split_seed=1"]):
        folder = evaluated(log_dir, f"checkpoint={trained_run}", *words, code=1)
        message = capsys.readouterr().err
        assert "data.split_seed=1" in message and "trained on" in message, words
        assert "test/acc" not in results(folder)


def test_the_same_data_set_typed_again_is_split_as_in_training(
    run_train: Train, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_train("model=mlp", "data.split_seed=7")
    folder = evaluated(log_dir, f"checkpoint={run}", "data=digits", "data.split_seed=7")
    assert results(folder)["split_hash"] == results(run)["split_hash"]
    evaluated(log_dir, f"checkpoint={run}", "data=digits", code=1)  # split_seed=0
    assert "trained on" in capsys.readouterr().err


def test_another_spelling_of_the_root_is_the_same_data(
    image_folder: Path, run_train: Train, log_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_train("data=image_folder", f"data.root={image_folder}", "data.image_size=32")
    monkeypatch.chdir(image_folder.parent)
    words = (f"checkpoint={run}", "data=image_folder", f"data.root={image_folder.name}")
    evaluated(log_dir, *words, "data.split_seed=1", code=1)
    folder = evaluated(log_dir, *words)
    assert_same_metrics(results(run), results(folder), "test")


def test_another_root_may_be_split_anew(
    folder_run: tuple[Path, Path], new_images: Path, log_dir: Path
) -> None:
    run, _ = folder_run
    words = (f"data.root={new_images}", "data.split_seed=1", "data.test_fraction=0.5")
    folder = evaluated(log_dir, f"checkpoint={run}", *words)
    assert results(folder)["splits"]["test"] == 12


def test_a_test_set_that_has_moved_gives_the_same_numbers(
    folder_run: tuple[Path, Path], log_dir: Path
) -> None:
    run, root = folder_run
    moved = root.rename(root.with_name("moved"))
    folder = evaluated(log_dir, f"checkpoint={run}", "data=image_folder", f"data.root={moved}")
    assert_same_metrics(results(run), results(folder), "test")


def test_a_carved_split_is_refused_where_files_or_the_folder_have_changed(
    image_folder: Path, run_train: Train, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_train("data=image_folder", f"data.root={image_folder}", "data.image_size=32")
    moved = Path(shutil.copytree(image_folder, image_folder.with_name("moved")))
    words = (f"checkpoint={run}", f"data.root={moved}")
    evaluated(log_dir, *words)
    evaluated(log_dir, *words, "data.split_seed=1", code=1)
    assert "trained on" in capsys.readouterr().err
    red = image_folder / "red"
    Image.open(red / "0.png").rotate(90).save(red / "00.png")
    evaluated(log_dir, f"checkpoint={run}", code=1)
    assert "added, removed or renamed" in capsys.readouterr().err
    assert main(["train", f"resume={run}", "trainer.max_epochs=2"]) == 1
    assert "not those that this run began with" in capsys.readouterr().err


def test_a_data_set_with_other_classes_is_refused(
    trained_run: Path, image_folder: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("data=image_folder", f"data.root={image_folder}")
    folder = evaluated(log_dir, f"checkpoint={trained_run}", *words, code=1)
    assert results(folder)["state"] == "failed"
    assert "images and the checkpoint have different classes" in capsys.readouterr().err


def test_a_skipped_test_image_has_a_row_with_the_reason(
    image_folder: Path, run_train: Train
) -> None:
    root = with_splits(image_folder, "train", "val", "test")
    (root / "test" / "red" / "broken.png").write_bytes(b"not an image")
    run = run_train(
        "data=image_folder", f"data.root={root}", "data.image_size=32", "data.on_error=skip"
    )
    rows = {row["path"]: row for row in predictions(run)}
    assert len(rows) == 25 and results(run)["skipped"] == 1
    broken = rows["red/broken.png"]
    assert broken["error"] and broken["predicted"] == "" and broken["prob/red"] == ""
    assert results(run)["splits"]["test"] == 24


@pytest.mark.parametrize(("limit", "images"), [(4, 16), (0.5, 12), (0.01, 4)])
def test_a_limited_test_is_of_every_class_in_order(
    limit: int | float, images: int, image_folder: Path, run_train: Train
) -> None:
    root = with_splits(image_folder, "train", "test")  # 8 blue, 8 green, then 8 red
    words = [f"data.root={root}", "data.batch_size=4", f"trainer.limit_test_batches={limit}"]
    run = run_train("data=image_folder", "data.image_size=32", *words)
    rows = predictions(run)
    assert len(rows) == results(run)["tested"] == images and results(run)["splits"]["test"] == 24
    labels = [row["label"] for row in rows]
    assert set(labels) == {"blue", "green", "red"} and labels == sorted(labels)
    assert all(row["path"].startswith(f"{row['label']}/") for row in rows)


# Outputs that are no numbers


def test_weights_that_are_not_finite_are_refused(
    copied_run: Path, log_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = copied_run / "checkpoints" / "best.ckpt"
    saved = torch.load(file, weights_only=True)
    name = list(saved["state_dict"])[-1]
    saved["state_dict"][name][0] = float("nan")
    torch.save(saved, tmp_path / "nan.ckpt")
    for verb, extra in (("eval", []), ("predict", [f"input={write_images(tmp_path / 'i', 1)}"])):
        words = [f"checkpoint={tmp_path / 'nan.ckpt'}", *extra, f"log_dir={log_dir}"]
        assert main([verb, *words]) == 1
        assert f"{name} holds values that are not finite" in capsys.readouterr().err


def with_nan(classifier: Classifier, index: int) -> Classifier:
    """Let a classifier give NaN for the image of this place in each batch."""
    whole = classifier.outputs

    def outputs(pixels: torch.Tensor) -> torch.Tensor:
        found = whole(pixels).clone()
        found[index] = float("nan")
        return found

    classifier.outputs = outputs  # type: ignore[method-assign]
    return classifier


def test_an_image_with_outputs_that_are_not_finite_has_a_row_and_no_part_in_the_metrics(
    trained_run: Path,
) -> None:
    classifier = Classifier.load(trained_run, device="cpu")
    data = set_up_data(classifier, None)
    data.splits["test"] = data.limited("test", 1)
    whole = evaluate(classifier, data, "test")
    part = evaluate(with_nan(classifier, 3), data, "test")
    assert part.count == whole.count - 1
    assert "not finite" in part.rows[3].error and part.rows[3].probabilities is None
    assert [row.path for row in part.rows] == [row.path for row in whole.rows]
    hits = [
        max(range(10), key=row.probabilities.__getitem__) == classifier.classes.index(row.label)
        for row in part.rows
        if row.probabilities is not None
    ]
    assert part.metrics["test/acc"] == pytest.approx(sum(hits) / len(hits))


def test_predict_gives_such_an_image_an_error(trained_run: Path, tmp_path: Path) -> None:
    classifier = with_nan(Classifier.load(trained_run, device="cpu"), 1)
    rows = predict_files(classifier, find_images(str(write_images(tmp_path / "images", 1))), 8)
    assert [bool(row.error) for row in rows] == [False, True, False]
    with pytest.raises(UserError, match="not finite"):  # and no class that looks like any other
        classifier(sorted((tmp_path / "images").glob("*/*.png")))


def test_a_set_with_some_of_the_classes_is_measured_by_the_checkpoints_names(
    folder_run: tuple[Path, Path], new_images: Path, tmp_path: Path, log_dir: Path
) -> None:
    run, _ = folder_run
    two, one = tmp_path / "two" / "test", tmp_path / "one"
    for label in ("red", "green"):
        shutil.copytree(new_images / label, two / label)
    shutil.copytree(new_images / "red", one / "red")
    rows = [f"{one}/red/{k}.png,red,test" for k in range(8)]
    table = tmp_path / "of_one.csv"
    table.write_text("\n".join(["path,label,split", *rows]))
    for words in (
        ["data=image_folder", f"data.root={two.parent}"],
        ["data=image_folder", f"data.root={two.parent}", "data.pipeline=streaming"],
        ["data=csv", f"data.csv={table}"],
        ["data=image_folder", f"data.root={one}"],
    ):
        folder = evaluated(log_dir, f"checkpoint={run}", *words)
        found, said = results(folder), predictions(folder)
        labels = {row["label"] for row in said}
        assert labels == ({"red", "green"} if "two" in words[1] else {"red"})
        assert found["classes"] == ["blue", "green", "red"]
        assert found["test/f1/blue"] is None and found["test/recall/red"] is not None
        assert [sum(row) for row in found["confusion"]] == [
            sum(row["label"] == name for row in said) for name in found["classes"]
        ]
        hits = sum(row["label"] == row["predicted"] for row in said)
        assert found["test/acc"] == pytest.approx(hits / len(said))
        recalls = [found[f"test/recall/{name}"] for name in labels]
        assert found["test/recall"] == pytest.approx(sum(recalls) / len(recalls))
        assert (found["test/auroc"] is None) == (len(labels) == 1)
        assert len(said) == (2 if words[1].endswith("one") else 8 * len(labels))
        log = (folder / "run.log").read_text()
        assert "test has no image of" in log
        assert ("2 of its 8 images are measured" in log) == words[1].endswith("one")


def test_a_class_that_the_checkpoint_does_not_know_is_refused_by_name(
    folder_run: tuple[Path, Path],
    new_images: Path,
    log_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, _ = folder_run
    (new_images / "red").rename(new_images / "Red")
    (new_images / "green").rename(new_images / "artefact")
    words = ("data=image_folder", f"data.root={new_images}")
    evaluated(log_dir, f"checkpoint={run}", *words, code=1)
    message = capsys.readouterr().err
    assert "does not know Red (it has red), artefact; expected no others than blue" in message
    assert "Try " in message


def test_another_table_of_the_same_folder_is_other_data(
    image_folder: Path, log_dir: Path, run_train: Train
) -> None:
    names = sorted(path.relative_to(image_folder).as_posix() for path in image_folder.rglob("*.*"))
    for table, chosen in (("train", names[::2]), ("others", names[1::2])):
        rows = [f"{name},{name.partition('/')[0]}" for name in chosen]
        (image_folder / f"{table}.csv").write_text("\n".join(["path,label", *rows]))
    run = run_train("data=csv", f"data.csv={image_folder}/train.csv", "data.image_size=32")
    folder = evaluated(log_dir, f"checkpoint={run}", f"data.csv={image_folder}/others.csv")
    assert {row["path"] for row in predictions(folder)} <= set(names[1::2])
