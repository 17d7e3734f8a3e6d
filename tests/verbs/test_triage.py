"""The loop of labelling: a policy, cases for a person, their labels back in training."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from tests.conftest import train_in
from tests.stopping import resume

from strided.cli import main

pytestmark = pytest.mark.usefixtures("blank_figures")

POLICY = ("trainer.max_epochs=3", "triage.max_risk=0.1", "triage.urgent=[3]")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LeNet-5 on digits with a policy: threes are urgent, one case of ten may be wrong."""
    return train_in(tmp_path_factory.mktemp("policy"), *POLICY)


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return found


def only(log_dir: Path, verb: str) -> Path:
    (folder,) = log_dir.glob(f"{verb}/*/*")
    return folder


def new_digits(folder: Path, count: int) -> Path:
    """Digits as nobody has seen them: real ones with a pixel changed; their names say which."""
    digits = load_digits()
    folder.mkdir()
    for index in range(count):
        pixels = (digits.images[index] * 255 / 16).astype(np.uint8)
        pixels[0, 0] = 200
        Image.fromarray(pixels).save(folder / f"{index}_{digits.target[index]}.png")
    return folder


def test_a_policy_routes_the_test_and_says_what_that_costs(run: Path) -> None:
    routed = rows(run / "predictions.csv")
    assert {row["route"] for row in routed} == {"auto", "review", "urgent"}
    for row in routed:
        assert (row["route"] == "urgent") == (row["predicted"] == "3")
        assert (row["route"] == "auto") == (row["reasons"] == "")
    found = results(run)
    threshold = found["triage"]["threshold"]
    alone = [row for row in routed if row["route"] == "auto"]
    assert all(float(row[f"prob/{row['predicted']}"]) >= threshold - 1e-6 for row in alone)
    entry = found["triage"]["workload"][0]
    assert (entry["route"], entry["images"]) == ("auto", len(alone))
    assert entry["wrong"] == sum(row["predicted"] != row["label"] for row in alone)
    assert entry["risk_ci95"][0] <= entry["risk"] <= entry["risk_ci95"][1]
    assert sum(one["images"] for one in found["triage"]["workload"]) == len(routed)
    assert 0 <= found["test/aurc"] <= 1 - found["test/acc"]
    assert found["test/acc_at_80"] > found["test/acc"]
    assert found["selective"]["coverage"][-1] == 1
    assert found["selective"]["risk"][-1] == pytest.approx(1 - found["test/acc"])
    page = (run / "report.html").read_text()
    assert "<h3>Triage</h3>" in page and "auto: decided without a person" in page
    cases = rows(run / "cases.csv")
    assert [row["route"] for row in cases] == sorted((row["route"] for row in cases), reverse=True)
    assert len(cases) == len(routed) - len(alone) and not any(row["label"] for row in cases)
    review = [float(row["confidence"]) for row in cases if row["route"] == "review"]
    assert review == sorted(review)


def test_without_a_policy_nothing_is_routed(trained_run: Path) -> None:
    assert "route" not in rows(trained_run / "predictions.csv")[0]
    assert not (trained_run / "cases.csv").exists()
    found = results(trained_run)
    assert "triage" not in found and found["selective"]["at_risk"][0]["max_risk"] == 0.05


def test_eval_chooses_a_threshold_anew_and_keeps_what_was_not_typed(
    run: Path, tmp_path: Path
) -> None:
    before = results(run)["triage"]
    word = "triage.max_risk=0.3"
    assert main(["eval", f"checkpoint={run}", word, f"log_dir={tmp_path}"]) == 0
    after = results(only(tmp_path, "eval"))["triage"]
    assert after["max_risk"] == 0.3 and after["urgent"] == before["urgent"] == ["3"]
    assert after["threshold"] < before["threshold"]


def test_labelled_cases_come_back_into_training_and_the_test_stays(
    run: Path, tmp_path: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = new_digits(tmp_path / "photos", 120)
    words = [f"checkpoint={run}", f"input={photos}", f"log_dir={log_dir}"]
    assert main(["predict", *words, "triage.copies=5"]) == 0
    predicted = only(log_dir, "predict")
    cases = rows(predicted / "cases.csv")
    routes = results(predicted)["triage"]["routes"]
    assert len(cases) == routes["review"] + routes["urgent"] > 5
    assert [row["path"] for row in cases[:5]] == [f"cases/{k:04d}.png" for k in range(1, 6)]
    assert len(list((predicted / "cases").iterdir())) == 5
    for row in cases[:7]:  # the others nobody has looked at
        row["label"] = Path(row["source"]).stem.partition("_")[2]
    with (predicted / "cases.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(cases[0]))
        writer.writeheader()
        writer.writerows(cases)

    again = train_in(log_dir, "trainer.max_epochs=1", f"data.extra={predicted / 'cases.csv'}")
    before, after = results(run), results(again)
    assert after["extra"]["added"] == 7
    assert after["splits"] == {**before["splits"], "train": before["splits"]["train"] + 7}
    assert after["data_fingerprint"] == before["data_fingerprint"]
    tested = [[row["path"] for row in rows(r / "predictions.csv")] for r in (run, again)]
    assert tested[0] == tested[1]
    assert main(["eval", f"checkpoint={again}", f"log_dir={log_dir}"]) == 0
    evaluated = results(only(log_dir, "eval"))
    assert evaluated["test/acc"] == after["test/acc"]
    assert evaluated["overlap"]["shared"] == after["overlap"]["shared"]

    capsys.readouterr()
    resume(again, "trainer.max_epochs=2", code=1)
    told = capsys.readouterr().err
    assert "data.extra=" in told and "it began with" in told
    resume(again, "trainer.max_epochs=2", f"data.extra={predicted / 'cases.csv'}")
    assert results(again)["extra"]["added"] == 7


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("triage.max_risk=5", "triage.max_risk=5; expected a share"),
        (
            "triage.urgent=[seven]",
            "has seven, which is no class; expected some of 0, 1",
        ),
        ("triage.copies=-1", "triage.copies=-1; expected a number of pictures"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(
    run: Path, tmp_path: Path, word: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", f"checkpoint={run}", word, f"log_dir={tmp_path}"]) == 1
    assert told in capsys.readouterr().err
