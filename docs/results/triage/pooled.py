"""What the folds of a sweep say together: python docs/results/triage/pooled.py <folders of runs>.

Each fold has its own thresholds, chosen on what its checkpoint has kept of held-out images. An
interval over groups draws these again, with all their images.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from strided.decision.selective import RiskCoverage, threshold
from strided.decision.triage import ROUTES
from strided.evaluation.intervals import wilson_interval
from strided.evaluation.resampling import mean_by_group
from strided.runs.predictions_csv import Predictions
from strided.training.loading import find_checkpoint, load_task

RISKS = (0.05, 0.1)


def shown(values: np.ndarray, groups: np.ndarray) -> str:
    """The share of bool values (N,) with Wilson's interval, and one over groups (N,)."""
    if not len(values):
        return "none"
    low, high = wilson_interval(float(values.mean()), len(values))
    text = f"{values.sum()} of {len(values)}: {values.mean():.1%} ({low:.1%} to {high:.1%}"
    if all(groups) and (ends := mean_by_group(values.astype(float), groups)):
        text += f"; over groups {ends[0]:.1%} to {ends[1]:.1%}"
    return f"{text})"


def main(folders: Sequence[str]) -> None:
    """Print accuracy, that of the surest 80 %, what each risk gives alone, and as a policy."""
    parts = []
    for folder in map(Path, folders):
        known = Predictions.read(folder / "predictions.csv")
        decision = load_task(find_checkpoint(folder)).decision
        assert decision is not None and decision.scores is not None and decision.sets is not None
        p, scores = known.probabilities, decision.scores
        groups = np.full(len(p), "") if known.groups is None else known.groups
        columns = [p.max(1), known.correct, groups]
        urgent = decision.triage.urgent if decision.triage else ()
        for risk in RISKS:
            lowest = threshold(scores.confidence, scores.correct, risk)
            columns.append(p.max(1) >= (np.inf if lowest is None else lowest))
            policy = decision.with_triage(risk, urgent).triage
            assert policy is not None
            columns.append(np.array(policy(p, decision.sets.sets(p), [""] * len(p))[0]))
            print(f"{folder.name}: risk {risk:.0%}: from {lowest}, as a policy {policy.threshold}")
        parts.append(columns)
    confidence, correct, groups, *others = (
        np.concatenate(each) for each in zip(*parts, strict=True)
    )
    surest = np.argsort(-confidence, kind="stable")[: round(0.8 * len(correct))]
    print(f"accuracy: {shown(correct, groups)}")
    print(f"of the surest 80 %: {shown(correct[surest], groups[surest])}")
    print(f"AURC {RiskCoverage.of(confidence, correct).aurc():.4f}")
    for risk, alone, routes in zip(RISKS, others[::2], others[1::2], strict=True):
        print(f"allowed risk {risk:.0%}: decided {shown(alone, groups)}")
        print(f"  wrong among them {shown(~correct[alone], groups[alone])}")
        for route in ROUTES:
            own = routes == route
            wrong = shown(~correct[own], groups[own])
            print(f"  policy, {route}: {shown(own, groups)}; wrong {wrong}")


if __name__ == "__main__":
    main(sys.argv[1:])
