"""What a measured split says of deciding only the surest cases, and of a triage policy."""

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from strided.config.keys import Config
from strided.decision.decision import Decision, Scores
from strided.decision.selective import RiskCoverage, threshold
from strided.decision.triage import ROUTES, Triage
from strided.errors import UserError, did_you_mean, one_line
from strided.evaluation.evaluation import Evaluation
from strided.evaluation.intervals import wilson_interval
from strided.runs.predictions_csv import Row
from strided.runs.results import Results

log = logging.getLogger(__name__)

RISKS = (0.05, 0.1)  # whose thresholds are measured
_MOST_POINTS = 200  # of a curve in results.json


def policy_of(
    config: Config, classes: Sequence[str], before: Triage | None = None
) -> tuple[float | None, list[int]]:
    """Return triage.max_risk, and the places of the classes of triage.urgent.

    None in the config: as in the policy `before`. Raises UserError for a class that is none.
    """
    keys = config.get("triage") or {}
    risk, names = keys.get("max_risk"), keys.get("urgent")
    if risk is None and before is not None:
        risk = before.max_risk
    if names is None:
        return risk, list(before.urgent) if before is not None else []
    named = list(map(str, names))  # a typed 3 is a number
    for name in named:
        if name not in classes:
            raise UserError(
                f"triage.urgent has {one_line(name)}, which is no class; expected some of "
                f"{', '.join(map(one_line, classes[:10]))}{', ...' * (len(classes) > 10)}. "
                f"{did_you_mean(name, classes, f'Try triage.urgent=[{one_line(classes[0])}]')}"
            )
    return risk, [list(classes).index(name) for name in named]


def note_selective(
    results: Results, decision: Decision | None, evaluation: Evaluation, classes: Sequence[str]
) -> None:
    """Add to results.json the risk by coverage of an evaluation, and its workload by a policy."""
    answered = [row for row in evaluation.rows if row.probabilities is not None]
    confidence, correct = certainty([row for row in answered if not row.refused], classes)
    if not len(correct):
        return
    curve = RiskCoverage.of(confidence, correct)
    shown = np.unique(np.linspace(0, len(curve.counts) - 1, _MOST_POINTS).round().astype(int))
    scores = decision.scores if decision else None
    results["selective"] = {
        "split": evaluation.split,
        "images": len(correct),
        "coverage": curve.coverage[shown].tolist(),
        "risk": curve.risk[shown].tolist(),
        "at_risk": [at_risk(curve, scores, risk) for risk in RISKS] if scores else [],
    }
    if decision is not None and decision.triage is not None:
        results["triage"] = {
            **decision.triage.to_dict(),
            "urgent": [classes[k] for k in decision.triage.urgent],
            "split": evaluation.split,
            "workload": workload(answered, classes),
        }
        _report(results["triage"]["workload"])


def note_routes(results: Results, rows: Sequence[Row]) -> None:
    """Add to results.json how many images without labels go where, if there is a policy."""
    counts = Counter(row.route for row in rows if row.route)
    if counts.keys() - {"refused"}:  # a gate alone is no policy
        results["triage"] = {"routes": {route: counts[route] for route in ROUTES}}
        told = ", ".join(f"{route} {counts[route]}" for route in ROUTES if counts[route])
        log.info("triage: %s", told)


def certainty(rows: Sequence[Row], classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Confidence (N,) of rows with an answer, and whether it is their label."""
    answers = np.array([row.probabilities for row in rows], dtype=float).reshape(len(rows), -1)
    if not len(rows):
        return np.empty(0), np.empty(0, dtype=bool)
    labels = np.array([classes.index(row.label) for row in rows])
    correct: np.ndarray = answers.argmax(1) == labels
    return answers.max(1), correct


def at_risk(curve: RiskCoverage, scores: Scores, max_risk: float) -> dict[str, Any]:
    """What a threshold gives on a measured split that the calibration images chose for a risk."""
    chosen = threshold(scores.confidence, scores.correct, max_risk)
    decided, wrong = curve.decided_from(chosen)
    total = int(curve.counts[-1])
    return {
        "max_risk": max_risk,
        "threshold": chosen,
        "decided": decided,
        "wrong": wrong,
        "coverage": decided / total,
        "coverage_ci95": wilson_interval(decided / total, total),
        "risk": wrong / decided if decided else None,
        "risk_ci95": wilson_interval(wrong / decided, decided) if decided else None,
    }


def workload(rows: Sequence[Row], classes: Sequence[str]) -> list[dict[str, Any]]:
    """How many labelled images take each route, and how many of their answers are wrong.

    risk is the share of these; refused images have no answer. Intervals are Wilson's.
    """
    found = []
    for route in ROUTES:
        own = [row for row in rows if row.route == route]
        share = len(own) / len(rows)
        entry: dict[str, Any] = {
            "route": route,
            "images": len(own),
            "share": share,
            "share_ci95": wilson_interval(share, len(rows)),
        }
        if route != "refused" and own:
            wrong = int((~certainty(own, classes)[1]).sum())
            interval = wilson_interval(wrong / len(own), len(own))
            entry |= {"wrong": wrong, "risk": wrong / len(own), "risk_ci95": interval}
        found.append(entry)
    return found


def _report(found: Sequence[dict[str, Any]]) -> None:
    told = [f"{entry['route']} {100 * entry['share']:.0f}" for entry in found if entry["images"]]
    alone = next((entry for entry in found if entry["route"] == "auto" and entry["images"]), None)
    risk = ""
    if alone is not None:
        low, high = alone["risk_ci95"]
        risk = f"; of those decided alone {alone['risk']:.1%} are wrong ({low:.1%} to {high:.1%})"
    log.info("triage: of 100 cases %s%s", ", ".join(told), risk)
