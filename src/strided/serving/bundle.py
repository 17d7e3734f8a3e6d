"""A bundle as a service reads it: its files checked, its network in ONNX Runtime."""

import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, get_args

import numpy as np

from strided.data.preprocessing import Preprocessing
from strided.data.reading.decoding import ImageLike, no_picture, read_picture
from strided.errors import UserError, first_line, printable
from strided.serving.files import GATE, MANIFEST, MODEL, REFERENCE, checked, refused
from strided.serving.manifest import Manifest
from strided.serving.onnx_file import require_plain_graph
from strided.serving.openvino_session import OpenVINOSession, require_openvino
from strided.serving.registry import active_version, versions
from strided.system.machine import cores

Runtime = Literal["onnxruntime", "openvino"]
Arrays = dict[str, np.ndarray]

_AT_ONCE = 16  # pictures of a pass


class Outputs(NamedTuple):
    """Of B images: logits (B, K) and features (B, F), float32.

    heat (B, K, h, w) is the share of each logit that comes from each place; None if it was not
    asked for, or if the network has no exact shares.
    """

    logits: np.ndarray
    features: np.ndarray
    heat: np.ndarray | None = None

    def finite(self) -> np.ndarray:
        """Which images (B,) have only finite numbers: others have no answer."""
        parts = [part for part in self if part is not None]
        rows = [np.isfinite(part.reshape(len(part), -1)).all(1) for part in parts]
        found: np.ndarray = np.logical_and.reduce(rows)
        return found

    def at(self, places: np.ndarray) -> "Outputs":
        """Those at indices, or where a mask (B,) is true."""
        heat = None if self.heat is None else self.heat[places]
        return Outputs(self.logits[places], self.features[places], heat)


@dataclass(frozen=True)
class Answer:
    """What a bundle says of one picture, as predict's row does.

    probabilities are calibrated, by class. prediction_set, ood, route and reasons are None or empty
    unless the checkpoint has decided on them; heat (K, h, w) is None unless it was asked for. An
    image that the gate refuses has the route "refused", no label and no probabilities.
    """

    label: str
    probabilities: dict[str, float]
    entropy: float
    prediction_set: list[str] | None = None
    ood: float | None = None
    route: str = ""
    reasons: str = ""
    heat: np.ndarray | None = None


