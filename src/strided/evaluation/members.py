"""Several checkpoints that answer as one: which they are, and how their answers become one."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from strided.config.keys import Config, InferencePrecision, Views
from strided.decision.calibration import ENOUGH, OF_CLASSES, Calibration
from strided.decision.decision import INNER_FOLDS, Decision, Scores, entropy
from strided.decision.gate import Gated
from strided.decision.triage import SEPARATOR
from strided.errors import UserError
from strided.evaluation.classifier import Classifier
from strided.runs.folder import RunFolder, read_results
from strided.runs.predictions_csv import Predictions
from strided.system.plain_data import is_there
from strided.training.loading import find_checkpoint, refuse_bundle

log = logging.getLogger(__name__)

LEAST_PROBABILITY = 1e-7  # files have six decimals


def members(given: str | Sequence[str]) -> list[Path]:
    """The checkpoints that checkpoint= names: of one run, of several, of a sweep's finished jobs.

    Raises UserError for one that is missing, or there twice.
    """
    each = [given] if isinstance(given, str) else given
    found = [find_checkpoint(place) for one in each for place in _runs_in(one)]
    if len({file.resolve() for file in found}) < len(found):
        raise UserError(
            f"checkpoint=[{','.join(each)}] has the same one twice; expected different ones, as "
            "each counts the same. Try each once"
        )
    return found


def _runs_in(given: str) -> list[str]:
    """The folders of a sweep's finished jobs; else what was given."""
    folder = Path(os.path.expanduser(given))
    refuse_bundle(folder)
    jobs = [job for job in folder.glob("*/") if job.name.isdecimal()] if folder.is_dir() else []
    if not jobs or RunFolder(folder).config.is_file():
        return [given]
    jobs.sort(key=lambda job: int(job.name))
    finished = [job for job in jobs if is_finished(job)]
    if not finished:
        raise UserError(
            f"checkpoint={given} is a sweep of {len(jobs)} jobs, and none has finished; expected "
            f"one that has. Try one run: checkpoint={jobs[0]}"
        )
    if left := len(jobs) - len(finished):
        log.warning("%d of the %d jobs of %s have not finished: left out", left, len(jobs), given)
    return list(map(str, finished))


def is_finished(job: Path) -> bool:
    """Whether a job has finished with a checkpoint."""
    files = RunFolder(job)
    return (
        files.best.is_file()
        and is_there(files.results)
        and read_results(job).get("state") == "finished"
    )


@dataclass(frozen=True)
class Answers:
    """What one member says of N images: probabilities float64 (N, K) in the order of `classes`.

    Rows of images without finite outputs are NaN.
    """

    checkpoint: Path
    classes: list[str]
    probabilities: np.ndarray
    decision: Decision | None

    def in_order_of(self, classes: Sequence[str]) -> "Answers":
        """The same with classes in another order. Raises UserError for other classes."""
        if set(self.classes) != set(classes):
            odd = sorted(set(self.classes) ^ set(classes))
            raise UserError(
                f"{self.checkpoint} has other classes than the first checkpoint "
                f"({', '.join(odd[:5])} {'is' if len(odd) == 1 else 'are'} in one of them only); "
                "expected networks of the same classes. Try runs on the same data"
            )
        order = [self.classes.index(name) for name in classes]
        return replace(self, classes=list(classes), probabilities=self.probabilities[:, order])


def answers(classifier: Classifier, checkpoint: Path, logits: Tensor) -> Answers:
    """What a classifier says, calibrated as its run was."""
    finite = logits.isfinite().all(1)
    p = classifier.decided(logits.where(finite[:, None], 0.0)).probabilities
    p[~finite.numpy()] = np.nan
    return Answers(checkpoint, list(classifier.classes), p, classifier.decision)


@dataclass
class Ensemble:
    """The mean of the members' probabilities (Lakshminarayanan et al. 2017), calibrated once more.

    Its logits are the logarithms of that mean.
    """

    classes: list[str]
    decision: Decision | None
    precision: InferencePrecision
    views: Views | None
    criterion: nn.Module


def mean_logits(each: Sequence[Answers]) -> Tensor:
    """The logarithms (N, K) of the members' mean probabilities."""
    mean = np.mean([one.probabilities for one in each], axis=0)
    return torch.from_numpy(np.log(mean.clip(LEAST_PROBABILITY)).astype(np.float32))


