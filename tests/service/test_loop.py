"""The loop of docs/clinic.md on digits: review, train again, gate, activate, roll back."""

import csv
import json
import re
import shlex
import shutil
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from tests.documented import ROOT, STRIDED, commands_of_page
from tests.served import Served, encoded, form, served

from strided.audit.database import opened_to_read, rows
from strided.audit.place import place_of
from strided.cli import main
from strided.data import Digits

pytestmark = pytest.mark.usefixtures("blank_figures")

COUNT = 12  # pictures


def documented() -> list[str]:
    """The lines of the script."""
    page = (ROOT / "docs" / "clinic.md").read_text("utf-8")
    return list(commands_of_page(page.partition("## The loop")[2].partition("\n## ")[0]))[:5]


def run(command: str, *more: str, **meant: Path) -> list[str]:
    """Run a command of the script: with other folders, and small."""
    match = STRIDED.search(command)
    assert match, command
    words = shlex.split(match[3])
    for name, value in meant.items():
        words = [re.sub(f"(?<==){name}(?=/|$)", str(value), word) for word in words]
    assert main([match[1], *words, *more]) == 0
    return words


def post(line: str, service: Served) -> httpx.Response:
    """Ask what curl is shown to ask."""
    method, path = re.search(r"curl -X (\w+) .*:8000(/\S+)", line).groups()  # type: ignore[union-attr]
    with service.client(service.keys["admin"]) as admin:
        answer = admin.request(method, path)
    assert answer.status_code == 200, answer.text
    return answer


def review(service: Served) -> list[str]:
    """Ask for digits that nobody has seen, and say of each what it is; returns that."""
    source = Digits().make_source()
    noise = np.random.default_rng(0).integers(0, 12, (COUNT, 8, 8))
    pixels = [np.asarray(source.read(place)).astype(int) for place in range(COUNT)]
    files = [
        encoded(Image.fromarray(np.clip(one + more, 0, 255).astype(np.uint8)))
        for one, more in zip(pixels, noise, strict=True)
    ]
    labels = [source.classes[label] for label in source.labels[:COUNT]]
    with service.client(service.keys["clinician"]) as clinician:
        results = clinician.post("/v1/predict", files=form(*files)).json()["results"]
        cases = {one["id"]: one for one in clinician.get("/v1/review").json()["cases"]}
        for result, label in zip(results, labels, strict=True):
            case = cases[result["id"]]
            decision = "confirm" if case["class"] == label else "override"
            body = {"decision": decision, "class": label, "etag": case["review"]["etag"]}
            assert clinician.post(f"/v1/review/{case['id']}", json=body).status_code == 200
    return labels


def test_what_people_decide_is_trained_on_gated_activated_and_rolled_back(
    exported: Path, tmp_path: Path
) -> None:
    serve, train, export, activate, rollback = documented()
    registry = tmp_path / "registry"
    shutil.copytree(exported, registry / "digits")
    labels = tmp_path / "labels"
    assert "review.export=labels" in serve
    words = ["access.enabled=true", f"review.export={labels}"]
    with served(registry / "digits", tmp_path, *words) as service:
        said = review(service)
        with (labels / "labels.csv").open() as stream:
            assert [row["label"] for row in csv.DictReader(stream)] == said
        small = ("trainer=cpu", "trainer.max_epochs=2", f"log_dir={tmp_path}")
        run(train, *small, labels=labels)
        (run_folder,) = tmp_path.glob("train/*/*")
        assert json.loads((run_folder / "results.json").read_text())["extra"]["added"] == COUNT
        made = export.replace("logs/train/lenet5-digits/<date_time>", str(run_folder))
        run(made, f"log_dir={tmp_path}", registry=registry)
        assert post(activate, service).json()["model"]["version"] == 2
        with service.client(service.keys["clinician"]) as clinician:
            answer = clinician.get("/v1/model").json()
            feedback = clinician.get("/v1/review").json()["feedback"]
        assert answer["active"]["version"] == 2
        assert feedback["reviewed"] == 0  # of the version before
        assert post(rollback, service).json()["model"]["version"] == 1
        engine = opened_to_read(place_of(str(service.state), "database"))
        changes = [row for row in rows(engine) if row["action"] == "model_changed"]
        engine.dispose()
    up, down = (json.loads(row["output"]) for row in changes)
    assert (up["now"], up["gate"]["version"], up["gate"]["worse"]) == (2, 1, [])
    assert up["gate"]["accuracy"]["interval"] and up["gate"]["forced"] is False
    assert (down["now"], down["gate"]) == (1, None)
