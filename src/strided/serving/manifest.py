"""manifest.json of a bundle: its network, what was measured with it, what its files hold."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from strided.data.preprocessing import Preprocessing
from strided.decision.calibration import Calibration
from strided.decision.decision import Decision
from strided.errors import UserError, printable
from strided.serving.files import MANIFEST
from strided.serving.schema import OF_DECISION, require_schema
from strided.system.plain_data import is_there, read_json, require_plain

NOTICE = (
    "For research and teaching. Not a medical device: no diagnosis or treatment may rest on its "
    "answers."
)

MOST_BYTES = 8 * 2**20  # of a manifest; one of ImageNet's 1,000 classes has 0.2 MB


@dataclass(frozen=True)
class Manifest:
    """The content of manifest.json.

    files: {name: {"sha256", "bytes"}}. outputs: the shape of each output of the network for one
    image. calibration, sets, gate, triage and operating_point are those of the checkpoint's
    decision, and fitted_on says on which images it was fitted: None without one. comparison is with
    the version that answered before, None if none was asked for. The metrics are of the run that
    trained the network; those of int8 layers, of this very network. int8 says what these cost, and
    openvino whether that runtime answers alike: None if they were not asked for.
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
    int8: dict[str, Any] | None = None
    openvino: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `read` to take back, without what was not asked for."""
        found = asdict(self)
        unasked = [key for key in ("int8", "openvino") if found[key] is None]
        return {key: value for key, value in found.items() if key not in unasked}

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
        require_plain(content)
        require_schema(content)
        found = cls(**content)
        Preprocessing.from_dict(found.preprocessing)
        found.decision()  # its parts are a stranger's, too
        return found
