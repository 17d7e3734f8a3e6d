"""`strided.train` and `strided.compose`: what the command line does, called from Python."""

from typing import Any

from strided.config.from_python import folder_from, words_from
from strided.config.keys import Config
from strided.config.overrides import typed_trust
from strided.config.targets import trusting
from strided.config.unused import refuse_unused
from strided.errors import UserError, one_line
from strided.jobs.job import compose_run
from strided.jobs.runner import run
from strided.jobs.trained_run import TrainedRun
from strided.verbs.table import VERBS


def train(overrides: Any, config_dir: Any) -> TrainedRun:
    """Train with these words, or go on with `resume=`; see `strided.train`."""
    words, own = words_from(overrides, "train"), folder_from(config_dir)
    folder, results = run("train", words, own)
    return TrainedRun(results, folder, typed_trust(words), own)


def compose(verb: Any, overrides: Any, config_dir: Any) -> Config:
    """Return the config that a run with these words would have; see `strided.compose`."""
    if not isinstance(verb, str):
        verb, overrides = "train", verb
    if verb not in VERBS:
        raise UserError(
            f"there is no verb {one_line(verb)}; expected one of {', '.join(VERBS)}, or a list of "
            'key=value words alone. Try compose(["model=mlp"])'
        )
    words, own = words_from(overrides, "compose"), folder_from(config_dir)
    with trusting(typed_trust(words), own):
        config, _ = compose_run(verb, words, own)
        if "trainer" in config and not config.get("search"):  # whose trials differ
            refuse_unused(config, words)
    return config
