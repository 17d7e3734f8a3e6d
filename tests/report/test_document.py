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
from playwright.sync_api import Browser, Page, expect
from tests.browser import PHONE, WIDE, opened, overflow, violations
from tests.conftest import with_splits

from strided.evaluation.examples import Example
from strided.pages.figure import Line
from strided.report.contents import Contents
from strided.report.curves import Aim, chart_curves
from strided.report.diagnosis import CONCLUSIONS, Diagnosis
from strided.report.document import write_report
from strided.report.errors import SCRIPT
from strided.report.headline import VERDICTS
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


def reported(folder: Path, results: Any, contents: Contents | None = None) -> str:
    (folder / "metrics.csv").write_text(METRICS)
    config: Any = {
        "name": "a <i>name</i>",
        "seed": 0,
        "augment": {"_target_": "strided.data.BatchAugment"},
    }
    write_report(folder, config, results, contents)
    return (folder / "report.html").read_text()


def assert_self_contained(page: str) -> None:
    assert not re.search(r"https?://|//[a-z]", re.sub(r"base64,[^\"]*", "", page))
    for source in re.findall(r"(?:src|href)\s*=\s*[\"']([^\"'#][^\"']*)", page):
        kind, _, content = source.partition(";base64,")
        data = base64.b64decode(content, validate=True)
        assert f"data:image/{str(Image.open(io.BytesIO(data)).format).lower()}" == kind
    assert re.findall(r"<script>(.*?)</script>", page, re.S) == [SCRIPT]
    assert page.count("<script") == 1 and "@import" not in page and "url(" not in page


def test_a_report_opens_without_a_network(trained_run: Path) -> None:
    assert_self_contained((trained_run / "report.html").read_text())


def test_a_report_holds_the_numbers_of_the_run(trained_run: Path) -> None:
    page = (trained_run / "report.html").read_text()
    results = json.loads((trained_run / "results.json").read_text())
    assert f'Test accuracy</p><p class="value digits">{results["test/acc"]:.2%}<' in page
    for key in ("test/loss", "test/f1", "test/ece", "test/recall/3"):
        assert f"{results[key]:.4f}" in page, key
    assert results["split_hash"] in page and "_target_: strided.models.LeNet5" in page


def test_a_target_is_marked_in_the_curve_of_its_metric(tmp_path: Path) -> None:
    took = {"seconds_to_target": 612.4, "epochs_to_target": 1.0, "flops_to_target": 1e9}
    aim = {"monitor": "val/acc", "value": 0.45}
    page = reported(tmp_path, {**RESULTS, **took, "target": aim})
    assert page.count("target 45 % after 612 s") == 1
    aim = {"monitor": "train/loss", "value": 0.1}
    page = reported(tmp_path, {**RESULTS, **dict.fromkeys(took), "target": aim})
    assert page.count("target 0.1, not reached") == 1


@pytest.mark.parametrize("epochs", [0.1, 2.9])
def test_a_target_of_a_validation_inside_an_epoch_is_marked_within_the_chart(epochs: float) -> None:
    curves = {"epoch": [0.0, 1.0], "train/acc": [0.2, 0.4], "lr": [0.1, 0.1]}
    figure = chart_curves(curves, [], None, Aim("val/acc", 0.3, 5, epochs))["accuracy"]
    lines = [mark for mark in figure.marks if isinstance(mark, Line)]
    (left, _), _, (right, _) = next(line.points for line in lines if line.colour == "line")
    (marked,) = [line for line in lines if line.dashed and len({x for x, _ in line.points}) == 1]
    assert left <= marked.points[0][0] <= right


def test_every_metric_of_a_report_is_explained_where_it_leads_to(trained_run: Path) -> None:
    page = (trained_run / "report.html").read_text()
    names = re.findall(r"<div><dt>(.*?)</dt>", page)
    assert len(names) > 10
    for name in names:
        place = re.fullmatch(r'<a class="term" href="#([\w-]+)" title="[^"]+">\w+</a>', name)
        assert place and f'<dt id="{place[1]}">' in page, name


def test_figures_are_pictures(trained_run: Path) -> None:
    names = ("loss", "accuracy", "confusion", "reliability", "risk_coverage", "ranking")
    for name in (*names, "misclassified", "least_certain", "samples"):
        with Image.open(trained_run / "figures" / f"{name}.png") as image:
            image.load()
            assert image.format == "PNG" and min(image.size) > 200
            assert np.asarray(image.convert("L")).std() > 5  # something is drawn


@pytest.mark.parametrize("width", [WIDE, PHONE])
@pytest.mark.parametrize("dark", [False, True])
def test_a_report_is_for_everybody(
    width: int, dark: bool, trained_run: Path, browser: Browser
) -> None:
    with opened(browser, (trained_run / "report.html").as_uri(), width, dark) as shown:
        assert not violations(shown)
        assert overflow(shown) <= 0


