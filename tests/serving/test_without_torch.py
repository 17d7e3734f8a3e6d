"""A bundle answers in an environment that has no torch, as the classifier does."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from strided.config.yaml_files import CONF_DIR
from strided.evaluation.classifier import Classifier
from strided.serving import Answer, Bundle

ROOT = CONF_DIR.parent
# all that requirements-serve.txt has no place for
ABSENT = ("torch", "torchvision", "lightning", "timm", "torchmetrics", "wandb", "sklearn", "scipy",
          "onnx", "onnxscript", "matplotlib", "captum", "pandas")  # fmt: skip
PROGRAM = """
import json, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
from strided.serving import Bundle

answers = Bundle.load({bundle!r}, threads=1)({files})
print(json.dumps([(a.label, a.probabilities, a.prediction_set) for a in answers]))
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


def test_a_bundle_answers_without_torch(
    exported: Path, trained_run: Path, pictures: list[Path]
) -> None:
    files = [str(file) for file in pictures]
    program = PROGRAM.format(absent=ABSENT, bundle=str(exported), files=files)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT / "src"
    )
    assert done.returncode == 0, done.stderr
    expected = Classifier.load(trained_run, device="cpu")(files)
    assert isinstance(expected, list)
    for (label, probabilities, held), own in zip(json.loads(done.stdout), expected, strict=True):
        assert label == own.label
        assert probabilities == pytest.approx(own.probabilities, abs=1e-5)
        assert (held and tuple(held)) == own.prediction_set


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
    own = {*project["dependencies"], *project["optional-dependencies"]["export"]}
    lines = (ROOT / "requirements-serve.txt").read_text("utf-8").splitlines()
    wanted = {line for line in lines if not line.startswith("#")}
    assert wanted and wanted <= own
