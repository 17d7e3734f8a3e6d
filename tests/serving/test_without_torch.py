"""A bundle answers in an environment that has no torch, as the classifier does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from tests.conftest import train_in
from tests.dicom_files import dicom
from tests.served import WITHOUT_TORCH

from strided.cli import main
from strided.config.yaml_files import CONF_DIR
from strided.evaluation.classifier import Classifier
from strided.evaluation.predict_files import find_images, predict_files
from strided.runs.predictions_csv import Row
from strided.serving import Answer, Bundle

ROOT = CONF_DIR.parent
# what keeps ONNX Runtime from telling Microsoft, beside strided
TELLS_NOT = ("ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "CI", "XDG_CACHE_HOME")
PROGRAM = """
import json
from dataclasses import asdict
from strided.serving import Bundle

answers = Bundle.load({bundle!r}, threads=1)({files})
print(json.dumps([asdict(answer) for answer in answers]))
"""


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Pictures of other sizes and kinds than the network takes."""
    noise = np.random.default_rng(0)
    files = []
    for index, shape in enumerate([(8, 8), (40, 30), (21, 64, 3)]):
        pixels = noise.integers(0, 256, shape, np.uint8)
        files.append(tmp_path / f"{index}.{'jpg' if index == 2 else 'png'}")
        Image.fromarray(pixels).save(files[-1])
    return files


def answered(bundle: Path, files: list[Path]) -> list[Answer]:
    """What a bundle answers in a process that finds no torch."""
    program = WITHOUT_TORCH + PROGRAM.format(bundle=str(bundle), files=[*map(str, files)])
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT / "src"
    )
    assert done.returncode == 0, done.stderr
    return [Answer(**answer) for answer in json.loads(done.stdout)]


def require_same(answer: Answer, row: Row, classes: list[str]) -> None:
    """Require an answer to say what predict's row says."""
    assert row.probabilities is not None
    named = {} if row.refused else dict(zip(classes, row.probabilities, strict=True))
    assert answer.label == max(named, key=named.__getitem__, default="")
    assert answer.probabilities == pytest.approx(named, abs=1e-5)
    assert answer.ood == (None if row.ood is None else pytest.approx(row.ood, rel=1e-3))
    assert answer.entropy == pytest.approx(row.entropy, abs=1e-4)
    for said in ("prediction_set", "route", "reasons"):
        assert getattr(answer, said) == getattr(row, said), said


def test_a_bundle_answers_without_torch(
    exported: Path, trained_run: Path, pictures: list[Path]
) -> None:
    classifier = Classifier.load(trained_run, device="cpu")
    rows = predict_files(classifier, find_images(str(pictures[0].parent)), 64)
    for answer, row in zip(answered(exported, pictures), rows, strict=True):
        require_same(answer, row, classifier.classes)
        assert answer.route == ""


@pytest.fixture(scope="module")
def routed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run with a gate and a policy, and its bundle."""
    root = tmp_path_factory.mktemp("routed")
    words = ["evaluation.gate=mahalanobis", "triage.max_risk=0.1", "triage.urgent=[3]"]
    run = train_in(root, "trainer.max_epochs=3", *words)
    bundle = root / "registry" / "digits"
    words = [f"checkpoint={run}", f"bundle={bundle}", f"log_dir={root}"]
    assert main(["export", *words]) == 0
    return run, bundle


def test_a_bundle_routes_each_picture_as_predict_does(
    routed: tuple[Path, Path], pictures: list[Path]
) -> None:
    run, bundle = routed
    folder = pictures[0].parent
    digits = (load_digits().images[-100:] * 255 / 16).astype(np.uint8)
    for index, pixels in enumerate(digits):
        Image.fromarray(pixels).save(folder / f"digit_{index}.png")
    (folder / "digit_0.dcm").write_bytes(dicom(digits[0]))
    classifier = Classifier.load(run, device="cpu")
    found = find_images(str(folder))
    rows = predict_files(classifier, found, 64)
    answers = dict(zip(found.files, answered(bundle, found.files), strict=True))
    assert len(answers) == len(digits) + len(pictures) + 1
    for answer, row in zip(answers.values(), rows, strict=True):
        require_same(answer, row, classifier.classes)
    assert {row.route for row in rows} == {"auto", "review", "urgent", "refused"}
    radiograph, picture = (answers[folder / f"digit_0.{kind}"] for kind in ("dcm", "png"))
    assert radiograph.label == picture.label
    assert radiograph.probabilities == pytest.approx(picture.probabilities, abs=1e-6)


def test_onnx_runtime_tells_nobody_what_it_runs(exported: Path, tmp_path: Path) -> None:
    program = f"from strided.serving import Bundle; Bundle.load({str(exported)!r}, threads=1)"
    usual = {key: value for key, value in os.environ.items() if key not in TELLS_NOT}
    subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        cwd=ROOT / "src",
        env={**usual, "TMPDIR": str(tmp_path), "HOME": str(tmp_path)},
    )
    assert not list(tmp_path.iterdir())  # where it keeps what it means to send


def test_one_picture_has_one_answer(exported: Path, pictures: list[Path]) -> None:
    bundle = Bundle.load(exported, threads=1)
    answer = bundle(pictures[1])
    assert isinstance(answer, Answer) and answer.heat is None
    pixels = np.asarray(Image.open(pictures[1]))
    assert bundle(Image.open(pictures[1])) == bundle(pixels) == answer
    assert answer.label == max(answer.probabilities, key=answer.probabilities.__getitem__)


def test_what_a_service_installs_is_a_part_of_the_project() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    serve = project["optional-dependencies"]["serve"]
    own = {*project["dependencies"], *serve}
    lines = (ROOT / "requirements-serve.txt").read_text("utf-8").splitlines()
    wanted = {line for line in lines if not line.startswith("#")}
    assert set(serve) <= wanted <= own
