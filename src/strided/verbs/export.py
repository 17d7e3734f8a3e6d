"""The export verb: from a checkpoint to a version of a bundle, with proof that it answers alike."""

import logging
import shutil
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from strided.config.keys import Config
from strided.data import ImageDataModule
from strided.errors import UserError
from strided.evaluation.classifier import Classifier
from strided.evaluation.held_out import require_known_split, require_split, set_up_data
from strided.evaluation.members import members
from strided.evaluation.overlap import seen_by, without_seen
from strided.export.comparison import compare, require_no_worse
from strided.export.facts import PACKAGES, described, results_of, run_of
from strided.export.graph import ServedNetwork, require_features_of, write_onnx
from strided.export.int8 import compared, quantised, require_accuracy
from strided.export.latency import latency
from strided.export.parity import (
    MOST_MISSED,
    Checked,
    missed_by_shares,
    own_images,
    parity,
    require_parity,
)
from strided.export.reference import reference
from strided.export.second_runtime import second_runtime
from strided.runs.ending import say_ending
from strided.runs.results import Results
from strided.serving.bundle import Bundle, open_session
from strided.serving.files import CARD, GATE, MODEL, REFERENCE, facts_of
from strided.serving.manifest import Manifest
from strided.serving.openvino_session import require_openvino
from strided.serving.registry import active_version, model_folder, register, require_writable
from strided.system.signals import Interruption

log = logging.getLogger(__name__)

MOST_IMAGES = 1_000  # whose statistics a bundle carries


def export(config: Config, folder: Path, results: Results, _: Interruption) -> None:
    """Write the next version of `bundle` for `checkpoint`, or nothing. Raises UserError."""
    _require_packages()
    if config["openvino"]:
        require_openvino()
    assert config["checkpoint"], "check() refuses none"
    checkpoint = _one_checkpoint(config["checkpoint"])
    model = model_folder(config["bundle"])
    require_writable(model)
    measured = results_of(checkpoint)
    gate = config["gate"]
    active = None if gate is None else Bundle.load(_active(gate))
    classifier = Classifier.load(checkpoint, device="cpu", precision="32-true")
    data = set_up_data(classifier, config.get("data"))
    _require_no_views(classifier)
    _require_no_rows(classifier)
    if active is not None or config["int8"]:
        _require_new_images(classifier, data, checkpoint)
    images = own_images(classifier, data, MOST_IMAGES)
    with TemporaryDirectory(prefix="bundle-", dir=folder) as prepared:
        place = Path(prepared)
        network = ServedNetwork(classifier.task.model, classifier.preprocessing)
        facts, plain = _proven(classifier, network, images, place / MODEL, config["int8"])
        intended = config["intended_use"] or data.intended_use
        facts |= described(classifier, checkpoint, measured, network, intended)
        _write_beside(place, classifier, network, checkpoint)
        bundle = _bundle(facts, model.name, images, place)
        if config["int8"]:
            facts |= compared(bundle, _with(bundle, plain), classifier, data, images)
            results["int8"] = facts["int8"]
            require_accuracy(facts["int8"], config["force"])
        if config["openvino"]:
            content = (place / MODEL).read_bytes()
            facts["openvino"] = second_runtime(bundle, content, data, images.split)
            results["openvino"] = facts["openvino"]
        if active is not None:
            found = compare(bundle, active, classifier, data, config.get("data"))
            results["comparison"] = found
            require_no_worse(found, config["force"])
            facts["comparison"] = {**found, "forced": bool(found["worse"])}
        version = register(model, place, lambda number: _manifest(facts, model.name, number))
    results["bundle"] = {"name": model.name, "version": int(version.name), **_told(facts)}
    say_ending(f"version {version.name} of {model.name}, {_headline(facts)}", bundle=version)
    if (answering := active_version(model)) != int(version.name):
        log.info("version %d goes on answering until another is activated", answering)


def _one_checkpoint(given: str | list[str]) -> Path:
    """The checkpoint that was named. Raises UserError for several."""
    found = members(given)
    if len(found) > 1:
        raise UserError(
            f"checkpoint={given if isinstance(given, str) else ','.join(given)} is an ensemble of "
            f"{len(found)} networks, and a bundle holds one; expected a run folder or a .ckpt "
            f"file. Try checkpoint={found[0].parent.parent}"
        )
    return found[0]


def _require_no_views(classifier: Classifier) -> None:
    """Raise UserError for a decision that was fitted on the mean of several answers."""
    if classifier.views != "none":
        raise UserError(
            f"this checkpoint averages its answers to evaluation.views={classifier.views}, and a "
            "bundle asks its network once, so that the calibration would not fit; expected a run "
            "without views. Try training with evaluation.views=null"
        )