class Bundle:
    """A version of a registry, checked. Several threads may call it at once."""

    def __init__(
        self, manifest: Manifest, session: Any, reference: Arrays, gate: Arrays | None = None
    ) -> None:
        self.manifest = manifest
        self.classes = manifest.classes
        self.decision = manifest.decision(gate)
        self.preprocessing = Preprocessing.from_dict(manifest.preprocessing)
        self.reference = reference  # statistics by name: docs/serving.md
        self._session = session

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        threads: int | None = None,
        runtime: Runtime = "onnxruntime",
    ) -> Self:
        """Load <registry>/<name>/<version>, or the active version of <registry>/<name>.

        `threads` None: one for each core. `runtime` is what computes; OpenVINO only where export
        saw it answer alike. Raises UserError, which names a file that is not as it was written.
        """
        place = Path(os.path.expanduser(folder))
        try:
            if not (place / MANIFEST).exists() and versions(place):
                place = place / str(active_version(place))
            manifest = Manifest.read(place)
            _require_runtime(manifest, runtime)
            files = manifest.files.items()
            contents = {name: checked(place / name, facts) for name, facts in files}
        except OSError as error:
            raise UserError(
                f"{printable(str(place))} cannot be read: {printable(str(error))}; expected files "
                f"that this process may read. Try: ls -l {printable(str(place))}"
            ) from error
        try:
            require_plain_graph(contents[MODEL])
            session = _opened(contents[MODEL], threads, runtime, manifest)
            _require_as_said(session, manifest)
        except Exception as error:  # ONNX Runtime's are of no common kind
            raise refused(place / MODEL, first_line(error)) from error
        reference = _arrays(place / REFERENCE, contents[REFERENCE])
        gate = _arrays(place / GATE, contents[GATE]) if GATE in contents else None
        try:
            return cls(manifest, session, reference, gate)
        except ValueError as error:
            raise refused(place / GATE, first_line(error)) from error

    def __repr__(self) -> str:
        return (
            f"<Bundle {printable(self.manifest.name)} {self.manifest.version}: "
            f"{len(self.classes)} classes>"
        )

    def __call__(
        self, images: ImageLike | Iterable[ImageLike], *, heat: bool = False
    ) -> Answer | list[Answer]:
        """Answer for one picture, or a list for several: paths, PIL images, uint8 (H, W[, 3]).

        Raises UserError, which names the file, for one that cannot be read, and for one of which
        the network makes no number.
        """
        if isinstance(images, ImageLike):
            return self._answers([images], heat)[0]
        if isinstance(images, Mapping | bytes) or not isinstance(images, Iterable):
            raise no_picture(images)
        several = list(images)
        starts = range(0, len(several), _AT_ONCE)
        return [a for at in starts for a in self._answers(several[at : at + _AT_ONCE], heat)]

    def _answers(self, images: list[ImageLike], heat: bool) -> list[Answer]:
        pixels = np.stack([self.preprocessing.pixels(read_picture(image)) for image in images])
        outputs = self.outputs(pixels, heat=heat)
        self.require_finite(outputs)
        return self.answers(outputs, pixels)

    def require_finite(self, outputs: Outputs) -> None:
        """Raise UserError if the network gave what is no number."""
        if not outputs.finite().all():
            raise UserError(
                f"the network of {self!r} gives numbers that are not finite; expected an answer "
                "to every picture. Try another version, or export again"
            )

    def answers(self, outputs: Outputs, pixels: np.ndarray) -> list[Answer]:
        """Answers of finite outputs of uint8 pixels (B, C, S, S)."""
        gate = self.decision.gate
        gated = None if gate is None else gate(outputs.features, pixels)
        decided = self.decision(outputs.logits, gated)
        found = []
        for place, row in enumerate(decided.probabilities):
            refused = decided.refusal(place)
            named = {} if refused else dict(zip(self.classes, row.tolist(), strict=True))
            label = "" if refused else self.classes[row.argmax()]
            own = None if outputs.heat is None else outputs.heat[place]
            found.append(Answer(label, named, heat=own, **decided.said(place, self.classes)))
        return found

    def outputs(self, pixels: np.ndarray, *, heat: bool = False) -> Outputs:
        """Run uint8 pixels (B, C, S, S), as the preprocessing gives them."""
        names = ["logits", "features"]
        if heat and "heat" in self.manifest.outputs:
            names.append("heat")
        return Outputs(*run_session(self._session, pixels, names))

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities float64 (N, K) of logits (N, K): calibrated, if the bundle says how."""
        return self.decision.calibration.probabilities(logits)


def _opened(content: bytes, threads: int | None, runtime: Runtime, manifest: Manifest) -> Any:
    if runtime == "onnxruntime":
        return open_session(content, threads)
    assert manifest.openvino is not None, "_require_runtime refuses none"
    return OpenVINOSession(content, threads, manifest.openvino["precision"])


def open_session(content: bytes, threads: int | None = None) -> Any:
    """Open a network of ONNX Runtime on the CPU; idle threads wait without taking time."""
    # read once, when its library is loaded: by default it tells Microsoft of each network it opens
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # it would count the cores of the machine, and not those that this process may use
    options.intra_op_num_threads = threads or cores()
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def run_session(session: Any, pixels: np.ndarray, names: list[str]) -> list[np.ndarray]:
    """The outputs of these names; what only others need is not computed."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.only_execute_path_to_fetches = True
    found: list[np.ndarray] = session.run(names, {"pixels": pixels}, options)
    return found


def _require_runtime(manifest: Manifest, runtime: str) -> None:
    """Raise UserError for a runtime that is none, is not there or has not answered alike."""
    if runtime not in get_args(Runtime):
        known = " or ".join(get_args(Runtime))
        raise UserError(
            f"runtime={runtime!r}; expected {known}. Try runtime='{get_args(Runtime)[0]}'"
        )
    if runtime == "onnxruntime":
        return
    if manifest.openvino is None or not manifest.openvino["passed"]:
        found = "says that it does not" if manifest.openvino else "does not say whether it does"
        raise UserError(
            f"runtime=openvino for version {manifest.version} of {printable(manifest.name)}: its "
            f"manifest {found} answer as ONNX Runtime does; expected a version that passed. Try "
            "runtime=onnxruntime, or export with openvino=true"
        )
    require_openvino()


def _require_as_said(session: Any, manifest: Manifest) -> None:
    """Raise ValueError unless the network takes and gives what the manifest says."""
    side = manifest.preprocessing["image_size"]
    wanted = [("pixels", "tensor(uint8)", [manifest.preprocessing["channels"], side, side])]
    wanted += [(name, "tensor(float)", shape) for name, shape in manifest.outputs.items()]
    given = [*session.get_inputs(), *session.get_outputs()]
    if wanted != [(node.name, node.type, list(node.shape[1:])) for node in given]:
        raise ValueError("it takes or gives other arrays than the manifest says")


def _arrays(file: Path, content: bytes) -> Arrays:
    """The arrays of a checked .npz, which may hold no Python objects. Raises UserError."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            if any(member.compress_type for member in arrays.zip.infolist()):
                raise ValueError("it is compressed, and may unpack to any size")
            return {name: arrays[name] for name in arrays.files}
    except Exception as error:  # of zipfile, zlib, NumPy
        raise refused(file, first_line(error)) from error
