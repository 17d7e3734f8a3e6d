"""manifest.json of a bundle: its network, what was measured with it, what its files hold."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np

from strided.data.preprocessing import Preprocessing
from strided.decision.calibration import Calibration
from strided.decision.decision import Decision
from strided.errors import UserError, one_line, printable
from strided.system.plain_data import is_there, read_json, require_plain

FORMAT = "strided-bundle-1"
MANIFEST, MODEL, REFERENCE = "manifest.json", "model.onnx", "reference.npz"
GATE, CARD = "gate.npz", "card.md"  # of a checkpoint with a gate, of a run with a card
OF_DECISION = ("calibration", "sets", "gate", "triage", "operating_point", "fitted_on")
FILES = (MODEL, REFERENCE, GATE, CARD)  # all that a manifest may name
NOTICE = (
    "For research and teaching. Not a medical device: no diagnosis or treatment may rest on its "
    "answers."
)

MOST_BYTES = 8 * 2**20  # of a manifest; one of ImageNet's 1,000 classes has 0.2 MB
_MOST_CLASSES = 100_000
_MOST_PIXELS = 16_384  # side of an input
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Manifest:
    """The content of manifest.json.

    files: {name: {"sha256", "bytes"}}. outputs: the shape of each output of the network for one
    image. calibration, sets, gate, triage and operating_point are those of the checkpoint's
    decision, and fitted_on says on which images it was fitted: None without one. comparison is with
    the version that answered before, None if none was asked for. The metrics are of the run that
    trained the network.
    """

    format: str
    name: str
    version: int
    created: str
    files: dict[str, dict[str, Any]]
    classes: list[str]
    preprocessing: dict[str, Any]
    outputs: dict[str, list[int]]
    calibration: dict[str, Any] | None
    sets: dict[str, Any] | None
    gate: dict[str, Any] | None
    triage: dict[str, Any] | None
    operating_point: dict[str, Any] | None
    fitted_on: str | None
    heatmap: dict[str, Any]
    metrics: dict[str, Any]
    parity: dict[str, Any]
    comparison: dict[str, Any] | None
    latency: list[dict[str, Any]]
    reference: dict[str, Any]
    data_fingerprint: str | None
    split_hashes: dict[str, str]
    versions: dict[str, str]
    source: dict[str, Any]
    intended_use: str | None
    notice: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `read` to take back."""
        return asdict(self)

    def decision(self, gate: Mapping[str, np.ndarray] | None = None) -> Decision:
        """What makes answers of logits: plain probabilities, unless the checkpoint says more.

        `gate` has the arrays of gate.npz; None leaves the gate out. Raises ValueError.
        """
        if self.calibration is None:
            return Decision(Calibration())
        parts = {key: getattr(self, key) for key in OF_DECISION}
        if gate is None:
            parts["gate"] = None
        found = Decision.from_dict({**parts, "scores": None}, len(self.classes), gate or {})
        if found.gate is not None:
            found.gate.require_sizes(self.outputs["features"][0], self.preprocessing["channels"])
        return found

    @classmethod
    def read(cls, version: Path) -> Self:
        """Read the manifest of a version's folder. Raises UserError; it may be a stranger's."""
        file = version / MANIFEST
        if not is_there(file):
            raise UserError(
                f"{printable(str(version))} has no {MANIFEST}; expected a version of a bundle, as "
                "registry/digits/1. Try python src/export.py, which writes one"
            )
        try:
            if file.stat().st_size > MOST_BYTES:
                raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
            return cls.from_dict(read_json(file))
        except (ValueError, OSError) as error:
            raise UserError(
                f"{printable(str(file))} cannot be used: {printable(str(error))[:300]}; expected a "
                "manifest as export wrote it. Try another copy of the bundle"
            ) from error

    @classmethod
    def from_dict(cls, content: Any) -> Self:
        """Rebuild what `to_dict` returned. Raises ValueError for anything else."""
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        known = {field.name for field in fields(cls)}
        if others := known ^ content.keys():
            raise ValueError(f"it lacks keys, or has others: {', '.join(sorted(others))[:200]}")
        require_plain(content)
        for key, kind in _KINDS.items():
            if not isinstance(content[key], kind) or isinstance(content[key], bool):
                raise ValueError(f"its {key} has another type")
        _check_files(content["files"])
        if (GATE in content["files"]) != (content["gate"] is not None):
            raise ValueError(f"it has a gate without {GATE}, or the other way round")
        _check_classes(content["classes"])
        _check_shapes(content)
        found = cls(**content)
        found.decision()  # its parts are a stranger's, too
        Preprocessing.from_dict(found.preprocessing)
        return found


_KINDS: dict[str, Any] = {
    "name": str,
    "version": int,
    "created": str,
    "files": dict,
    "classes": list,
    "preprocessing": dict,
    "outputs": dict,
    "heatmap": dict,
    "metrics": dict,
    "parity": dict,
    "latency": list,
    "reference": dict,
    "split_hashes": dict,
    "versions": dict,
    "source": dict,
    "notice": str,
    "data_fingerprint": str | None,
    "intended_use": str | None,
    "fitted_on": str | None,
    **dict.fromkeys((*OF_DECISION[:-1], "comparison"), dict | None),
}


def _check_files(files: dict[str, Any]) -> None:
    if MODEL not in files or REFERENCE not in files or not set(files) <= set(FILES):
        raise ValueError(f"its files are not {', '.join(FILES)}")
    for name, facts in files.items():
        if not isinstance(facts, dict) or set(facts) != {"sha256", "bytes"}:
            raise ValueError(f"it does not say the sha256 and bytes of {name}")
        size = facts["bytes"]
        if not _SHA256.fullmatch(str(facts["sha256"])) or type(size) is not int or size < 0:
            raise ValueError(f"the sha256 or bytes of {name} are none")


def _check_classes(classes: list[Any]) -> None:
    if not 2 <= len(classes) <= _MOST_CLASSES or not all(
        isinstance(name, str) and name for name in classes
    ):
        raise ValueError("its classes are no list of names")
    if len(set(classes)) < len(classes):
        raise ValueError("it has a class twice")


def _check_shapes(content: dict[str, Any]) -> None:
    """The shapes that a service makes arrays of."""
    channels, size = (content["preprocessing"].get(key) for key in ("channels", "image_size"))
    if channels not in (1, 3) or type(size) is not int or not 1 <= size <= _MOST_PIXELS:
        raise ValueError("its preprocessing has no channels and image_size")
    outputs, count = content["outputs"], len(content["classes"])
    for name, shape in outputs.items():
        if not isinstance(shape, list) or not all(type(n) is int and n > 0 for n in shape):
            raise ValueError(f"the shape of {one_line(name)[:50]} is none")
    heat = outputs.get("heat", [count, 1, 1])
    if (
        not {"logits", "features"} <= set(outputs) <= {"logits", "features", "heat"}
        or outputs["logits"] != [count]
        or len(outputs["features"]) != 1
        or len(heat) != 3
        or heat[0] != count
    ):
        raise ValueError("its outputs do not fit its classes")


def facts_of(content: bytes) -> dict[str, Any]:
    """What a manifest says of a file's content."""
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
