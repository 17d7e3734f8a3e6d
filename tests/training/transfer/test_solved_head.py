"""optimizer=lbfgs: a head that is solved on kept features, in a run like any other."""

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.stopping import TRUST, resume
from tests.training.transfer.transferring import BACKBONE, DATA, FailOnce, results

from strided.cli import main
from strided.data.preprocessing import Preprocessing
from strided.data.sets.image_folder import ImageFolder
from strided.decision.calibration import Calibration
from strided.evaluation.classifier import Classifier
from strided.models.pooled import PooledNetwork
from strided.runs.predictions_csv import Predictions
from strided.training.logistic import compared, solve
from strided.training.transfer import solved_head
from strided.training.transfer.inner_folds import inner_folds
from strided.training.transfer.solved_head import refuse_no_validation

pytestmark = pytest.mark.usefixtures("blank_figures")
POOLED = ("model.head=pooled", "model.pooled=[layer1,layer2]")
SOLVED = ("transfer=frozen", "optimizer=lbfgs")


def train(log_dir: Path, *words: str, code: int = 0) -> Path:
    before = set(log_dir.glob("train/*/*"))
    case = (*BACKBONE, *DATA, "trainer=cpu")
    assert main(["train", *case, *words, f"log_dir={log_dir}"]) == code
    (folder,) = set(log_dir.glob("train/*/*")) - before
    return folder


