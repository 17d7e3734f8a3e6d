"""The part of a report on deciding the surest cases alone, and on who decides the others."""

import html
from collections.abc import Mapping
from typing import Any

from strided.data.reading.files import as_text
from strided.pages.axis import Axis
from strided.pages.chart import Chart
from strided.pages.figure import Figure
from strided.pages.page import table
from strided.runs.results import Results, by_name

WHO = {
    "auto": "auto: decided without a person",
    "review": "review: a person decides",
    "urgent": "urgent: a person decides, and sees it first",
    "refused": "refused: no image of this kind",
}


def chart_risk(selective: Mapping[str, Any]) -> Figure:
    """The share of errors among the surest cases, over how many of them are decided."""
    points = list(zip(selective["coverage"], selective["risk"], strict=True))
    most = max([*selective["risk"], *(chosen["max_risk"] for chosen in selective["at_risk"])])
    chart = Chart(
        "risk by coverage",
        Axis("decided, the surest first", 0, 1, percent=True),
        Axis("wrong among them", 0, 1.05 * most or 0.01, percent=True),
    )
    chart.line(points, "", "c0")
    for chosen in selective["at_risk"]:
        chart.level(chosen["max_risk"])
        chart.word(1, chosen["max_risk"], f"allowed: {chosen['max_risk']:.0%}", "end", -4)
        if chosen["decided"]:
            low, high = chosen["risk_ci95"]
            chart.interval(chosen["coverage"], low, min(high, chart.y.high), "c1")
            title = f"allowed: {chosen['max_risk']:.0%}, found: {chosen['risk']:.1%}"
            chart.dot(chosen["coverage"], chosen["risk"], "c1", title, radius=4)
            chart.name("at a threshold for this risk", "c1")
    return chart.figure()


def triage_section(results: Results) -> str:
    """What may be decided alone at which risk, and the workload of a policy; nothing if unknown."""
    found = results.get("selective")
    if not found:
        return ""
    values, split = by_name(results), found["split"]
    parts = ["<h3>Deciding the surest cases alone</h3>"]
    if f"{split}/acc_at_80" in values:
        ends = values.get(f"{split}/acc_at_80_ci95")  # none over a single group
        within = f" (95 % interval {ends[0]:.2%} to {ends[1]:.2%})" if ends else ""
        parts.append(
            f"<p>Accuracy of the surest 80 %: {values[f'{split}/acc_at_80']:.2%}{within}. Area "
            f"under the risk-coverage curve: {values[f'{split}/aurc']:.4f}.</p>"
        )
    if found["at_risk"]:
        heads = ["allowed risk", "threshold", "decided alone", "wrong among them"]
        parts.append(table(heads, [_at_risk(chosen) for chosen in found["at_risk"]]))
        others = f"{found['images']:,} other images"
        if split == "val":
            others = "the same images, and so flatter"
        parts.append(
            '<p class="note">Thresholds were chosen on held-out images so that the risk of new '
            "images like those is at most the allowed one with a probability of 95 %; the figures "
            f"are of {others}.</p>"
        )
    return "\n".join([*parts, _workload(results)])


def _at_risk(chosen: Mapping[str, Any]) -> list[str]:
    risk = f"{chosen['max_risk']:.0%}"
    if chosen["threshold"] is None:
        return [risk, "none is safe", "0", ""]
    decided = _share(chosen["decided"], chosen["coverage"], chosen["coverage_ci95"])
    wrong = ""
    if chosen["decided"]:
        wrong = _share(chosen["wrong"], chosen["risk"], chosen["risk_ci95"])
    return [risk, f"{chosen['threshold']:.4f}", decided, wrong]


def _share(count: int, share: float, interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{count:,}: {share:.1%} ({low:.1%} to {high:.1%})"


def _workload(results: Results) -> str:
    found = results.get("triage")
    if not found or "workload" not in found:
        return ""
    rows = []
    for entry in found["workload"]:
        low, high = (100 * end for end in entry["share_ci95"])
        of_100 = f"{100 * entry['share']:.1f} ({low:.1f} to {high:.1f})"
        wrong = _share(entry["wrong"], entry["risk"], entry["risk_ci95"]) if "risk" in entry else ""
        rows.append([WHO[entry["route"]], f"{entry['images']:,}", of_100, wrong])
    heads = ["route", "images", "of 100", "wrong if the network decided"]
    said = html.escape(_policy(found))
    return f"<h3>Triage</h3><p>{said}</p>{table(heads, rows)}"


def _policy(found: Mapping[str, Any]) -> str:
    urgent = ", ".join(map(as_text, found["urgent"]))
    first = f" Cases of {urgent} are shown first." if urgent else ""
    if found["max_risk"] is None:
        return f"A person decides every case: triage.max_risk is not set.{first}"
    if found["threshold"] is None:
        return (
            f"A person decides every case: no threshold keeps a risk of {found['max_risk']:.0%} on "
            f"the held-out images.{first}"
        )
    return (
        f"The network decides alone from a confidence of {found['threshold']:.4f} on, if its "
        f"prediction set has no second class: at most {found['max_risk']:.0%} of these cases are "
        f"wrong, with a probability of 95 %.{first}"
    )
