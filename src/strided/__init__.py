"""strided: image classification with convolutional networks, one command per question.

Importing it imports nothing heavy; each name loads what it needs when it is called.
"""

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

from strided.errors import UserError
from strided.version import __version__

if TYPE_CHECKING:
    from strided.config.keys import Config, InferencePrecision
    from strided.evaluation.classifier import Classifier
    from strided.jobs.trained_run import TrainedRun

__all__ = ["UserError", "__version__", "compose", "load", "train"]


def load(
    run_or_checkpoint: "str | PathLike[str]",
    *,
    device: str = "auto",
    precision: "InferencePrecision | None" = None,
    trust: Sequence[str] = (),
    config_dir: "str | PathLike[str] | None" = None,
) -> "Classifier":
    """Load a trained network: `load("logs/train/lenet5-digits/<date_time>")("digit.png")`.

    Takes a run folder (its best.ckpt) or a .ckpt file; `device` is auto, cpu or a torch device;
    `precision` None is that of the training on a GPU, 32-true on a CPU;
    `trust` names packages whose own classes the checkpoint may use, and `config_dir` is where
    Python looks for these last. Raises UserError.
    """
    from strided.evaluation.classifier import Classifier

    return Classifier.load(
        run_or_checkpoint, device=device, precision=precision, trust=trust, config_dir=config_dir
    )


def compose(
    verb: str | Sequence[str] = "train",
    overrides: Sequence[str] = (),
    *,
    config_dir: "str | PathLike[str] | None" = None,
) -> "Config":
    """Compose a config as the command line would: `compose(["model=mlp"])`.

    The verb may be left out for train: `compose("eval", ["checkpoint=best.ckpt"])`. `config_dir`
    is a folder with YAML of your own. Returns plain, resolved, checked values. Raises UserError for
    what the command line refuses.
    """
    from strided.jobs.python_calls import compose

    return compose(verb, overrides, config_dir)


def train(
    overrides: Sequence[str] = (), *, config_dir: "str | PathLike[str] | None" = None
) -> "TrainedRun":
    """Train as `python src/train.py` would with these words: `train(["model=mlp", "seed=1"])`.

    Returns the run: a mapping of its results.json with `.folder`, `.report` (the path of the page)
    and `.classifier()`. A notebook shows its headline and curves. Raises UserError.
    """
    from strided.jobs.python_calls import train

    return train(overrides, config_dir)
