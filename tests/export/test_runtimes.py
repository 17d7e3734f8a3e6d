"""Faster ways to the same answers: int8 layers, and OpenVINO where it answers alike."""

import dataclasses
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.export.test_export import export

from strided.data import Preprocessing
from strided.errors import UserError
from strided.evaluation.classifier import Classifier
from strided.evaluation.held_out import set_up_data
from strided.export import int8, second_runtime
from strided.export.graph import ServedNetwork, write_onnx
from strided.export.parity import MOST_MISSED, Checked, missed_by_shares
from strided.models import build_model
from strided.serving import Bundle, openvino_session
from strided.serving.bundle import open_session
from strided.serving.onnx_file import require_plain_graph
from strided.serving.registry import versions

pytestmark = pytest.mark.openvino

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 1, 32, 32), np.uint8)


@pytest.fixture(scope="module")
def quick(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version of `trained_run` with int8 layers, for both runtimes."""
    root = tmp_path_factory.mktemp("quick")
    bundle = root / "registry" / "quick"
    export(trained_run, bundle, root / "logs", "int8=true", "openvino=true")
    return bundle


def test_an_int8_version_is_small_and_says_what_it_costs(quick: Path, exported: Path) -> None:
    plain, manifest = Bundle.load(exported).manifest, Bundle.load(quick).manifest
    assert manifest.int8 is not None and manifest.int8["images"] == 359
    accuracy = manifest.int8["accuracy"]
    assert accuracy["float"] == plain.metrics["test/acc"]
    assert accuracy["int8"] == manifest.metrics["test/acc"] >= accuracy["float"] - 0.01
    assert (
        accuracy["interval"][0] <= accuracy["int8"] - accuracy["float"] <= accuracy["interval"][1]
    )
    assert manifest.metrics.keys() == plain.metrics.keys()
    assert 0 < manifest.int8["largest_difference"] < 0.1 and not manifest.int8["forced"]
    assert manifest.parity["allowed_difference"] is None
    assert manifest.parity["largest_difference"] > plain.parity["largest_difference"]
    assert manifest.files["model.onnx"]["bytes"] < plain.files["model.onnx"]["bytes"] / 2


def test_a_version_says_nothing_of_what_was_not_asked_for(exported: Path) -> None:
    content = json.loads((exported / "1" / "manifest.json").read_text())
    assert not {"int8", "openvino"} & content.keys()


def test_an_int8_version_that_loses_accuracy_is_refused_unless_forced(
    trained_run: Path, log_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(int8, "MOST_LOST", -1.0)
    bundle = tmp_path / "registry" / "quick"
    run = export(trained_run, bundle, log_dir, "int8=true", code=1)
    assert "int8 has accuracy" in capsys.readouterr().err
    assert json.loads((run / "results.json").read_text())["int8"]["images"] == 359
    assert not versions(bundle)
    facts = {"accuracy": {"int8": 0.5, "float": 0.9, "interval": [-0.5, -0.3]}}
    facts |= {"images": 100, "other_classes": 40}  # type: ignore[dict-item]
    int8.require_accuracy(facts, force=True)
    assert facts["forced"]


@torch.no_grad()
def test_shares_of_int8_layers_are_exact(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = {"_target_": "strided.models.CifarResNet", "depth": 8}
    net = build_model(config, num_classes=5, in_channels=1, image_size=32).eval()
    network = ServedNetwork(net, Preprocessing(1, 32, mean=(0.5,), std=(0.25,)))
    write_onnx(network, tmp_path / "model.onnx")
    images = Checked("val", PIXELS, np.zeros(len(PIXELS), int))
    content = int8.quantised((tmp_path / "model.onnx").read_bytes(), images, tmp_path)
    require_plain_graph(content)
    session = open_session(content, threads=1)
    logits = session.run(["logits"], {"pixels": PIXELS})[0]
    assert not np.allclose(logits, network(torch.from_numpy(PIXELS))[0], atol=1e-5)
    assert network.bias is not None
    assert missed_by_shares(session, images, network.bias.numpy()) <= MOST_MISSED
    assert list(tmp_path.iterdir()) == [tmp_path / "model.onnx"]
    with pytest.raises(UserError, match="cannot have int8 layers"):
        int8.quantised(b"no network", images, tmp_path)
    with pytest.raises(UserError, match="OpenVINO cannot run"):
        second_runtime._opened(b"no network")


def test_openvino_answers_alike_in_several_threads(quick: Path) -> None:
    manifest = Bundle.load(quick).manifest
    assert manifest.openvino is not None and manifest.openvino["passed"]
    assert manifest.openvino["images"] == 288 and len(manifest.openvino["latency"]) >= 5
    first = Bundle.load(quick, threads=1)
    second = Bundle.load(quick, threads=1, runtime="openvino")
    expected = first.probabilities(first.outputs(PIXELS).logits)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: second.outputs(PIXELS), range(20)):
            assert np.abs(second.probabilities(found.logits) - expected).max() < 0.02
            assert found.features.shape == (9, 84) and found.heat is None
    assert second(PIXELS[0, 0]).label == first(PIXELS[0, 0]).label  # type: ignore[union-attr]


def test_openvino_gives_heat_too(tmp_path: Path) -> None:
    config = {"_target_": "strided.models.CifarResNet", "depth": 8}
    net = build_model(config, num_classes=5, in_channels=1, image_size=32).eval()
    network = ServedNetwork(net, Preprocessing(1, 32, mean=(0.5,), std=(0.25,)))
    write_onnx(network, tmp_path / "model.onnx")
    content = (tmp_path / "model.onnx").read_bytes()
    session = openvino_session.OpenVINOSession(content, threads=1, precision="f32")
    own = open_session(content, threads=1)
    shapes = [(node.name, node.type, list(node.shape[1:])) for node in own.get_outputs()]
    assert shapes == [(node.name, node.type, node.shape[1:]) for node in session.get_outputs()]
    names = ["logits", "features", "heat"]
    expected = own.run(names, {"pixels": PIXELS})
    for found, wanted in zip(session.run(names, {"pixels": PIXELS}), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


def test_openvino_is_refused_where_it_has_not_passed(
    exported: Path, quick: Path, trained_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="does not say whether it does answer"):
        Bundle.load(exported, runtime="openvino")
    with pytest.raises(UserError, match="runtime='tensorrt'; expected onnxruntime or openvino"):
        Bundle.load(quick, runtime="tensorrt")  # type: ignore[arg-type]
    monkeypatch.setattr(second_runtime, "MOST_DIFFERENCE", -1.0)
    bundle = Bundle.load(exported, threads=1)
    data = set_up_data(Classifier.load(trained_run, device="cpu"), None)
    content = (exported / "1" / "model.onnx").read_bytes()
    facts = second_runtime.second_runtime(bundle, content, data, "val")
    assert not facts["passed"] and facts["precision"] == "f32"  # the last that was tried
    failed = dataclasses.replace(bundle.manifest, openvino=facts)
    monkeypatch.setattr("strided.serving.bundle.Manifest.read", lambda _: failed)
    with pytest.raises(UserError, match="says that it does not answer"):
        Bundle.load(exported, runtime="openvino")


def test_openvino_that_is_missing_is_named(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_session, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"strided\[openvino\]"):
        Bundle.load(quick, runtime="openvino")


def test_openvino_tells_nobody_that_it_runs(quick: Path, tmp_path: Path) -> None:
    """Its telemetry would write an identity into the home folder, and send it at the import."""
    code = (
        "import sys; from strided.serving import Bundle; "
        f"Bundle.load({str(quick)!r}, threads=1, runtime='openvino'); "
        "assert 'openvino' in sys.modules and sys.modules['openvino_telemetry'] is None"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)
    assert not list(tmp_path.iterdir())
