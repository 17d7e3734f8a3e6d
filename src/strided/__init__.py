"""strided: image classification with convolutional networks, one command per question.

Importing it imports nothing heavy; each name loads what it needs when it is called.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from strided.errors import UserError
from strided.version import __version__

if TYPE_CHECKING:
    from strided.config.keys import Config, InferencePrecision
    from strided.evaluation.classifier import Classifier
    from strided.runs.results import Results

__all__ = ["UserError", "__version__", "compose", "load", "train"]


def load(
    run_or_checkpoint: str,
    *,
    device: str = "auto",
    precision: "InferencePrecision | None" = None,
    trust: Sequence[str] = (),
) -> "Classifier":
    """Load a trained network: `load("logs/train/lenet5-digits/<date_time>")("digit.png")`.

    Takes a run folder (its best.ckpt) or a .ckpt file; `device` is auto, cpu or a torch device;
    `precision` None is that of the training on a GPU, 32-true on a CPU;
    `trust` names packages whose own classes the checkpoint may use. Raises UserError.
    """
    from strided.evaluation.classifier import Classifier

    return Classifier.load(run_or_checkpoint, device=device, precision=precision, trust=trust)


def compose(config_name: str = "train", overrides: Sequence[str] = ()) -> "Config":
    """Compose a config as the command line would: `compose("train", ["model=mlp"])`.

    Returns plain, resolved, checked values. Raises UserError for what the command line refuses.
    """
    from strided.config.compose import compose

    return compose(config_name, overrides)


def train(overrides: Sequence[str] = ()) -> "Results":
    """Train as `python src/train.py` would with these overrides; return its results.json."""
    from strided.jobs.runner import run

    return run("train", overrides)