@pytest.fixture(scope="module")
def solved(weights: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pooled head whose penalty and last block were chosen. Read only."""
    words = ("optimizer.l2=[0.3,0.01]", "optimizer.last=[layer1,2]", "loss.class_weights=auto")
    return train(tmp_path_factory.mktemp("solved"), weights, *POOLED, *SOLVED, *words)


def test_a_solved_run_has_all_that_a_run_has(solved: Path) -> None:
    own = results(solved)
    with (solved / "metrics.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert own["best_epoch"] == 0 and own["best_val/acc"] == float(row["val/acc"])
    assert (solved / "report.html").is_file() and own["diagnosis"]["verdict"]
    assert {file.name for file in (solved / "checkpoints").iterdir()} >= {"best.ckpt", "last.ckpt"}
    assert own["test/acc"] > 0.5  # digits, of a network with nearly random weights
    how = own["solved"]
    assert [(one["l2"], one["last"]) for one in how["candidates"]] == [
        (l2, last) for last in ("layer1", "layer2") for l2 in (0.3, 0.01)
    ]
    assert how["converged"] and all(one["converged"] for one in how["candidates"])
    best = min(how["candidates"], key=lambda one: one["loss"])
    assert (how["l2"], how["last"]) == (best["l2"], best["last"])


def test_its_checkpoint_is_the_solution_and_evaluates_as_the_run_did(solved: Path) -> None:
    own, classifier = results(solved), Classifier.load(solved)
    net = classifier.task.model
    assert isinstance(net, PooledNetwork)
    weight = net.get_parameter("head.1.weight")
    assert not weight[:, own["solved"]["features"] :].any()
    assert main(["eval", f"checkpoint={solved}", "split=val", f"log_dir={solved.parent}"]) == 0
    (evaluated,) = solved.parent.glob("eval/*/*")
    assert results(evaluated)["val/loss"] == pytest.approx(_of_row(solved, "val/loss"), abs=1e-4)


def _of_row(folder: Path, name: str) -> float:
    with (folder / "metrics.csv").open(newline="") as stream:
        return float(next(csv.DictReader(stream))[name])


def test_predictions_of_inner_folds_are_those_of_the_chosen_candidate(solved: Path) -> None:
    own = results(solved)
    inner = Predictions.read(solved / "inner_predictions.csv")
    assert len(inner.paths) == own["splits"]["train"]
    weights = np.array([own["class_weights"][label] for label in inner.labels])
    loss = float((weights * inner.negative_log_likelihoods()).mean())
    assert loss == pytest.approx(min(one["loss"] for one in own["solved"]["candidates"]), abs=1e-3)


def test_a_solution_does_not_depend_on_the_seed_and_a_killed_run_solves_again(
    weights: str, log_dir: Path, tmp_path: Path
) -> None:
    words = (weights, "model.head=linear", *SOLVED, "optimizer.l2=0.1")
    fail = (
        f"+callbacks.fail._target_={FailOnce.__module__}.FailOnce",
        "+callbacks.fail.epoch=0",
        f"+callbacks.fail.mark={tmp_path / 'failed'}",
    )
    folder = train(log_dir, *words, *fail, TRUST, "seed=1", code=1)
    resume(folder, TRUST, fail[-1])
    whole = train(log_dir, *words, "seed=2")
    one, two = (
        torch.load(run / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
        for run in (folder, whole)
    )
    assert all(torch.allclose(one[name], two[name], atol=1e-6) for name in one)
    assert not (whole / "inner_predictions.csv").exists()
    assert results(whole)["solved"]["candidates"] == []


@pytest.mark.slow
def test_renderings_of_an_image_are_fitted_with_it_and_stay_in_its_inner_fold(
    weights: str, log_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def spy(features: torch.Tensor, targets: torch.Tensor, fold_of: np.ndarray, *more: Any) -> Any:
        found = list(compared(features, targets, fold_of, *more))
        given.append((features, targets, fold_of, found[0].logits))
        return iter(found)

    monkeypatch.setattr(solved_head, "compared", spy)
    words = [weights, "model.head=linear", *SOLVED, "optimizer.l2=0.1", "data.val_fraction=0"]
    words += ["data.test_fraction=0.05", "shortcuts=true", "transfer.renderings=[jpeg,gamma]"]
    folder = train(log_dir, *words)
    own, names = results(folder), ["gamma 0.7", "gamma 1.4", "JPEG of quality 30"]
    images, (row,) = own["splits"]["train"], own["stages"]
    assert own["solved"]["renderings"] == names and row["features"]["views"] == 4
    ((features, targets, fold_of, logits),) = given
    plain, *rendered = features.reshape(4, images, -1)
    assert not any(torch.allclose(plain, one) for one in rendered)
    assert (targets.reshape(4, images, -1) == targets[:images]).all()
    assert (fold_of.reshape(4, images) == fold_of[:images]).all()
    net = Classifier.load(folder).task.model
    head = solve(features, targets, 0.1)
    assert torch.allclose(net.get_parameter("fc.1.weight").double(), head.weight, atol=1e-4)
    inner = Predictions.read(folder / "inner_predictions.csv")  # of images as they are
    assert np.allclose(inner.probabilities, logits[:images].softmax(1).numpy(), atol=1e-5)
    stress, tested = own["shortcuts"]["stress"], own["splits"]["test"]
    assert {count["images"] for count in stress.values()} == {tested}
    assert [name for name, count in stress.items() if count["trained"] == tested] == names
    page = (folder / "report.html").read_text()
    assert page.count("<td>no: left out</td>") == 5
    assert "Of those that the head was not fitted on" in page


def test_renderings_need_a_head_that_is_solved(
    log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("data=digits", "transfer.renderings=[zoom]", f"log_dir={log_dir}")
    assert main(["train", *words]) == 1
    assert "Try transfer=frozen optimizer=lbfgs" in capsys.readouterr().err


def test_inner_folds_keep_groups_and_copies_whole_and_have_every_class() -> None:
    labels = np.tile(np.arange(3), 20)
    digests = np.arange(60, dtype=np.uint64) + np.uint64(1)
    digests[6] = digests[9]  # the same pixels in groups 2 and 3

    class Data:
        classes = ("a", "b", "c")
        source: Any = type("Source", (), {"labels": labels, "group": np.arange(60) // 3})
        copies = digests

    data: Any = Data()
    fold_of = inner_folds(data, np.arange(60), 3, seed=0)
    by_group = fold_of.reshape(20, 3)
    assert (by_group == by_group[:, :1]).all() and by_group[2, 0] == by_group[3, 0]
    assert all(len(np.unique(labels[fold_of == fold])) == 3 for fold in range(3))


def test_inner_folds_need_no_pixels_of_streamed_images(tmp_path: Path) -> None:
    for number in range(24):
        file = tmp_path / "images" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8 + number, 8), 10 * number).save(file)
    root, cache = str(tmp_path / "images"), str(tmp_path / "cache")
    data = ImageFolder(root=root, pipeline="streaming", mean=[0.5], std=[0.5], cache_dir=cache)
    data.use(Preprocessing(image_size=8, channels=1, mean=(0.5,), std=(0.5,)))
    data.setup()
    indices = data.readable("train")
    assert not data.digests("train").any()  # as where all features are kept
    fold_of = inner_folds(data, indices, 3, seed=0)
    assert set(np.bincount(fold_of).tolist()) <= {len(indices) // 3, len(indices) // 3 + 1}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("transfer=two_stage",), ["other stages", "transfer=frozen"]),
        (("transfer=frozen", "transfer.cache=false"), ["transfer.cache=auto"]),
        (("transfer=frozen", "model.head=mlp"), ["the layers Linear, Linear", "head=linear"]),
        (("transfer=frozen", "loss=focal"), ["loss=cross_entropy"]),
        (("transfer=frozen", "transfer.renderings=[blur]"), ["has blur", "[zoom,gamma,equalize"]),
        (("transfer=frozen", "optimizer.l2=-1"), ["above 0", "optimizer.l2=0.1"]),
        (("transfer=frozen", "optimizer.last=[layer1]"), ["head=pooled", "optimizer.last=null"]),
        (("transfer=frozen", *POOLED, "optimizer.last=[layer3]"), ["model.pooled=[layer1,layer2]"]),
        (("transfer=frozen", "trainer.max_epochs=3"), ["takes no steps", "optimizer=adam"]),
        (("transfer=frozen", "scheduler=cosine"), ["takes no steps"]),
        (("transfer=frozen", "optimizer.lr=1"), ["optimizer.lr is not an argument"]),
    ],
)
def test_mistakes_say_what_to_try(
    words: tuple[str, ...],
    expected: list[str],
    weights: str,
    log_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    case = (*BACKBONE, *DATA, "trainer=cpu", "optimizer=lbfgs")
    capsys.readouterr()
    assert main(["train", *case, weights, *words, f"log_dir={log_dir}"]) == 1
    message = capsys.readouterr().err
    assert len(message.splitlines()) <= 15 and "Traceback" not in message
    for part in expected:
        assert part in message
    assert not list(log_dir.glob("train/*/*/metrics.csv"))


def test_without_validation_all_of_the_rest_is_trained_on(
    weights: str, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (weights, "model.head=linear", "data.val_fraction=0", "data.train_fraction=1.0")
    folder = train(log_dir, *words, *SOLVED, "optimizer.l2=[0.3,0.1]")
    own = results(folder)
    assert own["splits"] == {"train": 1438, "val": 0, "test": 359}
    assert own["best_epoch"] == 0 and "diagnosis" not in own
    assert (folder / "report.html").is_file() and own["tested"] == 359
    assert (own["calibration"]["fitted_on"], own["calibration"]["images"]) == ("inner folds", 1438)
    with np.load(folder / "checkpoints" / "inner_logits.npz") as kept:
        fitted = Calibration.fit("temperature", kept["logits"], kept["labels"])
    assert own["calibration"]["temperature"] == pytest.approx(fitted.temperature)
    assert not (folder / "val_predictions.csv").exists() and own["test/set_coverage"] > 0.8
    untested = train(log_dir, *words, *SOLVED, "optimizer.l2=0.1", "data.test_fraction=0")
    assert "tested" not in results(untested)
    assert results(untested)["calibration"]["images"] == 1797  # one l2 needs folds only for this
    capsys.readouterr()
    train(log_dir, *words, "transfer=frozen", code=1)
    assert (
        "Try data.val_fraction=0.1, or transfer=frozen optimizer=lbfgs" in capsys.readouterr().err
    )


def test_a_validation_split_that_is_left_out_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    config: Any = {"optimizer": {"_target_": "strided.training.LBFGS"}, "data": {"val_fraction": 0}}
    data: Any = SimpleNamespace(splits={"val": np.arange(3)})
    with caplog.at_level("WARNING"):
        refuse_no_validation(config, data)
    assert "own val split (3 images) is not trained on, and no epoch is validated" in caplog.text
    assert "calibrated on it" in caplog.text and "~data.val_fraction" in caplog.text