def test_a_cell_of_the_confusion_matrix_tells_its_share_and_leads_to_its_errors(
    tmp_path: Path, browser: Browser
) -> None:
    page = browsed(tmp_path)
    with opened(browser, page.as_uri()) as shown:
        shown.locator(".matrix td a, .matrix td [tabindex]").first.focus()
        told = shown.locator(".matrix :focus .tip")
        assert told.inner_text() == "<b>bold</b> named <b>bold</b>: 7 images, 70.0% of 10"
        expect(told).to_have_css("opacity", "1")
        shown.keyboard.press("ArrowRight")
        assert told.inner_text() == "<b>bold</b> named a & b: 3 images, 30.0% of 10"
        shown.keyboard.press("Enter")
        assert visible(shown) == ["0.png", "2.png"]
        shown.locator("#browse button").click()
        shown.select_option("#browse [name=p]", label="<b>bold</b>")
        assert visible(shown) == ["1.png"]
        assert shown.inner_text("#browse output") == "1 of 3 pictures"


def test_without_scripts_all_errors_show_and_a_cell_leads_to_the_first_of_its_kind(
    tmp_path: Path, browser: Browser
) -> None:
    page = browsed(tmp_path)
    shown = browser.new_page(java_script_enabled=False)
    shown.goto(page.as_uri())
    assert visible(shown) == ["0.png", "1.png", "2.png"]
    assert not shown.locator("#browse").is_visible()
    shown.locator(".matrix td a").last.click()
    assert shown.locator(".case:target").inner_text().startswith("a & b named <b>bold</b>")
    shown.close()


def visible(shown: Page) -> list[str]:
    """The files of the errors that are shown, in the order of their names."""
    return sorted(shown.locator("#errors-shown .case:visible .note").all_inner_texts())


def browsed(folder: Path) -> Path:
    """A report with three errors to browse, each with its Grad-CAM beside it."""
    true, predicted = ("<b>bold</b>", "a & b", "<b>bold</b>"), (1, 0, 1)
    grey = np.full((8, 8, 3), 128, np.uint8)
    kinds = [
        Example(grey, k, f"{k}.png", true[k], RESULTS["classes"][predicted[k]], predicted[k], 0.9)
        for k in range(3)
    ]
    page = reported(folder, RESULTS, Contents(kinds=kinds, overlays=dict.fromkeys(range(3), grey)))
    assert page.count('alt="Grad-CAM of') == 3
    return folder / "report.html"


def test_names_are_text_not_markup(tmp_path: Path) -> None:
    page = reported(tmp_path, RESULTS)
    assert_self_contained(page)
    for raw in ("<b>bold</b>", "<i>name</i>", "<script>alert"):
        assert raw not in page
    assert "&lt;b&gt;bold&lt;/b&gt;" in page and "a &amp; b" in page


def test_numbers_are_shown_and_missing_ones_are_a_dash(tmp_path: Path) -> None:
    page = reported(tmp_path, RESULTS)
    for shown in ("87.65%", "80.00%", "93.00%", "0.4321", "0.9123", "12.3 s"):
        assert shown in page
    assert re.search(r">auroc</a></dt><dd>-</dd>", page)


def test_the_first_figures_say_what_fails_and_what_is_not_known(tmp_path: Path) -> None:
    page = reported(tmp_path, RESULTS)
    values = re.findall(r'<p class="name">(.*?)</p><p class="value[^"]*">(.*?)</p>', page)
    assert values == [
        ("Test accuracy", "87.65%"),
        ("Fails most", "&lt;b&gt;bold&lt;/b&gt;"),
        ("A shortcut?", "not checked"),
    ]
    assert "7 of 10 right (70.0%); most often named a &amp; b (3)" in page
    unsure = {"gap": 0.05, "gap_ci95": [0.0, 0.1], "train": {}, "val": {}, "evidence": []}
    assert VERDICTS.keys() == CONCLUSIONS.keys()
    for verdict, (word, kind) in VERDICTS.items():
        found = Diagnosis(verdict=verdict, advice=[], **unsure)  # type: ignore[arg-type]
        page = reported(tmp_path, RESULTS, Contents(diagnosis=found))
        assert re.search(rf'class="tile {kind}"><p class="name">Over.*?{word}<', page)


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
    assert "None" not in page.partition(">To repeat it</h2>")[0]


@pytest.mark.parametrize("num_classes", [20, 21])
def test_many_classes_have_their_worst_pairs_in_place_of_a_matrix(
    num_classes: int, tmp_path: Path
) -> None:
    classes = [f"class {k}" for k in range(num_classes)]
    confusion = [[9 * int(i == j) for j in range(num_classes)] for i in range(num_classes)]
    confusion[3][7] = 1
    page = reported(tmp_path, {**RESULTS, "classes": classes, "confusion": confusion})
    assert (tmp_path / "figures" / "confusion.png").exists() == (num_classes == 20)
    assert ('class="matrix"' in page) == (num_classes == 20)
    assert '>class 3</th><td>class 7</td><td class="number">1</td><td>10.0%</td>' in page


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
