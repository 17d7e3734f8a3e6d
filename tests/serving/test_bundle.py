"""A bundle is read as a stranger's: each file as it was written, or refused by name."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import contents

from strided.decision.gate import Gate, Images
from strided.decision.input_gate import looks
from strided.errors import UserError
from strided.serving import Bundle
from strided.serving.files import GATE, MANIFEST, MODEL, REFERENCE, facts_of
from strided.serving.manifest import Manifest

Content = dict[str, Any]
PIXELS = np.zeros((1, 1, 32, 32), np.uint8)


@pytest.fixture
def version(exported: Path, tmp_path: Path) -> Path:
    """A copy of the version, to be changed at will."""
    return Path(shutil.copytree(exported / "1", tmp_path / "theirs" / "1"))


def test_a_name_stands_for_its_active_version(exported: Path) -> None:
    bundle = Bundle.load(exported, threads=1)
    assert bundle.manifest == Bundle.load(exported / "1", threads=1).manifest
    assert repr(bundle) == "<Bundle digits 1: 10 classes>"
    outputs = bundle.outputs(PIXELS, heat=True)
    assert outputs.logits.shape == (1, 10) and outputs.features.shape == (1, 84)
    assert outputs.heat is None
    assert bundle.probabilities(outputs.logits).sum() == pytest.approx(1)


@pytest.mark.parametrize("name", [MODEL, REFERENCE])
def test_a_damaged_file_is_named(name: str, version: Path) -> None:
    file = version / name
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged in (bytes(flipped), whole[:-1], whole + b"\0", b""):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match=f"{name} is damaged"):
            Bundle.load(version)
    file.unlink()
    with pytest.raises(UserError, match=f"{name} is damaged .*missing"):
        Bundle.load(version)


def rewritten(version: Path, change: Callable[[Content], object]) -> Path:
    file = version / MANIFEST
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    return version


MANIFESTS: dict[str, Callable[[Content], object]] = {
    "another key": lambda content: content.update(run="os.system"),
    "a key less": lambda content: content.pop("notice"),
    "another format": lambda content: content.update(format="strided-bundle-9"),
    "a file elsewhere": lambda content: content["files"].update(
        {"../../secret": content["files"][MODEL]}
    ),
    "no network": lambda content: content["files"].pop(MODEL),
    "a size that is none": lambda content: content["files"][MODEL].update(bytes=-1),
    "a hash that is none": lambda content: content["files"][MODEL].update(sha256="0" * 63),
    "a class twice": lambda content: content["classes"].append("0"),
    "classes of another kind": lambda content: content.update(classes=[0, 1]),
    "a version that is a text": lambda content: content.update(version="1"),
    "a version that is true": lambda content: content.update(version=True),
    "a version below 1": lambda content: content.update(version=-1),
    "a version without end": lambda content: content.update(version=10**300),
    "a metric that is a mapping": lambda content: content["metrics"].update({"test/acc": {}}),
    "a metric without end": lambda content: content["metrics"].update({"test/acc": 10**300}),
    "an interval of three": lambda content: content["metrics"].update({"test/acc": [0, 1, 2]}),
    "a time below 0": lambda content: content["latency"][0].update(wall_ms=-1),
    "a time that is a text": lambda content: content["latency"][0].update(cpu_ms="fast"),
    "latency of a million batches": lambda content: content.update(
        latency=content["latency"] * 1000
    ),
    "another heatmap": lambda content: content["heatmap"].update(method="mine"),
    "a reason without end": lambda content: content["heatmap"].update(reason="x" * 99_999),
    "parity of a text": lambda content: content["parity"].update(same_classes="yes"),
    "a class without end": lambda content: content["classes"].append("x" * 5000),
    "sets without calibration": lambda content: content.update(sets={"method": "aps"}),
    "another comparison": lambda content: content.update(comparison={"worse": []}),
    "an input without end": lambda content: content["preprocessing"].update(image_size=10**9),
    "other outputs": lambda content: content["outputs"].update(logits=[9]),
    "heat of another size": lambda content: content["outputs"].update(heat=[10, 4]),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_changed_manifest_is_refused(name: str, version: Path) -> None:
    rewritten(version, MANIFESTS[name])
    with pytest.raises(UserError, match=r"manifest\.json cannot be used"):
        Bundle.load(version)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"version": NaN}'], ids=repr
)
def test_what_is_no_manifest_is_refused(content: bytes, version: Path) -> None:
    (version / MANIFEST).write_bytes(content)
    with pytest.raises(UserError, match=r"manifest\.json cannot be used"):
        Bundle.load(version)


def test_a_manifest_without_end_is_not_read(version: Path) -> None:
    (version / MANIFEST).unlink()
    (version / MANIFEST).symlink_to("/dev/zero")
    with pytest.raises(UserError, match="is no file"):
        Bundle.load(version)


def test_a_file_that_may_not_be_read_is_named(
    version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.open

    def refuse(file: Path, *how: Any, **more: Any) -> Any:
        if file.name == MODEL:  # root may read what others may not
            raise PermissionError(13, "Permission denied", str(file))
        return read(file, *how, **more)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match=f"cannot be read: .*{MODEL}"):
        Bundle.load(version)


def test_what_is_no_picture_is_named(exported: Path) -> None:
    bundle = Bundle.load(exported, threads=1)
    for given in (b"GIF89a", 5, [None]):
        with pytest.raises(UserError, match="is no image; expected a path"):
            bundle(given)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"nowhere\.png .*cannot be read"):
        bundle([np.zeros((8, 8), np.uint8), "nowhere.png"])


def test_a_network_of_other_shapes_is_refused(version: Path) -> None:
    def wider(content: Content) -> None:
        content["preprocessing"]["image_size"] = 33

    with pytest.raises(UserError, match=f"{MODEL} is damaged .*other arrays"):
        Bundle.load(rewritten(version, wider))


def test_arrays_that_hold_objects_or_are_compressed_are_refused(version: Path) -> None:
    objects = np.array([{}], dtype=object)
    for save, given in ((np.savez, objects), (np.savez_compressed, np.zeros(10**6))):
        save(version / REFERENCE, images=given)
        facts = facts_of((version / REFERENCE).read_bytes())
        entry = {REFERENCE: facts}
        rewritten(version, partial(lambda entry, content: content["files"].update(entry), entry))
        with pytest.raises(UserError, match=f"{REFERENCE} is damaged"):
            Bundle.load(version)


@pytest.mark.parametrize(("features", "channels"), [(83, 1), (84, 3)])
def test_a_gate_of_another_network_is_refused(features: int, channels: int, version: Path) -> None:
    generator = np.random.default_rng(0)
    pictures = generator.integers(0, 256, (40, channels, 8, 8), np.uint8)
    own = Images(generator.normal(size=(40, features)), looks(pictures))
    gate = Gate.fit("mahalanobis", own, np.arange(40) % 2, own, "output", 0.1)
    np.savez(version / GATE, **gate.arrays())  # type: ignore[arg-type]

    def gated(content: Content) -> None:
        content["gate"] = gate.to_dict()
        content["files"][GATE] = facts_of((version / GATE).read_bytes())

    with pytest.raises(UserError, match=f"{GATE} is damaged .*its gate is of"):
        Bundle.load(rewritten(version, gated))


def test_a_manifest_is_read_as_it_was_written(version: Path) -> None:
    manifest = Manifest.read(version)
    assert Manifest.from_dict(json.loads(json.dumps(manifest.to_dict()))) == manifest


def test_nothing_of_this_machine_and_no_image_is_in_a_bundle(
    exported: Path, trained_run: Path
) -> None:
    whole = b"".join(contents(exported).values())
    for place in (Path(__file__).parents[2], trained_run.parent, Path.home()):
        assert str(place).encode() not in whole
    with np.load(exported / "1" / REFERENCE) as arrays:
        images = int(arrays["images"])
        assert images > 200
        assert not [name for name in arrays.files if images in arrays[name].shape]


def test_numbers_that_are_not_finite_are_no_answer(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.load(exported, threads=1)
    found = bundle.outputs(PIXELS)
    found.logits[0, 3] = np.nan
    assert found.finite().tolist() == [False]
    monkeypatch.setattr(bundle, "outputs", lambda *_, **__: found)
    with pytest.raises(UserError, match="not finite; expected an answer .* Try another version"):
        bundle(PIXELS[0, 0])
