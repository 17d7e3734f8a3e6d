"""The pages of sweeps, compare, explain and benchmark, in a browser."""

import shutil
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser
from tests.browser import PHONE, WIDE, opened, overflow, violations

from strided.benchmark.page import render
from strided.cli import main
from strided.runs.results import Results
from strided.sweeps.grouped import Job
from strided.sweeps.summary import summarise

ONE = {"optimizer.lr": ["0.001", "0.01", "0.1"], "seed": ["0", "1"]}
TWO = {"optimizer.lr": ["0.001", "0.01"], "data.batch_size": ["16", "64", "256"]}
THREE = {**TWO, "model": ["mlp", "lenet5"]}


def jobs_of(folder: Path, axes: dict[str, list[str]], failing: int = -1) -> list[Job]:
    """Jobs over all values, whose accuracy grows with their number; one of them has failed."""
    jobs = []
    for number, values in enumerate(product(*axes.values())):
        (folder / str(number)).mkdir(parents=True)
        (folder / str(number) / "report.html").touch()
        command = [f"{key}={value}" for key, value in zip(axes, values, strict=True)]
        results: Any = {"best_val/acc": 0.8 + number / 100, "test/acc": 0.75, "train_seconds": 1.26}
        state = "finished"
        if number == failing:
            results, state = {"error": "out of <memory>"}, "failed"
        jobs.append(Job(number, ["data=digits", *command], state, Results(**results)))
    return jobs


def sweep_page(folder: Path, axes: dict[str, list[str]], failing: int = -1) -> Path:
    summarise(folder, jobs_of(folder, axes, failing))
    return folder / "summary.html"


def run(verb: str, log_dir: Path, *words: str) -> Path:
    """Run a verb, and return its page."""
    assert main([verb, *words, f"log_dir={log_dir}"]) == 0
    (page,) = (log_dir / verb).glob("*/*/*.html")
    return page


def measured(model: str, repeats: int) -> dict[str, Any]:
    """A network's row of a benchmark."""
    parts = ("ceiling", "plain", "strided", "inference", "bare_inference")
    spread = {"median": 0.8, "min": 0.7, "max": 0.9}
    ratios = ("strided/ceiling", "strided/plain", "inference/bare_inference")
    return {
        "model": model, "data": "digits", "parameters": {"total": 61_706}, "macs": 416_520,
        "batch_size": 64, "device": "cpu", "repeats": [{}] * repeats,
        "images_per_second": {part: {k: 1000 * v for k, v in spread.items()} for part in parts},
        "of_peak": dict.fromkeys(("strided", "ceiling"), spread), "peak": "80 % of the arithmetic",
        "ratios": dict.fromkeys(ratios, spread), "peak_memory_bytes": dict.fromkeys(parts, 2**30),
        "time_shares": {"waiting for data": 0.2, "arithmetic": 0.8}, "bound": "bound by arithmetic",
    }  # fmt: skip


@pytest.fixture(scope="module")
def pages(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of each kind, by a name."""
    root = tmp_path_factory.mktemp("pages")
    other = Path(shutil.copytree(trained_run, root / "other"))
    Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(root / "digit.png")
    failed = {"model": "vgg16", "error": "no <room>"}
    benchmark = root / "benchmark.html"
    rows: Any = {"benchmarks": [measured("lenet5", 3), measured("mlp", 1), failed]}
    benchmark.write_text(render({"repeats": 3, "seconds": 1.0}, rows))
    methods = "methods=[grad_cam,integrated_gradients]"
    return {
        "one key": sweep_page(root / "one/a", ONE, failing=1),
        "two keys": sweep_page(root / "two/a", TWO),
        "three keys": sweep_page(root / "three/a", THREE),
        "runs": run("compare", root / "runs", f"runs=[{trained_run},{other}]"),
        "networks": run("compare", root / "networks", "models=[lenet5,mlp]", "measure=false"),
        "explain": run(
            "explain", root, f"checkpoint={trained_run}", f"input={root / 'digit.png'}", methods
        ),
        "benchmark": benchmark,
    }


KINDS = ("one key", "two keys", "three keys", "runs", "networks", "explain", "benchmark")


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_for_everybody(kind: str, browser: Browser, pages: dict[str, Path]) -> None:
    with opened(browser, pages[kind].as_uri()) as shown:
        for width, dark in product((WIDE, PHONE), (False, True)):
            shown.set_viewport_size({"width": width, "height": 900})
            shown.emulate_media(color_scheme="dark" if dark else "light")
            assert not violations(shown), (width, dark)
            assert overflow(shown) <= 0, (width, dark)


def test_a_sweep_is_sorted_by_a_click_and_read_without_scripts(
    browser: Browser, pages: dict[str, Path]
) -> None:
    with opened(browser, pages["one key"].as_uri()) as shown:
        rows = shown.locator("table").first.locator("tbody tr")
        assert rows.first.inner_text().startswith("4 5 ★") and "1.3" in rows.first.inner_text()
        rate = shown.get_by_role("button", name="optimizer.lr").first
        rate.click()
        assert rows.first.inner_text().split("\t")[2] == "0.001"
        rate.click()
        assert rows.first.inner_text().split("\t")[2] == "0.1"
        assert shown.locator("th[aria-sort=descending]").count() == 1
        shown.get_by_role("button", name="jobs").click()
        assert [row.inner_text()[:3] for row in rows.all()] == ["0 1", "2 3", "4 5"]
        job = shown.get_by_role("link", name="4", exact=True).first
        assert job.get_attribute("href") == "4/report.html"
    bare = browser.new_page(java_script_enabled=False)
    bare.goto(pages["one key"].as_uri())
    assert bare.locator("table").first.locator("tbody tr").count() == 3
    assert bare.get_by_text("job 1: out of <memory>").count() == 1
    bare.close()


def test_a_sweep_says_what_was_best_and_whether_that_is_shown(pages: dict[str, Path]) -> None:
    one, two = (pages[kind].read_text() for kind in ("one key", "two keys"))
    assert "every repeat of the best is better than all of its" in one
    assert "5 of 6" in one and "84.5% ± 0.7" in one
    assert "-m data=digits optimizer.lr=0.1 seed=0,1" in one
    assert "Without repeats (seed=0,1,2) it may be chance" in two
    assert "optimizer.lr=0.01, data.batch_size=256" in two


def test_figures_have_one_colour_for_a_run_and_say_what_they_show(
    browser: Browser, pages: dict[str, Path]
) -> None:
    with opened(browser, pages["runs"].as_uri()) as shown:
        labels = [svg.get_attribute("aria-label") or "" for svg in shown.locator("svg").all()]
    for title in ("accuracy against parameters", "accuracy over epochs", "paired differences"):
        assert any(label.startswith(title) for label in labels), labels


def test_six_pictures_are_seen_without_much_scrolling(
    browser: Browser, trained_run: Path, tmp_path: Path
) -> None:
    for number in range(6):
        pixels = np.full((8, 8), 40 * number, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    words = (f"checkpoint={trained_run}", f"input={tmp_path}", "methods=[grad_cam]")
    with opened(browser, run("explain", tmp_path / "logs", *words).as_uri()) as shown:
        assert shown.evaluate("document.documentElement.scrollHeight") < 3000
        assert shown.locator("h3").count() == 6
        assert shown.locator(".row img").count() == 12