def gated_together(each: Sequence[Gated | None]) -> Gated | None:
    """What the gates of members say of the same N images; None if no member has one.

    `ood` is the median of their scores: an image is refused if most of them refuse it, or by two
    if their scores are above 1 on average. The reasons are of those that do.
    """
    known = [gated for gated in each if gated is not None]
    if not known:
        return None
    if len(known) < len(each):
        log.info("%d of %d checkpoints have a gate: these are asked", len(known), len(each))
    ood = np.median([gated.ood for gated in known], axis=0)
    reasons = [
        SEPARATOR.join(dict.fromkeys(why for one in several if one for why in one.split(SEPARATOR)))
        for several in zip(*(gated.reasons for gated in known), strict=True)
    ]
    is_out = (ood > 1).tolist()
    return Gated(ood, [why if out else "" for why, out in zip(reasons, is_out, strict=True)])


def disagreement(each: Sequence[Answers]) -> dict[str, float]:
    """Mean entropy of the mean, and mutual information, in nats.

    The latter is that entropy less the mean of the members' own: what they disagree about (Depeweg
    et al. 2018). 0: all say the same.
    """
    stack = np.stack([one.probabilities for one in each])
    stack = stack[:, np.isfinite(stack).all((0, 2))]
    whole = float(entropy(stack.mean(0)).mean())
    own = float(np.mean([entropy(one).mean() for one in stack]))
    return {"entropy": whole, "mutual_information": whole - own}


def decision_of(each: Sequence[Answers], config: Config) -> tuple[Decision, str]:
    """Fit one temperature and sets on the members' held-out images, if all have the same.

    A member that has fitted a curve for each class on them looks surer there than elsewhere: sets
    for 90 % that were chosen by such ones held 85 %.
    If that is not possible or not asked for, returns one that changes nothing, and why.
    """
    plain = Decision(Calibration())
    if config.get("calibration") == "none":
        return plain, "calibration=none"
    kept = [held_out_of(one) for one in each]
    classes = each[0].classes
    found: list[Predictions] = []
    for one, predictions in zip(each, kept, strict=True):
        if predictions is None:
            return plain, f"{one.checkpoint} has not kept what its held-out images gave"
        if (method := one.decision.calibration.method) in OF_CLASSES:  # type: ignore[union-attr]
            return plain, f"{one.checkpoint} was calibrated by {method}, which follows these images"
        if set(predictions.classes) != set(classes):
            return plain, f"the held-out images of {one.checkpoint} have other classes"
        found.append(predictions)
    first = found[0]
    for one, other in zip(each, found, strict=True):
        if other.paths != first.paths or not np.array_equal(other.labels, first.labels):
            return plain, f"{one.checkpoint} has other held-out images than the first checkpoint"
    mean = np.mean([_ordered(own, classes) for own in found], axis=0)
    labels = np.array([classes.index(label) for label in first.labels], dtype=int)
    logits = np.log(mean.clip(LEAST_PROBABILITY))
    method = "temperature" if len(labels) >= ENOUGH else "none"
    calibration = Calibration.fit(method, logits, labels)
    scores = Scores.of(calibration.probabilities(logits), labels)
    decided = each[0].decision
    assert decided is not None, "held_out_of asks for one"
    whole = Decision(calibration, fitted_on=decided.fitted_on, scores=scores)
    if (sets := decided.sets) is not None:  # chosen anew for eval, if it was typed
        whole = whole.with_sets(sets.method, sets.coverage)
    if (point := decided.operating_point) is not None:
        whole = whole.with_operating_point(point.sensitivity, len(classes))
    if (policy := decided.triage) is not None:
        whole = whole.with_triage(policy.max_risk, policy.urgent)
    return whole, ""


def held_out_of(one: Answers) -> Predictions | None:
    """What the held-out images of a member's run gave, calibrated; None if that is not known."""
    if one.decision is None or one.checkpoint.parent.name != "checkpoints":
        return None
    files = RunFolder(one.checkpoint.parent.parent)
    is_inner = one.decision.fitted_on == INNER_FOLDS
    file = files.inner_predictions if is_inner else files.val_predictions
    if not is_there(file):
        return None
    found = Predictions.read(file)
    if not is_inner:
        return found
    logits = np.log(found.probabilities.clip(LEAST_PROBABILITY))
    return replace(found, probabilities=one.decision.calibration.probabilities(logits))


def _ordered(own: Predictions, classes: Sequence[str]) -> np.ndarray:
    return own.probabilities[:, [own.classes.index(name) for name in classes]]
