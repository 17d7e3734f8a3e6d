"""What the folds of a sweep say together: python docs/results/triage/pooled.py <folders of runs>.

Each fold has its own thresholds. An interval over groups draws these again, with all their images.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from strided.decision.selective import RiskCoverage, threshold
from strided.evaluation.intervals import wilson_interval
from strided.evaluation.resampling import mean_by_group
from strided.runs.csv_files import read_rows
from strided.training.loading import find_checkpoint, load_task

RISKS = (0.05, 0.1)


def shown(values: Sequence[bool], groups: Sequence[str]) -> str:
    """The mean of values with Wilson's interval, and one over groups if there are any."""
    share = float(np.mean(values))
    low, high = wilson_interval(share, len(values))
    text = f"{sum(values)} of {len(values)}: {share:.1%} ({low:.1%} to {high:.1%}"
    if any(groups) and (ends := mean_by_group(np.array(values, float), np.array(groups))):
        text += f"; over groups {ends[0]:.1%} to {ends[1]:.1%}"
    return f"{text})"


def main(folders: Sequence[str]) -> None:
    """Print accuracy, accuracy at 80 %, what each risk gives, and the workload."""
    correct, group, route, confidence = [], [], [], []
    alone: dict[float, list[bool]] = {risk: [] for risk in RISKS}
    for folder in map(Path, folders):
        rows = read_rows(folder / "predictions.csv")
        task = load_task(find_checkpoint(folder))
        decision = task.decision
        assert decision is not None and decision.scores is not None
        own = np.array([float(row[f"prob/{row['predicted']}"]) for row in rows])
        for risk in RISKS:
            lowest = threshold(decision.scores.confidence, decision.scores.correct, risk)
            alone[risk] += (own >= (2.0 if lowest is None else lowest)).tolist()
        confidence += own.tolist()
        correct += [row["predicted"] == row["label"] for row in rows]
        group += [row.get("group", "") for row in rows]
        route += [row.get("route", "") for row in rows]
    curve = RiskCoverage.of(np.array(confidence), np.array(correct))
    surest = np.argsort(-np.array(confidence), kind="stable")[: round(0.8 * len(correct))].tolist()
    print(f"accuracy: {shown(correct, group)}")
    at_80 = shown([correct[k] for k in surest], [group[k] for k in surest])
    print(f"accuracy of the surest 80 %: {at_80}; AURC {curve.aurc():.4f}")
    for risk, decided in alone.items():
        chosen = [k for k, is_decided in enumerate(decided) if is_decided]
        print(f"allowed risk {risk:.0%}: decided {shown(decided, group)}")
        wrong = [not correct[k] for k in chosen]
        print(f"  wrong among them {shown(wrong, [group[k] for k in chosen]) if chosen else '-'}")
    for name in sorted(set(route) - {""}):
        chosen = [k for k, own_route in enumerate(route) if own_route == name]
        print(f"route {name}: {shown([r == name for r in route], group)}")
        print(f"  wrong {shown([not correct[k] for k in chosen], [group[k] for k in chosen])}")
    policies = [json.loads((Path(f) / "results.json").read_text()).get("triage") for f in folders]
    print("thresholds of the policies:", [p and p["threshold"] for p in policies])


if __name__ == "__main__":
    main(sys.argv[1:])
