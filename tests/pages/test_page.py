"""The frame of all pages: in a browser, and as PNG."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser
from tests.browser import PHONE, WIDE, opened, overflow, violations

from strided.pages.axis import Axis
from strided.pages.chart import COLOURS, Chart
from strided.pages.figure import TEXT, Figure, Words, straight
from strided.pages.glossary import glossary, term
from strided.pages.page import folded, heading, lines_of_code, page, photo, table, tile, tiles
from strided.pages.png import write_png
from strided.pages.style import STYLE

NAME = "<b>bold</b> & ' \" </script>"


def every_mark() -> Figure:
    chart = Chart("loss", Axis.over("epoch", [0, 3], whole=True), Axis.over("", [0, 1]))
    points = [(0.0, 1.0), (1.0, 0.5), (2.0, float("nan")), (3.0, 0.1)]
    chart.line(points, NAME, "c0", dashed=True, dots=True)
    chart.steps(points[:2], "steps", "c1", after=True)
    chart.band([(0, 0, 1), (1, 0, 0.5)], "c2")
    chart.bar(0.5, 0.9, 0.4, "c3", "a bar")
    chart.interval(1, 0.2, 0.7, "c4")
    chart.upright(1.5, "a word")
    chart.level(0.5)
    chart.dot(2, 0.5, "c5", ring=True)
    return chart.figure()


def a_page() -> str:
    body = "\n".join(
        [
            tiles([tile("accuracy", "87 %", NAME, kind) for kind in ("good", "warn", "bad")]),
            *(heading(title) for title in ("One", "Two", "Three", NAME)),
            f'<div class="figures">{every_mark().html(NAME)}</div>',
            table([term("test/acc"), "", NAME], [[0.5, NAME, None], [2, "", "x" * 300]]),
            lines_of_code("python " + "word " * 100),
            folded("more", table(["", ""], [["a", "b"]])),
            photo(np.zeros((8, 8, 3), np.uint8), NAME),
            glossary(["test/acc", "test/unknown"]),
        ]
    )
    return page(NAME, body, script="document.body.dataset.ran = 'yes'")


@pytest.mark.parametrize(("width", "dark"), [(WIDE, False), (PHONE, True)])
def test_a_page_is_for_everybody(width: int, dark: bool, browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(a_page(), "utf-8")
    with opened(browser, file.as_uri(), width, dark) as shown:
        assert not violations(shown)
        assert overflow(shown) <= 0
        assert shown.evaluate("document.body.dataset.ran") == "yes"
        assert NAME in shown.inner_text("h1")  # as it is, not as markup
        letters = shown.evaluate("""[...document.querySelectorAll('svg text')].map(text => {
            const {a, b} = text.getScreenCTM();
            return parseFloat(getComputedStyle(text).fontSize) * Math.hypot(a, b); })""")
        assert min(letters) > 10  # pixels: a phone shows them as large as a caption


def test_a_page_runs_no_script_but_its_own(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    forged = "<script>document.body.dataset.ran = 'forged'</script><p onclick='1' id='p'>"
    file.write_text(page("a", forged), "utf-8")
    refused = pytest.raises(AssertionError)  # for the console says so
    with refused, opened(browser, file.as_uri()) as shown:
        ran = shown.evaluate("document.body.dataset.ran")
    assert ran is None


def test_no_text_of_a_page_turns_the_direction_of_another() -> None:
    typed = "name=\u202egpj.exe\x1b[2J"
    shown = page("a", f"<p>{typed}</p>{lines_of_code(typed)}\n")
    assert shown.count(r"name=\u202egpj.exe\x1b[2J") == 2
    assert all(letter.isprintable() or letter == "\n" for letter in shown)


def test_a_figure_is_the_same_picture_as_png(tmp_path: Path) -> None:
    figure = every_mark()
    with Image.open(write_png(figure, tmp_path / "figure.png")) as image:
        assert image.size == (2 * figure.width, 2 * figure.height)
        found = {colour for _, colour in image.getcolors(1 << 20) or []}
    light = dict(re.findall(r"--(c\d): #(\w+);", a_page()[: a_page().index("@media")]))
    for name in ("c0", "c1", "c3", "c4", "c5"):
        assert tuple(bytes.fromhex(light[name])) in found, name


@pytest.mark.parametrize(
    ("axis", "words"),
    [
        (Axis("", 0, 1, percent=True), ["0%", "20%", "40%", "60%", "80%", "100%"]),
        (Axis("", 0.9, 0.93, percent=True), ["90%", "91%", "92%", "93%"]),
        (Axis("", 1e-4, 1, log=True), ["0.0001", "0.001", "0.01", "0.1", "1"]),
        (Axis("", 0.02, 0.3, log=True), ["0.02", "0.05", "0.1", "0.2"]),
        (Axis("", -0.5, 2.5, whole=True), ["0", "1", "2"]),
        (Axis("", 0.9, 0.91, percent=True), ["90.0%", "90.2%", "90.4%", "90.6%", "90.8%", "91.0%"]),
        (Axis("", 0, 0.125, percent=True), ["0.0%", "2.5%", "5.0%", "7.5%", "10.0%", "12.5%"]),
        (Axis("", 0.9991, 0.9993, percent=True), [f"99.9{n}%" for n in (10, 15, 20, 25, 30)]),
        (Axis("", 0.12344, 0.12346), [f"0.1234{n}" for n in (40, 45, 50, 55, 60)]),
        (Axis.over("", []), ["0", "0.25", "0.5", "0.75", "1"]),
        (Axis.over("", [3.0, 3.0], whole=True), ["3"]),
    ],
)
def test_ticks_are_round(axis: Axis, words: list[str]) -> None:
    assert [axis.word(value) for value in axis.ticks()] == words


def test_long_names_in_a_legend_are_told_apart_by_their_ends() -> None:
    chart = Chart("accuracy", Axis("epoch", 0, 1), Axis("", 0, 1))
    names = [f"model=resnet18 data.train_fraction=0.25 optimizer.lr={lr}" for lr in (0.1, 0.01)]
    for name in names:
        chart.name(name, "c0")
    shown = [mark for mark in chart.figure().marks if isinstance(mark, Words) and "…" in mark.text]
    assert [mark.text[-4:] for mark in shown] == [name[-4:] for name in names]
    assert all(mark.x + 0.56 * TEXT * len(mark.text) <= chart.width for mark in shown)


def test_every_colour_of_a_chart_is_another_one_in_light_and_in_dark() -> None:
    for style in STYLE.split("@media screen"):
        found = dict(re.findall(r"--(c\d+): (#\w+);", style))
        assert tuple(found) == COLOURS and len(set(found.values())) == len(COLOURS)


def test_points_on_the_way_are_left_out() -> None:
    points = [(0.0, 0.0), (1.0, 0.0), (2.0, 0.0), (2.0, 5.0), (2.0, 3.0)]
    assert straight(points) == [(0.0, 0.0), (2.0, 0.0), (2.0, 5.0), (2.0, 3.0)]
