"""What a model card says of answers that are not a class alone: sets, routes, refusals."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from strided.report.card_figures import percent
from strided.report.card_parts import Part, Table
from strided.report.triage import WHO
from strided.runs.results import Results, by_name


def when_unsure(results: Results) -> Iterator[Part]:
    """Yield what is said of prediction sets, triage and the gate."""
    named: Mapping[str, Any] = by_name(results)
    yield from _sets(named.get("sets"))
    yield from _triage(named.get("triage"))
    yield _gate(named.get("gate"))


def _sets(about: Mapping[str, Any] | None) -> Iterator[Part]:
    if not about or "measured" not in about:
        yield "Prediction sets: not fitted (evaluation.sets)."
        return
    held = about["measured"]
    yield (
        f"Prediction sets ({about['method']}) name all classes that fit. They are to hold the true "
        f"one for {percent(about['coverage'])} of the images, and do for "
        f"{percent(held['coverage'])} (95 % interval {_between(held['low'], held['high'])}), with "
        f"{held['size']:.2f} classes on average. {percent(held['single'])} of the sets name one "
        "class alone."
    )
    known = [one for one in held["classes"] if one["coverage"] is not None]
    if worst := min(known, key=lambda one: one["coverage"], default=None):
        yield (
            f"Least often, {percent(worst['coverage'])} ({_between(worst['low'], worst['high'])}), "
            f"they hold the class {worst['class']}."
        )


def _triage(about: Mapping[str, Any] | None) -> Iterator[Part]:
    if not about or about.get("max_risk") is None:
        yield "Triage: no policy. A person decides every case (triage.max_risk)."
    elif "threshold" not in about:
        yield (
            "Triage: a case is decided without a person from a confidence on that each run has "
            f"chosen to let at most {percent(about['max_risk'])} of such cases be wrong, with a "
            "probability of 95 %."
        )
    elif about["threshold"] is None:
        yield (
            f"Triage: a person decides every case, as no threshold kept a risk of "
            f"{percent(about['max_risk'])} on the calibration images."
        )
    else:
        yield (
            f"Triage: from a confidence of {about['threshold']:.4f} on, a case is decided without "
            f"a person. The threshold was chosen to let at most {percent(about['max_risk'])} of "
            "such cases be wrong, with a probability of 95 %."
        )
    if about and about.get("urgent"):
        yield f"Urgent are the classes {', '.join(about['urgent'])}."
    if about and about.get("max_risk") is not None and about.get("workload"):
        heads = ["route", "images", "of all", "wrong answers among them"]
        yield Table(heads, [_route(entry) for entry in about["workload"]])


def _route(entry: Mapping[str, Any]) -> Sequence[str]:
    wrong = "-"
    if entry.get("risk") is not None:
        wrong = f"{percent(entry['risk'])} ({_between(*entry['risk_ci95'])})"
    share = f"{percent(entry['share'])} ({_between(*entry['share_ci95'])})"
    return [WHO[entry["route"]], f"{entry['images']:,}", share, wrong]


def _gate(about: Mapping[str, Any] | None) -> str:
    if not about or "measured" not in about:
        return "Images of another kind are not refused (evaluation.gate)."
    measured, intended = about["measured"], ""
    if about["false_alarms"] is not None:  # of an ensemble nothing was chosen
        intended = f"{percent(about['false_alarms'])} by intention, "
    return (
        f"Images of another kind are refused ({about['method']}), and so are a few of this kind: "
        f"{intended}{measured['refused']:,} of the measured "
        f"ones, {percent(measured['share'])} ({_between(*measured['share_ci95'])}). The figures "
        "above are without them."
    )


def _between(low: float, high: float) -> str:
    return f"{percent(low)} to {percent(high)}"
