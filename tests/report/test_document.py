import base64
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.conftest import with_splits

from strided.config.keys import Config
from strided.report.document import write_report
from strided.report.triage import triage_section
from strided.runs.metrics_csv import read_metrics

Train = Callable[..., Path]
METRICS = """epoch,step,lr,train/loss,train/acc,val/loss,val/acc
0,8,0.1,2.5,0.25,2.0,0.5
1,16,0.1,1.5,0.75,,
"""
RESULTS: Any = {
    "command": ["model=mlp", "name=<script>alert(1)</script>"],
    "classes": ["<b>bold</b>", "a & b"],
    "train_seconds": 12.34,
    "best_epoch": 1,
    "test/acc": 0.8765,
    "test/acc_ci95": [0.8, 0.93],
    "test/loss": 0.4321,
    "test/auroc": None,
    "test/recall/<b>bold</b>": 0.9123,
    "test/recall/a & b": None,
    "confusion": [[7, 3], [1, 9]],
}


def reported(folder: Path, results: Any) -> str:
    (folder / "metrics.csv").write_text(METRICS)
    config: Config = {
        "name": "a <i>name</i>",
        "seed": 0,
        "augment": {"_target_": "strided.data.BatchAugment"},
    }
    write_report(folder, config, results)
    return (folder / "report.html").read_text()


def assert_self_contained(page: str) -> None:
    assert not re.search(r"https?://|//[a-z]", re.sub(r"base64,[^\"]*", "", page))
    sources = re.findall(r"(?:src|href)\s*=\s*[\"']([^\"']*)", page)
    assert sources
    for source in sources:
        kind, _, content = source.partition(";base64,")
        data = base64.b64decode(content, validate=True)
        assert f"data:image/{str(Image.open(io.BytesIO(data)).format).lower()}" == kind
    assert "<script" not in page and "@import" not in page and "url(" not in page


def test_a_report_opens_without_a_network(trained_run: Path) -> None:
    assert_self_contained((trained_run / "report.html").read_text())


def test_a_report_holds_the_numbers_of_the_run(trained_run: Path) -> None:
    page = (trained_run / "report.html").read_text()
    results = json.loads((trained_run / "results.json").read_text())
    assert f"Test accuracy {results['test/acc']:.2%}" in page
    for key in ("test/loss", "test/f1", "test/ece", "test/recall/3"):
        assert f"{results[key]:.4f}" in page, key
    assert results["split_hash"] in page and "_target_: strided.models.LeNet5" in page


def test_figures_are_pictures(trained_run: Path) -> None:
    for name in ("loss", "accuracy", "confusion", "reliability", "samples"):
        with Image.open(trained_run / "figures" / f"{name}.png") as image:
            image.load()
            assert image.format == "PNG" and min(image.size) > 200
            assert np.asarray(image.convert("L")).std() > 5  # something is drawn


def test_names_are_text_not_markup(tmp_path: Path) -> None:
    page = reported(tmp_path, RESULTS)
    assert_self_contained(page)
    for raw in ("<b>bold</b>", "<i>name</i>", "<script>"):
        assert raw not in page
    assert "&lt;b&gt;bold&lt;/b&gt;" in page and "a &amp; b" in page


def test_numbers_are_shown_and_missing_ones_are_a_dash(tmp_path: Path) -> None:
    page = reported(tmp_path, RESULTS)
    for shown in ("87.65%", "80.00%", "93.00%", "0.4321", "0.9123", "12.3 s"):
        assert shown in page
    assert re.search(r">auroc</th><td[^>]*>-</td>", page)


def test_a_run_without_a_test_says_so(tmp_path: Path) -> None:
    kept = ("command", "classes", "train_seconds")
    page = reported(tmp_path, {key: RESULTS[key] for key in kept})
    assert "Nothing was tested" in page and "Test accuracy" not in page
    assert not (tmp_path / "figures" / "confusion.png").exists()


def test_thresholds_that_are_measured_where_they_were_chosen_say_so() -> None:
    selective: Any = {"images": 20, "at_risk": [{"max_risk": 0.1, "threshold": None}]}
    for split, words in (("test", "of 20 other images"), ("val", "of the same images, and so")):
        assert words in triage_section({"selective": {**selective, "split": split}})


def test_a_run_that_fitted_nothing_says_so(tmp_path: Path) -> None:
    errors = {"ece": 0.1, "ece_mass": 0.1, "nll": 0.5, "brier": 0.2}
    floor = {name: {"mean": 0.01, "p95": 0.02} for name in ("ece", "ece_mass")}
    measured = {"split": "test", "images": 20, "after": errors, "floor": floor}
    about = {"method": "none", "temperature": None, "fitted_on": None, "images": 0}
    page = reported(tmp_path, RESULTS | {"calibration": {**about, "measured": measured}})
    assert "they were not calibrated" in page and "Not calibrated: its" in page
    assert "None" not in page.partition("<h2>To repeat it</h2>")[0]


@pytest.mark.parametrize("num_classes", [2, 40])
def test_many_classes_have_no_confusion_figure(num_classes: int, tmp_path: Path) -> None:
    classes = [f"class {k}" for k in range(num_classes)]
    confusion = [[int(i == j) for j in range(num_classes)] for i in range(num_classes)]
    reported(tmp_path, {**RESULTS, "classes": classes, "confusion": confusion})
    assert (tmp_path / "figures" / "confusion.png").exists() == (num_classes <= 30)


def test_empty_cells_of_metrics_are_nan(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(METRICS)
    metrics = read_metrics(tmp_path / "metrics.csv")
    assert metrics["train/loss"] == [2.5, 1.5] and metrics["val/loss"][0] == 2.0
    assert metrics["val/loss"][1] != metrics["val/loss"][1]


def test_class_names_of_a_real_run_are_escaped(image_folder: Path, run_train: Train) -> None:
    (image_folder / "red").rename(image_folder / "<b>red & $hot$")
    run = run_train(
        "data=image_folder", f"data.root={image_folder}", "data.image_size=32", "data.batch_size=8"
    )
    page = (run / "report.html").read_text()
    assert "<b>red" not in page and "&lt;b&gt;red &amp; $hot$" in page


def test_a_split_that_lacks_a_class_is_named_at_the_start_and_in_the_report(
    image_folder: Path, run_train: Train
) -> None:
    root = with_splits(image_folder, "train", "val", "test")
    shutil.rmtree(root / "val" / "red")
    run = run_train("data=image_folder", f"data.root={root}", "data.image_size=32")
    said = "val has no image of 1 of the 3 classes (red)"
    log, page = (run / "run.log").read_text(), (run / "report.html").read_text()
    assert said in log and log.index(said) < log.index("epoch 0/0")
    assert said in page and "test has no image" not in page
