"""The export verb: a version that answers as predict does, or none."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.conftest import Train, files

from strided.cli import main
from strided.errors import UserError
from strided.evaluation.classifier import Classifier
from strided.evaluation.held_out import set_up_data
from strided.export import parity
from strided.export.comparison import compare
from strided.export.parity import Checked
from strided.export.reference import reference
from strided.serving import Bundle
from strided.serving.registry import versions


def export(checkpoint: Path, bundle: Path, log_dir: Path, *more: str, code: int = 0) -> Path:
    """The run folder of an export."""
    words = [f"checkpoint={checkpoint}", f"bundle={bundle}", f"log_dir={log_dir}", *more]
    assert main(["export", *words]) == code
    return max(log_dir.glob("export/*/*"))


def test_a_bundle_answers_as_predict_does(exported: Path, trained_run: Path) -> None:
    classifier = Classifier.load(trained_run, device="cpu")
    bundle = Bundle.load(exported, threads=1)
    pixels = np.random.default_rng(0).integers(0, 256, (9, 1, 32, 32), np.uint8)
    expected = classifier.logits(torch.from_numpy(pixels))
    logits = torch.from_numpy(bundle.outputs(pixels).logits)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)


def test_few_images_leave_no_row_of_one(exported: Path) -> None:
    bundle = Bundle.load(exported, threads=1)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 1, 32, 32), np.uint8)
    labels = np.zeros(20, np.int64)
    few = reference(bundle, Checked("val", pixels[:1], labels[:1]))
    of_classes = {"class_predicted", "class_labelled", "class_feature_mean"}
    assert few.keys() == {"images", "levels"} | of_classes
    assert np.isnan(few["class_feature_mean"]).all()
    enough = reference(bundle, Checked("val", pixels, labels))
    assert np.isfinite(enough["feature_mean"]).all() and "confidence_quantiles" in enough
    assert np.isfinite(enough["class_feature_mean"]).sum() == 84  # of the one class that has 20


def test_a_version_says_what_it_is(exported: Path, trained_run: Path) -> None:
    manifest = Bundle.load(exported, threads=1).manifest
    results = json.loads((trained_run / "results.json").read_text())
    card = {"card.md"} & files(trained_run)
    assert files(exported / "1") == {"model.onnx", "manifest.json", "reference.npz"} | card
    assert set(manifest.files) == {"model.onnx", "reference.npz"} | card
    assert manifest.classes == results["classes"]
    assert manifest.metrics["test/acc_ci95"] == results["test/acc_ci95"]
    assert manifest.source["run"] == f"{trained_run.parent.name}/{trained_run.name}"
    assert manifest.split_hashes["test"] and manifest.data_fingerprint
    assert manifest.parity["batches"] == [1, 2, 7] and manifest.parity["split"] == "val"
    assert {row["batch"] for row in manifest.latency} == {1, 2, 4, 8, 16}
    assert manifest.heatmap["method"] is None and "means of maps" in manifest.heatmap["reason"]
    config = (exported / "config.pbtxt").read_text()
    assert 'name: "digits"' in config and "dims: [ 1, 32, 32 ]" in config


def worsened(run: Path, to: Path) -> Path:
    """A checkpoint whose network takes each digit for the next."""
    content = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    last = list(content["state_dict"])[-2:]
    for name in last:
        content["state_dict"][name] = content["state_dict"][name].roll(1, 0)
    torch.save(content, to)
    return to


def test_a_version_worse_than_the_active_one_is_refused_unless_forced(
    exported: Path, trained_run: Path, log_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    worse = worsened(trained_run, tmp_path / "worse.ckpt")
    bundle = tmp_path / "registry" / "digits"
    run = export(worse, bundle, log_dir, f"gate={exported}", code=1)
    assert "worse than the active version in accuracy, calibration" in capsys.readouterr().err
    assert not versions(bundle) and files(run) >= {"results.json", "run.log"}
    assert not list(run.glob("bundle-*"))
    export(worse, bundle, log_dir, f"gate={exported}", "force=true")
    comparison = Bundle.load(bundle, threads=1).manifest.comparison
    assert comparison is not None and comparison["forced"] and comparison["same_split"]
    assert comparison["accuracy"]["interval"][1] < 0 < comparison["ece"]["interval"][0]
    assert len(comparison["stress"]) == 8 and "noise" in comparison["worse"]


def test_each_version_sees_the_images_in_its_own_way(exported: Path, trained_run: Path) -> None:
    classifier = Classifier.load(trained_run, device="cpu")
    data = set_up_data(classifier, None)
    bundle = Bundle.load(exported, threads=1)

    def other(**changes: Any) -> Bundle:
        manifest = dataclasses.replace(bundle.manifest, **changes)
        return Bundle(manifest, bundle._session, {})

    itself = compare(bundle, bundle, classifier, data, None)
    assert not itself["worse"] and itself["ece"]["interval"] == [0, 0]
    padded = other(preprocessing={**bundle.manifest.preprocessing, "resize": "pad"})
    accuracy = compare(bundle, padded, classifier, data, None)["accuracy"]
    assert accuracy["active"] < accuracy["new"] and accuracy["interval"][0] > 0
    turned = other(classes=bundle.classes[::-1])
    accuracy = compare(bundle, turned, classifier, data, None)["accuracy"]
    assert accuracy["active"] < 0.3
    with pytest.raises(UserError, match="has the classes"):
        compare(bundle, other(classes=[f"x{name}" for name in range(10)]), classifier, data, None)


def test_a_bundle_refuses_what_its_checkpoint_refuses(
    run_train: Train, log_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = run_train("evaluation.gate=mahalanobis")
    bundle = tmp_path / "registry" / "digits"
    export(run, bundle, log_dir)
    assert (bundle / "1" / "gate.npz").is_file()
    noise = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
    classifier = Classifier.load(run, device="cpu")
    pictures = [noise, set_up_data(classifier, None).picture("test", 0)]
    answers = Bundle.load(bundle, threads=1)(pictures)
    predictions = classifier(pictures)
    assert isinstance(answers, list) and isinstance(predictions, list)
    for answer, prediction in zip(answers, predictions, strict=True):
        assert answer.label == prediction.label
        assert (answer.route == "refused") == bool(prediction.refused)
    assert answers[0].route == "refused" and not answers[0].probabilities
    file = run / "checkpoints" / "best.ckpt"
    content = torch.load(file, weights_only=True)
    content["strided"]["decision"]["gate"]["method"] = "knn"
    arrays = content["strided"]["gate"]
    arrays["features.centres"] = torch.ones(10, len(arrays["features.mean"]))
    torch.save(content, tmp_path / "knn.ckpt")
    export(tmp_path / "knn.ckpt", bundle, log_dir, code=1)
    assert "no row of an image leaves" in capsys.readouterr().err
    assert versions(bundle) == [1]


def test_nothing_is_registered_unless_the_answers_are_the_same(
    trained_run: Path, log_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(parity, "MOST_DIFFERENCE", -1.0)
    export(trained_run, tmp_path / "registry" / "digits", log_dir, code=1)
    assert "differs from predict" in capsys.readouterr().err
    assert not (tmp_path / "registry").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["bundle=digits"], "names no registry"),
        (["gate=registry/none"], "has no version"),
        (["data.image_size=64"], "decides the input"),
        (["checkpoint=[{run},{run}/checkpoints/last.ckpt]"], "ensemble of 2 networks"),
    ],
)
def test_mistakes_are_told_before_anything_is_exported(
    words: list[str],
    says: str,
    trained_run: Path,
    log_dir: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    words = [word.format(run=trained_run) for word in words]
    export(trained_run, Path("registry/digits"), log_dir, *words, code=1)
    assert says in capsys.readouterr().err
    assert not Path("registry").exists()


def test_results_that_cannot_be_read_are_told_before_anything_is_exported(
    copied_run: Path, log_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (copied_run / "results.json").write_text('{"state":')
    monkeypatch.setattr("strided.verbs.export.write_onnx", lambda *_: pytest.fail("exported"))
    export(copied_run, Path("registry/digits"), log_dir, code=1)
    assert "results.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("verb", "within", "words"),
    [
        ("predict", "", ["input=digit.png"]),
        ("eval", "1", []),
        ("export", "1/model.onnx", ["bundle=registry/digits"]),
    ],
)
def test_a_bundle_is_no_checkpoint(
    verb: str,
    within: str,
    words: list[str],
    exported: Path,
    log_dir: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    words = [f"checkpoint={exported / within}", f"log_dir={log_dir}", *words]
    assert main([verb, *words]) == 1
    assert "belongs to a bundle" in capsys.readouterr().err


def test_other_runtimes_in_a_process_of_their_own() -> None:
    """OpenVINO's threads do not go with a process that forks, as other tests do."""
    file = Path(__file__).with_name("test_runtimes.py")
    usual = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-m", "openvino", str(file)]
    ended = subprocess.run(command, env=usual, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout
    assert " passed" in ended.stdout and "skipped" not in ended.stdout
