"""The model card of a pool: what the runs of all folds are, as the card of a single run says it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from strided.compare.pooled_figures import Pooled, numbers_of
from strided.decision.triage import ROUTES
from strided.evaluation.calibration import coverage_of, errors_of, floors_of
from strided.evaluation.intervals import wilson_interval
from strided.report.card import card
from strided.report.card_parts import as_markdown
from strided.runs.results import Results, by_name
from strided.system.durable import write_text

NOTE = (
    "Written from results.json and predictions.csv of the runs that are put together. A 95 % "
    "interval says where a figure would be likely to lie if such images were endlessly many."
)
_OF_ALL_RUNS = ("classes", "data_fingerprint", "versions", "git", "hardware", "parameters")


def write_pool_cards(file: Path, pools: Sequence[Pooled]) -> None:
    """Write card.md: the card of each pool, one after the other."""
    texts = []
    for pooled in pools:
        first = pooled.pool.runs[0]
        label = f", {pooled.pool.label}" * (len(pools) > 1)
        title = f"Model card: {first.config['name']}, all folds{label}"
        texts.append(as_markdown(title, NOTE, card(first.config, results_of(pooled))))
    write_text(file, "\n".join(texts))


def results_of(pooled: Pooled) -> Results:
    """What results.json of a run would say, if one had tested all images of the pool."""
    runs = [run.results for run in pooled.pool.runs]
    found = Results(
        splits={"test": pooled.images},
        split_hash=str(runs[0].get("partition_hash", "unknown")),
        confusion=pooled.confusion,
        overlap={"shared": pooled.seen},
        skipped=max(int(run.get("skipped") or 0) for run in runs),  # each has looked at all
        subgroups=pooled.subgroups,
        runs=[{"folder": str(run.folder)} for run in pooled.pool.runs],
    )
    named = by_name(found)
    named |= {key: value for key in _OF_ALL_RUNS if (value := by_name(runs[0]).get(key))}
    for key, figure in pooled.figures.items():
        metric, slash, label = key.partition("/")
        named[f"test/{key}"] = figure["value"]
        if figure["low"] is not None:
            named[f"test/{metric}_ci95{slash}{label}"] = [figure["low"], figure["high"]]
    copies = [run.get("duplicates") for run in runs]
    if None not in copies:
        found["duplicates"] = sum(copies)  # type: ignore[arg-type]
    if (groups := pooled.pool.num_groups) is not None:
        found["groups"] = groups
    if pooled.pool.shortcuts is not None:
        found["shortcuts"] = pooled.pool.shortcuts
    parts = {
        "calibration": _calibration(pooled, runs),
        "sets": _sets(pooled, runs),
        "gate": _gate(runs),
        "triage": _triage(runs),
        "operating_point": runs[0].get("operating_point"),
    }
    named |= {key: part for key, part in parts.items() if part is not None}
    return found


def _calibration(pooled: Pooled, runs: Sequence[Results]) -> dict[str, Any] | None:
    about = runs[0].get("calibration")
    if not about:
        return None
    p, labels = pooled.pool.predictions.probabilities, numbers_of(pooled.pool.predictions)
    measured = {"split": "test", "after": errors_of(p, labels), "floor": floors_of(p)}
    methods = dict.fromkeys(one["method"] for run in runs if (one := run.get("calibration")))
    return {"method": " or ".join(methods), "fitted_on": about["fitted_on"], "measured": measured}


def _sets(pooled: Pooled, runs: Sequence[Results]) -> dict[str, Any] | None:
    """The promise, if it is the same of all runs, and what sets hold, with the pool's intervals."""
    known, about = pooled.pool.predictions, [run.get("sets") for run in runs]
    promises = {(one["method"], one["coverage"]) for one in about if one}
    if known.sets is None or not all(about) or len(promises) > 1:
        return None
    measured = coverage_of(known.sets, numbers_of(known), known.classes)
    for entry, key in [
        (measured, "set_coverage"),
        *((one, f"set_coverage/{one['class']}") for one in measured["classes"]),
    ]:
        entry |= {end: pooled.figures[key][end] for end in ("low", "high")}
    ((method, coverage),) = promises
    return {"method": method, "coverage": coverage, "measured": {"split": "test", **measured}}


def _gate(runs: Sequence[Results]) -> dict[str, Any] | None:
    each = [run.get("gate") for run in runs]
    if not all(each):
        return None
    known = [gate for gate in each if gate]
    images, refused = (sum(g["measured"][key] for g in known) for key in ("images", "refused"))
    share = {"share": refused / images, "share_ci95": wilson_interval(refused / images, images)}
    measured = {"images": images, "refused": refused, **share}
    return {key: known[0][key] for key in ("method", "false_alarms")} | {"measured": measured}


def _triage(runs: Sequence[Results]) -> dict[str, Any] | None:
    """The policy, and the routes of all cases; each run has its own threshold."""
    each = [run.get("triage") for run in runs]
    if not all(each):
        return None
    known = [policy for policy in each if policy]
    entries = [{e["route"]: e for e in policy.get("workload", [])} for policy in known]
    total = sum(entry["images"] for routes in entries for entry in routes.values())
    workload = [_route(name, entries, total) for name in ROUTES] if total else []
    about = {key: known[0].get(key) for key in ("max_risk", "urgent")}
    return about | {"workload": workload}


def _route(
    name: str, entries: Sequence[Mapping[str, Mapping[str, Any]]], total: int
) -> dict[str, Any]:
    own = [routes[name] for routes in entries if name in routes]
    images, wrong = (sum(entry.get(key) or 0 for entry in own) for key in ("images", "wrong"))
    share = images / total
    found = {"route": name, "images": images, "share": share}
    found["share_ci95"] = wilson_interval(share, total)
    if images and name != "refused":
        risk = wrong / images
        found |= {"wrong": wrong, "risk": risk, "risk_ci95": wilson_interval(risk, images)}
    return found
