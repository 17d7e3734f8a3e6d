"""strided from Python: what its functions return, how it looks, and what mistakes say."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.conftest import TINY

import strided
from strided.errors import UserError
from strided.evaluation.classifier import Classifier
from strided.jobs.runner import refuse_sweep
from strided.jobs.trained_run import TrainedRun
from strided.runs.folder import read_results


@pytest.fixture(scope="module")
def run(trained_run: Path) -> TrainedRun:
    """`trained_run` as strided.train returned it."""
    return TrainedRun(read_results(trained_run), trained_run)


def test_a_run_is_its_results_and_knows_its_folder(log_dir: Path) -> None:
    run = strided.train([*TINY, "model=mlp", "model.hidden=[8]", f"log_dir={log_dir}"])
    (folder,) = log_dir.glob("train/mlp-digits/*")
    assert run == json.loads((folder / "results.json").read_text())
    assert run.folder == folder and run.report == folder / "report.html"
    classifier = run.classifier(device="cpu")
    pictures: list[np.ndarray | Image.Image] = [
        np.zeros((8, 8), np.uint8),
        Image.new("RGB", (30, 20), "white"),
    ]
    answers = classifier(pictures)
    assert isinstance(answers, list) and [answer.label in "0123456789" for answer in answers]
    assert f"{run['test/acc']:.2%}" in repr(run) and str(folder) in repr(run)


def test_a_run_without_a_report_says_where_it_is(log_dir: Path) -> None:
    run = strided.train([*TINY, "debug=fast_dev_run", f"log_dir={log_dir}"])
    assert run.report is None and f"folder: {run.folder}" in run._repr_html_()


def test_a_notebook_shows_headline_and_curves(run: TrainedRun) -> None:
    shown = run._repr_html_()
    assert f"Test accuracy {run['test/acc']:.2%}" in shown
    assert shown.count('src="data:image/png;base64,') == 2
    assert f"report: {run.folder / 'report.html'}" in shown


def test_what_a_notebook_shows_is_no_markup(copied_run: Path) -> None:
    folder = copied_run.rename(copied_run.parent / "<script>alert(1)<")
    (folder / "report.html").unlink()
    shown = TrainedRun(read_results(folder), folder / "x\n<b>")._repr_html_()
    assert "<script>" not in shown and "&lt;script&gt;" in shown and "x\\n&lt;b&gt;" in shown


def test_a_classifier_says_what_it_is(run: TrainedRun, trained_run: Path) -> None:
    classifier = run.classifier(device="cpu")
    checkpoint = trained_run / "checkpoints" / "best.ckpt"
    assert repr(classifier) == (
        "<Classifier LeNet5: 10 classes (0, 1, 2, 3, 4, ...), input 1 x 32 x 32, on cpu, "
        f"from {checkpoint}>"
    )
    classifier.classes = ["a\n\x1b[2J", "b"]
    assert "2 classes (a\\n\\x1b[2J, b)" in repr(classifier)


def test_compose_needs_no_verb_and_takes_one() -> None:
    composed = strided.compose(["model=mlp", "seed=3"])
    assert composed == strided.compose("train", ["model=mlp", "seed=3"])
    assert composed["seed"] == 3 and composed["model"]["_target_"] == "strided.models.MLP"
    assert strided.compose() == strided.compose([])
    assert strided.compose("predict", ["checkpoint=x", "input=y"])["input"] == "y"


WRONG: dict[str, tuple[Any, tuple[str, ...]]] = {
    "a text": ("model=mlp", ('train(["model=mlp"',)),
    "nothing": (None, ("None", "list of key=value words")),
    "a mapping": ({"model": "mlp"}, ('Try train(["model=mlp"])',)),
    "a number among them": (["model=mlp", 3], ("3 (int)",)),
    "a flag": (["-m", "seed=1,2"], ("-m, a flag", "config_dir=")),
    "a misspelt key": (["modle=mlp"], ("modle", "Did you mean model?")),
    "an experiment of many runs": (
        ["experiment=xray"],
        ("many runs, over data.fold", 'Try train([..., "data.fold=0"]'),
    ),
    "an unused key": (["trainer.min_epochs=2", "trainer.max_epochs=1"], ("min_epochs",)),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_words_are_answered_as_on_the_command_line(case: str, log_dir: Path) -> None:
    words, said = WRONG[case]
    with pytest.raises(UserError) as raised:
        strided.train(words)
    assert all(part in str(raised.value) for part in said), raised.value
    if isinstance(words, list) and "experiment=xray" not in words:
        with pytest.raises(UserError) as again:
            strided.compose(words)
        assert str(again.value) == str(raised.value).replace("train was", "compose was").replace(
            "train([", "compose(["
        )
    assert not log_dir.exists()


def test_a_run_of_an_experiment_of_many_is_one_with_each_key_typed() -> None:
    config, words = strided.compose(["experiment=xray"]), ["experiment=xray", "data.fold=2"]
    refuse_sweep(config, words)
    with pytest.raises(UserError, match="many runs"):
        refuse_sweep(config, words[:1])


def test_compose_of_a_text_is_answered() -> None:
    with pytest.raises(UserError, match=r"no verb model=mlp.*expected.*Try compose"):
        strided.compose("model=mlp")


LOADING: dict[str, tuple[dict[str, Any], str]] = {
    "no path": ({"run_or_checkpoint": None}, "run_or_checkpoint was None; expected a path"),
    "no folder": ({"run_or_checkpoint": "nowhere"}, "nowhere.*expected.*Try"),
    "trust as text": ({"trust": "tiny"}, r'expected a list.*Try trust=\["tiny"\]'),
    "a device": ({"device": "gpux"}, "gpux; expected auto, cpu or gpu. Try"),
    "no device": ({"device": None}, "None; expected auto, cpu or gpu. Try"),
    "another GPU": ({"device": "cuda:99"}, "cuda:99, but torch sees .*; expected.*Try"),
    "a precision": ({"precision": "64"}, "precision=64; expected.*Try"),
    "config_dir": ({"config_dir": 3}, r'3 \(int\); expected a path.*Try config_dir="mine"'),
}


@pytest.mark.parametrize("case", LOADING)
def test_what_cannot_be_loaded_is_answered(case: str, trained_run: Path) -> None:
    given, said = LOADING[case]
    with pytest.raises(UserError, match=said):
        strided.load(**{"run_or_checkpoint": str(trained_run), **given})


IMAGES: dict[str, tuple[Any, str]] = {
    "None": (None, "None is no image"),
    "a number": (3, r"3 \(int\) is no image"),
    "bytes": (b"PNG", "is no image"),
    "a tensor": (torch.zeros(1, 8, 8), r"\(Tensor\) is no image"),
    "a mapping": ({"a.png": 1}, "is no image"),
    "lists of numbers": ([[0, 1], [2, 3]], r"\[0, 1\] \(list\) is no image"),
    "None among others": ([np.zeros((8, 8), np.uint8), None], "None is no image"),
    "a missing file": ("nowhere.png", "nowhere.png .*cannot be read: No such file.*Try"),
    "a folder": (Path("/"), "/ cannot be read: no file, but a folder.*Try"),
    "floats": (np.zeros((8, 8)), "array of float64; expected uint8.*Try"),
    "a batch": (np.zeros((4, 8, 8, 3), np.uint8), r"expected \(H, W\).*Try list\(array\)"),
    "an empty array": (np.zeros((0, 8), np.uint8), r"shape \(0, 8\); expected.*Try"),
}


@pytest.fixture(scope="module")
def classifier(run: TrainedRun) -> Classifier:
    return run.classifier(device="cpu")


@pytest.mark.parametrize("case", IMAGES)
def test_what_is_no_image_is_answered(case: str, classifier: Classifier) -> None:
    given, said = IMAGES[case]
    with pytest.raises(UserError, match=said) as raised:
        classifier(given)
    assert "expected" in str(raised.value) and "Try" in str(raised.value)


def test_a_wrong_batch_size_is_answered(classifier: Classifier) -> None:
    with pytest.raises(UserError, match=r"batch_size was 0 \(int\); expected.*Try batch_size=64"):
        classifier([np.zeros((8, 8), np.uint8)], batch_size=0)
