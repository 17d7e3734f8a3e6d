"""A bundle with a gate, a policy and exact shares: routes, refusals and heatmaps through HTTP."""

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from tests.conftest import train_in
from tests.served import Served, encoded, noise, served

from strided.decision import gate, triage
from strided.service.heatmap import Heatmaps
from strided.serving import Bundle

pytestmark = pytest.mark.usefixtures("blank_figures")

DIGITS = [encoded((pixels * 255 / 16).astype(np.uint8)) for pixels in load_digits().images[-40:]]
STRANGER = encoded(noise(300, 200, 3))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, blank_figures: None) -> Path:
    root = tmp_path_factory.mktemp("routed")
    words = ["model=resnet_cifar", "model.depth=8", "trainer.max_epochs=3"]
    words += ["evaluation.gate=mahalanobis", "triage.max_risk=0.2", "triage.urgent=[3]"]
    run = train_in(root, *words)
    made = root / "registry" / "digits"
    words = [f"checkpoint={run}", f"bundle={made}", f"log_dir={root}", "openvino=true"]
    # OpenVINO's threads do not go with a process that forks, as other tests do
    program = "import sys; from strided.cli import main; sys.exit(main(['export', *sys.argv[1:]]))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program, *words], env=environment, check=True)
    return made


@pytest.fixture(scope="module")
def service(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(bundle, tmp_path_factory.mktemp("service"), "limits.files=40") as found:
        yield found


def test_each_picture_takes_the_route_of_the_bundle(service: Served, bundle: Path) -> None:
    results = service.predict(*DIGITS[1:], STRANGER).json()["results"]
    images = [Image.open(BytesIO(content)) for content in (*DIGITS[1:], STRANGER)]
    answers = Bundle.load(bundle, threads=1)(images)
    assert isinstance(answers, list)
    for result, answer in zip(results, answers, strict=True):
        assert result["route"] == answer.route
        assert "|".join(reason["code"] for reason in result["reasons"]) == answer.reasons
        for reason in result["reasons"]:
            assert reason["text"] == (triage.REASONS | gate.REASONS)[reason["code"]]
        assert (result["class"] or "") == answer.label
        assert result["prediction_set"] == answer.prediction_set
        assert result["uncertainty"]["ood"] == pytest.approx(answer.ood, rel=1e-3)
    assert {"auto", "review", "urgent", "refused"} >= {result["route"] for result in results}
    assert len({result["route"] for result in results}) > 2


def test_a_refused_picture_has_no_class(service: Served) -> None:
    (result,) = service.predict(STRANGER, heatmap=True).json()["results"]
    assert result["route"] == "refused" and result["reasons"]
    for nothing in ("class", "confidence", "probabilities", "prediction_set", "heatmap", "error"):
        assert result[nothing] is None, nothing
    assert result["uncertainty"]["ood"] > 1 and result["uncertainty"]["margin"] is None


def test_a_heatmap_is_of_the_input_and_of_the_class_that_was_asked_for(
    service: Served, bundle: Path
) -> None:
    (result,) = service.predict(DIGITS[0], heatmap=True, picture=True).json()["results"]
    (of_seven,) = service.predict(DIGITS[0], heatmap=True, **{"class": "7"}).json()["results"]
    (without,) = service.predict(DIGITS[0]).json()["results"]
    assert without["heatmap"] is None and without["probabilities"] == result["probabilities"]
    assert result["heatmap"]["class"] == result["class"] and of_seven["heatmap"]["class"] == "7"
    assert result["heatmap"]["method"] == "shares" and result["heatmap"]["scale"] > 0
    loaded = Bundle.load(bundle, threads=1)
    drawn = Image.open(BytesIO(base64.b64decode(result["heatmap"]["png"])))
    assert drawn.mode == "RGBA" and drawn.size == (loaded.preprocessing.image_size,) * 2
    assert without["picture"] is None
    seen = np.asarray(Image.open(BytesIO(base64.b64decode(result["picture"]))))
    pixels = loaded.preprocessing.pixels(Image.open(BytesIO(DIGITS[0])))
    np.testing.assert_array_equal(seen[None] if seen.ndim == 2 else seen.transpose(2, 0, 1), pixels)


def test_the_second_runtime_answers_alike(service: Served, bundle: Path, tmp_path: Path) -> None:
    expected = service.predict(*DIGITS[:8], heatmap=True).json()["results"]
    with served(bundle, tmp_path, "runtime=openvino", "sessions=2") as second:
        results = second.predict(*DIGITS[:8], heatmap=True).json()["results"]
    for result, other in zip(results, expected, strict=True):
        assert result["class"] == other["class"]
        # where the CPU has units for it, OpenVINO computes in bfloat16
        assert result["probabilities"] == pytest.approx(other["probabilities"], abs=0.02)
        assert bool(result["heatmap"]) == bool(other["heatmap"])


def test_a_heatmap_has_the_scale_of_the_bundle_and_not_its_own(bundle: Path) -> None:
    """Twice as far from an average picture is twice as strong a colour, on the same scale."""
    loaded = Bundle.load(bundle, threads=1)
    answer = loaded(Image.open(BytesIO(DIGITS[0])), heat=True)
    assert not isinstance(answer, list) and answer.heat is not None and answer.label
    mean, place = loaded.reference["heat_mean"], loaded.classes.index(answer.label)
    strengths = []
    for factor in (0.0, 0.5, 1.0):
        apart = np.zeros_like(answer.heat)
        apart[place, 0, 0] = factor * loaded.reference["heat_deviation"][place]
        answer.heat[:] = mean + apart
        heatmap = Heatmaps(loaded).of(answer, None)
        assert heatmap is not None
        assert heatmap.scale == pytest.approx(
            3 * loaded.reference["heat_deviation"][place] * mean[0].size, rel=1e-5
        )
        pixels = np.asarray(Image.open(BytesIO(base64.b64decode(heatmap.png))))
        strengths.append(int(pixels[0, 0, 3]))
    assert strengths == [0, 42, 85]  # of 255, which stands for three deviations