def _require_no_rows(classifier: Classifier) -> None:
    """Raise UserError for a gate that holds training images' features."""
    if classifier.gate is not None and classifier.gate.features.method != "mahalanobis":
        raise UserError(
            f"the gate of this checkpoint, {classifier.gate.features.method}, keeps the features "
            "of each training image, and no row of an image leaves in a bundle; expected a gate of "
            "statistics. Try training with evaluation.gate=mahalanobis"
        )


def _active(gate: str) -> Path:
    folder = model_folder(gate, "gate")
    return folder / str(active_version(folder))


def _require_packages() -> None:
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise UserError(
            f"export needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
            "installed; expected strided with its extra of that name. Try pip install "
            "'strided[export]'"
        )


def _write_beside(
    place: Path, classifier: Classifier, network: ServedNetwork, checkpoint: Path
) -> None:
    """Write the gate and the run's card beside the network, if there are any."""
    if classifier.gate is not None:
        require_features_of(network, classifier.gate)
        np.savez(place / GATE, **classifier.gate.arrays())  # type: ignore[arg-type]
    if (run := run_of(checkpoint)) and (run / CARD).is_file():
        shutil.copyfile(run / CARD, place / CARD)


def _proven(
    classifier: Classifier, network: ServedNetwork, images: Checked, file: Path, int8: bool
) -> tuple[dict[str, Any], bytes]:
    """Write the network, and check its answers; its heat is left out if its sums are not exact.

    Returns the facts, and the network in float, from which an int8 one was made.
    """
    write_onnx(network, file)
    plain = file.read_bytes()
    facts = {"parity": parity(classifier, open_session(plain), images)}
    require_parity(facts["parity"])
    if int8:
        file.write_bytes(quantised(plain, images, file.parent))
        found = parity(classifier, open_session(file.read_bytes()), images)
        facts["parity"] = found | {"allowed_difference": None}  # accuracy decides
    missed = None
    if network.has_heat:
        bias = None if network.bias is None else network.bias.numpy()
        missed = missed_by_shares(open_session(file.read_bytes()), images, bias)
        if not missed <= MOST_MISSED:
            network.reason = f"the sums of its shares miss the logits by up to {missed:.1e}"
            return _proven(classifier, network, images, file, int8)
    method = "shares" if network.has_heat else None
    facts["heatmap"] = {"method": method, "reason": network.reason, "largest_miss": missed}
    log.info(
        "%s, %d bytes: logits differ from predict's by at most %.1e; heatmap: %s",
        *(MODEL, file.stat().st_size, facts["parity"]["largest_difference"]),
        network.reason or "exact shares",
    )
    return facts, plain


def _with(bundle: Bundle, network: bytes) -> Bundle:
    """The same bundle with another network."""
    return Bundle(bundle.manifest, open_session(network), {})


def _bundle(facts: dict[str, Any], name: str, images: Checked, place: Path) -> Bundle:
    """Run the network as a service will, for statistics and times; they join the facts."""
    content = (place / MODEL).read_bytes()
    facts["latency"] = latency(content, images.pixels[0], list(facts["outputs"]))
    facts["reference"] = {"split": images.split, "images": len(images.pixels)}
    np.savez(place / REFERENCE)  # until there are statistics
    facts["files"] = _files(place)
    bundle = Bundle(_parsed(facts, name), open_session(content), {})
    np.savez(place / REFERENCE, **reference(bundle, images))  # type: ignore[arg-type]
    facts["files"] = _files(place)
    return bundle


def _files(place: Path) -> dict[str, Any]:
    return {file.name: facts_of(file.read_bytes()) for file in sorted(place.iterdir())}


def _parsed(facts: dict[str, Any], name: str, version: int = 1) -> Manifest:
    return Manifest.from_dict({**facts, "name": name, "version": version})


def _manifest(facts: dict[str, Any], name: str, version: int) -> dict[str, Any]:
    return _parsed(facts, name, version).to_dict()


def _require_new_images(classifier: Classifier, data: ImageDataModule, checkpoint: Path) -> None:
    """Raise UserError unless there are test images, new to the network, as eval does."""
    require_split(data, "test")
    without_seen(seen_by(classifier, checkpoint), classifier, data, "test", exclude=False)
    require_known_split(classifier, data, "test")


def _told(facts: dict[str, Any]) -> dict[str, Any]:
    """What results.json holds of a bundle."""
    return {key: facts[key] for key in ("files", "parity", "heatmap", "latency")}


def _headline(facts: dict[str, Any]) -> str:
    one = next(row for row in facts["latency"] if row["batch"] == 1)
    alike = f"logits within {facts['parity']['largest_difference']:.1e} of predict's"
    if "int8" in facts:
        right = facts["int8"]["accuracy"]
        alike = f"int8 with accuracy {right['int8']:.4f} against {right['float']:.4f} of float"
    return f"{alike}, {one['wall_ms']:.2f} ms an image on one thread"
