"""The model card of a run: all of its numbers are in results.json, and what is missing is named."""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import train_in, write_images
from tests.reading import results

from strided.cli import main
from strided.report.card import NOTE, card, write_card
from strided.report.card_parts import Section, Table, as_html, as_markdown
from strided.runs.folder import read_config, read_results

NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)*")
OF_WORDS = {"95", "0.5", "1"}  # 95 % intervals, the AUROC of chance, F1 and AUROC's names


@pytest.fixture(scope="module")
def rich_run(tmp_path_factory: pytest.TempPathFactory, blank_figures: None) -> Path:
    """A run that has measured all there is: groups, subgroups, an operating point, shortcuts."""
    root = tmp_path_factory.mktemp("rich")
    images = write_images(root / "images", num_images=40)
    file = root / "scans.csv"
    with file.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["path", "label", "group", "sex"])
        for place, image in enumerate(sorted(images.rglob("*.*"))):
            path = image.relative_to(images).as_posix()
            table.writerow([path, image.parent.name, place // 2, "fm"[place // 2 % 2]])
    words = [f"data.csv={file}", f"data.root={images}", "data.image_size=32", "shortcuts=true"]
    words += ["data.subgroup_columns=[sex]", "evaluation.operating_point=0.9", "seed=3"]
    words += ["data.test_fraction=0.5", "data.intended_use=Sorting marbles."]
    return train_in(
        root / "logs", "data=csv", "model=mlp_small", "loss.label_smoothing=0.1", *words
    )


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from (key, *leaves(inner))
    elif isinstance(value, list):
        yield from (sum(value) for _ in range(all(isinstance(v, int) for v in value)))
        for inner in value:
            yield from leaves(inner)
    else:
        yield value


def shown(found: Any) -> set[str]:
    """Every number of results.json as a card may show it; of a list of counts their sum too."""
    texts = set(OF_WORDS)
    for leaf in leaves(found):
        if isinstance(leaf, bool) or leaf is None:
            continue
        if isinstance(leaf, int | float):
            texts |= {f"{leaf:,}", f"{leaf:.2f}", f"{leaf:.3f}", f"{leaf:.4f}", f"{100 * leaf:.1f}"}
        else:
            texts |= set(NUMBER.findall(leaf))
    return texts


@pytest.mark.parametrize("which", ["trained_run", "rich_run"])
def test_every_number_of_a_card_is_in_results(which: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(which)
    text = (folder / "card.md").read_text(encoding="utf-8")
    numbers = NUMBER.findall(text)
    assert len(numbers) > 100
    assert not set(numbers) - shown(results(folder))


def test_a_card_is_a_function_of_results_and_config(rich_run: Path, tmp_path: Path) -> None:
    write_card(tmp_path, read_config(rich_run), read_results(rich_run))
    assert (tmp_path / "card.md").read_bytes() == (rich_run / "card.md").read_bytes()


def test_a_card_has_what_was_measured(rich_run: Path) -> None:
    text, found = (rich_run / "card.md").read_text(encoding="utf-8"), results(rich_run)
    low, high = found["test/recall_ci95/red"]
    figure = f"{found['test/recall/red']:.1%} ({100 * low:.1f}-{100 * high:.1f})"
    assert "Sorting marbles." in text and figure in text
    assert f"| groups (patients) measured | {found['groups']} |" in text
    assert "| sex: f |" in text and f"{found['test/threshold_at_op/red']:.4f}" in text
    assert (
        found["data_fingerprint"] in text and found["shortcuts"]["verdict"]["evidence"][0] in text
    )
    low, high = found["test/acc_group_ci95"]
    assert f"| accuracy | {found['test/acc']:.1%} | {low:.1%} to {high:.1%} |" in text
    for part in ("Not checked", "Not measured", "No groups", "No other operating point"):
        assert part not in text


def test_what_is_missing_is_said_to_be(trained_run: Path) -> None:
    text = (trained_run / "card.md").read_text(encoding="utf-8")
    for part in (
        "Not stated",
        "the data name none",
        "No other operating point",
        "Not measured: no column was named",
        "Not checked (shortcuts=true)",
        "A person decides every case",
    ):
        assert part in text, part
    untested = {k: v for k, v in results(trained_run).items() if not k.startswith("test/")}
    sections: Any = card(read_config(trained_run), untested)  # type: ignore[arg-type]
    assert "Nothing was measured" in as_markdown("", "", sections)
    # an earlier version's run has neither intervals nor calibration
    old = {k: v for k, v in results(trained_run).items() if "_ci95" not in k}
    old = {k: v for k, v in old.items() if k not in ("calibration", "sets")}
    text = as_markdown("", "", card(read_config(trained_run), old))  # type: ignore[arg-type]
    assert "Not measured: nothing was fitted" in text and "Prediction sets: not fitted" in text


@pytest.mark.parametrize("which", ["trained_run", "rich_run"])
def test_a_card_has_two_screens_at_most(which: str, request: pytest.FixtureRequest) -> None:
    text = (request.getfixturevalue(which) / "card.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line]
    assert sum(1 + len(line) // 160 for line in lines) <= 110
    page = (request.getfixturevalue(which) / "report.html").read_text(encoding="utf-8")
    assert ">Model card</h2>" in page and NOTE in page


def test_of_many_classes_the_worst_are_shown(trained_run: Path) -> None:
    names = [f"class {k}" for k in range(40)]
    found: Any = {
        **{k: v for k, v in results(trained_run).items() if "test/" not in k},
        "classes": names,
        "confusion": [[1] * 40] * 40,
        "test/acc": 0.5,
        "test/acc_ci95": [0.4, 0.6],
        **{f"test/recall/{name}": k / 40 for k, name in enumerate(names)},
    }
    text = as_markdown("", "", card(read_config(trained_run), found))
    assert "| class 0 |" in text and "| class 4 |" in text and "| class 5 |" not in text
    assert "report.html has the others" in text and "40 classes" in text


def test_names_are_text_not_markup() -> None:
    name = "<b>a|b</b> *x* snake_case\n# [y](z)"
    sections = [Section("Title", [name, [name], Table(["", "n"], [[name, "-"]])])]
    text = as_markdown(name, "", sections)
    escaped = r"\<b\>a\|b\</b\> \*x\* snake_case\\n# \[y\](z)"
    assert text.startswith(f"# {escaped}\n") and f"\n| {escaped} | - |\n" in text
    page = as_html(sections)
    assert "<b>" not in page and page.count("&lt;b&gt;a|b&lt;/b&gt;") == 3


def test_the_operating_point_of_a_run_is_measured_and_eval_takes_another(
    rich_run: Path, log_dir: Path
) -> None:
    found = results(rich_run)
    assert found["operating_point"] == 0.9
    for name in ("recall", "specificity", "ppv", "npv"):
        value, (low, high) = found[f"test/{name}_at_op/red"], found[f"test/{name}_at_op_ci95/red"]
        assert low <= value <= high
    with (rich_run / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    own = [float(row["prob/red"]) for row in rows if row["label"] == "red"]
    hits = sum(p >= found["test/threshold_at_op/red"] - 1e-6 for p in own)
    assert found["test/recall_at_op/red"] == pytest.approx(hits / len(own))
    words = [f"checkpoint={rich_run}", f"log_dir={log_dir}", "accelerator=cpu"]
    assert main(["eval", *words]) == 0
    assert main(["eval", *words, "evaluation.operating_point=0.2"]) == 0
    same, other = (
        json.loads((run / "results.json").read_text()) for run in sorted(log_dir.glob("eval/*/*"))
    )
    assert same["test/threshold_at_op/red"] == found["test/threshold_at_op/red"]
    assert other["operating_point"] == 0.2
    assert other["test/threshold_at_op/red"] > same["test/threshold_at_op/red"]
    assert same["subgroups"] == found["subgroups"] and same["groups"] == found["groups"]
    text = (min(log_dir.glob("eval/*/*")) / "card.md").read_text(encoding="utf-8")
    figures = (rich_run / "card.md").read_text(encoding="utf-8").split("## ")
    assert "Sorting marbles." in text and f"## {figures[3]}## {figures[4]}" in text


def test_a_policy_and_a_gate_are_on_the_card(trained_run: Path) -> None:
    workload = [
        {"route": "auto", "images": 80, "share": 0.8, "share_ci95": [0.71, 0.87], "wrong": 2}
        | {"risk": 0.025, "risk_ci95": [0.007, 0.087]},
        {"route": "refused", "images": 4, "share": 0.04, "share_ci95": [0.016, 0.098]},
    ]
    policy = {"max_risk": 0.05, "threshold": 0.9123, "urgent": ["3"], "workload": workload}
    refused = {"refused": 4, "share": 0.04, "share_ci95": [0.016, 0.098]}
    more = {
        "triage": policy,
        "gate": {"method": "knn", "false_alarms": 0.05, "measured": refused},
    }
    found: Any = {**results(trained_run), **more}
    text = as_markdown("", "", card(read_config(trained_run), found))
    assert "from a confidence of 0.9123 on" in text and "Urgent are the classes 3." in text
    assert "| 80 | 80.0% (71.0% to 87.0%) | 2.5% (0.7% to 8.7%) |" in text
    assert "refused (knn)" in text and "5.0% by intention, 4 of the measured" in text
    assert "no policy" not in text and "are not refused" not in text
    found["triage"] = {**policy, "threshold": None}
    text = as_markdown("", "", card(read_config(trained_run), found))
    assert "no threshold kept a risk of 5.0%" in text
