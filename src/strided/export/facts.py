"""What a manifest says beside its network: where it comes from, how well its run has measured."""

import hashlib
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from strided.data.preprocessing import Preprocessing
from strided.evaluation.classifier import Classifier
from strided.export.graph import OPSET, ServedNetwork
from strided.runs.environment import versions
from strided.runs.folder import RunFolder, read_results
from strided.runs.results import Results, by_name
from strided.serving.manifest import NOTICE
from strided.serving.schema import FORMAT, OF_DECISION

PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def described(
    classifier: Classifier,
    checkpoint: Path,
    found: Results,
    network: ServedNetwork,
    intended_use: str | None,
) -> dict[str, Any]:
    """The entries of a manifest that are known before anything is measured.

    `found` are the results of the checkpoint's run.
    """
    run, trained_on = run_of(checkpoint), classifier.task.trained_on
    return {
        "format": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "classes": list(classifier.classes),
        "preprocessing": classifier.preprocessing.asdict(),
        "outputs": _shapes(network, classifier.preprocessing),
        **_decision(classifier),
        "metrics": _metrics(found),
        "comparison": None,
        "data_fingerprint": trained_on.get("fingerprint"),
        "split_hashes": dict(trained_on.get("split_hashes", {})),
        "versions": {
            **versions(),
            **{name: version(name) for name in PACKAGES},
            "opset": str(OPSET),
        },
        "source": _source(checkpoint, run, found),
        "intended_use": intended_use,
        "notice": NOTICE,
    }


def results_of(checkpoint: Path) -> Results:
    """The results of the checkpoint's run; empty without one. Raises UserError."""
    run = run_of(checkpoint)
    return read_results(run) if run else {}


def _decision(classifier: Classifier) -> dict[str, Any]:
    """The parts of a classifier's decision, without what each of its images gave."""
    parts = classifier.decision.to_dict() if classifier.decision else {}
    return {key: parts.get(key) for key in OF_DECISION}


def run_of(checkpoint: Path) -> Path | None:
    """The folder of the run whose best checkpoint this is: results.json measures that one."""
    folder = checkpoint.resolve().parent.parent
    own = RunFolder(folder)
    is_best = own.best.is_file() and own.best.samefile(checkpoint)
    return folder if is_best and own.results.is_file() else None


def _metrics(found: Results) -> dict[str, Any]:
    """The metrics of the run's test, or of its validation, with their intervals."""
    named = by_name(found)
    for split in ("test/", "val/"):
        if f"{split}acc" in named:
            return {key: value for key, value in named.items() if key.startswith(split)}
    return {}


def _source(checkpoint: Path, run: Path | None, found: Results) -> dict[str, Any]:
    """Where the network comes from, without the folders of the machine that trained it."""
    with checkpoint.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {
        "run": "/".join(run.parts[-2:]) if run else None,
        "checkpoint_sha256": digest,
        "commit": (found.get("git") or {}).get("commit"),
    }


def _shapes(network: ServedNetwork, preprocessing: Preprocessing) -> dict[str, list[int]]:
    """The shape of each output for one image."""
    outputs = zip(("logits", "features", "heat"), network(network.example), strict=False)
    return {name: list(output.shape[1:]) for name, output in outputs}
