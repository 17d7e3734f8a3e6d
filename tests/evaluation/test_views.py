"""Views of an image whose answers are averaged: by the test, eval and predict alike."""

from pathlib import Path

import pytest
import torch
from tests.conftest import Train
from tests.stopping import results

from strided.cli import main
from strided.errors import UserError
from strided.evaluation.classifier import Classifier
from strided.evaluation.views import refuse_mirrors, refuse_unfitted, views_of

pytestmark = pytest.mark.usefixtures("blank_figures")


def test_multicrop_is_six_views_whose_shares_sum_to_1() -> None:
    image = torch.arange(9, dtype=torch.uint8).view(1, 1, 3, 3)
    views = views_of(image, "multicrop")
    assert [share for share, _ in views] == [0.25, 0.25, 0.125, 0.125, 0.125, 0.125]
    shown = [view[0, 0].tolist() for _, view in views]
    assert shown[0] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert shown[2] == [[4, 3, 4], [1, 0, 1], [4, 3, 4]]  # the first row and column are reflected
    assert shown[4] == [[4, 5, 4], [7, 8, 7], [4, 5, 4]]
    assert shown[1::2] == [[row[::-1] for row in view] for view in shown[::2]]
    assert [share for share, _ in views_of(image, "flip")] == [0.5, 0.5]
    assert views_of(image, "none")[0][1] is image


def test_views_of_a_run_are_those_of_its_test_eval_and_predict(
    run_train: Train, log_dir: Path, image_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("data=image_folder", f"data.root={image_folder}", "data.image_size=32")
    run = run_train(*words, "data.test_fraction=0.4", "evaluation.views=multicrop")
    tested = results(run)
    assert tested["views"] == "multicrop"
    given = [f"checkpoint={run}", "accelerator=cpu", f"log_dir={log_dir}"]
    assert main(["eval", *given]) == 0
    assert main(["predict", *given, f"input={image_folder}"]) == 0
    evaluated, predicted = (results(next(log_dir.glob(f"{v}/*/*"))) for v in ("eval", "predict"))
    assert evaluated["views"] == predicted["views"] == "multicrop"
    assert evaluated["test/loss"] == tested["test/loss"]
    capsys.readouterr()
    assert main(["eval", *given, "evaluation.views=none", "name=alone"]) == 0
    assert "were fitted on the answers of evaluation.views=multicrop" in capsys.readouterr().out
    alone = results(next(log_dir.glob("eval/alone/*")))
    assert alone["views"] == "none" and alone["test/loss"] != tested["test/loss"]
    assert main(["export", f"checkpoint={run}", f"bundle={log_dir}/b/m", f"log_dir={log_dir}"]) == 1
    assert "a bundle asks its network once" in capsys.readouterr().err
    both = f"checkpoint=[{run},{run_train(*words, 'data.test_fraction=0.4')}]"
    assert main(["eval", both, f"log_dir={log_dir}"]) == 0
    assert main(["predict", both, f"log_dir={log_dir}", f"input={image_folder}", "name=both"]) == 0
    for folder in ("eval/ensemble", "predict/both"):
        assert results(next(log_dir.glob(f"{folder}/*")))["views"] is None  # they differ


def test_views_are_not_calibrated_on_answers_without_them() -> None:
    refuse_unfitted("none", without_validation=True)
    refuse_unfitted("flip", without_validation=False)
    with pytest.raises(UserError, match=r"evaluation\.views=flip with data.*expected.*Try"):
        refuse_unfitted("flip", without_validation=True)


def test_an_answer_is_the_mean_of_the_answers_to_the_views(trained_run: Path) -> None:
    classifier = Classifier.load(trained_run, device="cpu")
    side = classifier.preprocessing.image_size
    pixels = torch.randint(256, (3, 1, side, side), dtype=torch.uint8)
    expected = (classifier.logits(pixels) + classifier.logits(pixels.flip(-1))) / 2
    classifier.views = "flip"
    torch.testing.assert_close(classifier.logits(pixels), expected)


def test_views_that_mirror_digits_are_refused(trained_run: Path) -> None:
    with pytest.raises(UserError, match=r"evaluation\.views=flip.*expected.*Try"):
        refuse_mirrors("flip", {"horizontal_flip": False})
    with pytest.raises(UserError, match="mirrors images"):
        Classifier.load(trained_run, device="cpu").use_views("multicrop")
