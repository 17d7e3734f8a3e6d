"""What a client is told of each picture."""

import base64
import heapq
from collections.abc import Sequence
from typing import cast

from strided.decision import gate, triage
from strided.review.tables import new_id
from strided.service.case import Answered, Case
from strided.service.problems import ProblemError
from strided.service.schema import Fault, Reason, Result, Route, Timing, Uncertainty
from strided.serving.bundle import Answer

QUEUED = ("review", "urgent", "refused")  # routes to a person
_BURNED_IN = "burned_in_unknown"
_TEXTS = {
    **triage.REASONS,
    **gate.REASONS,
    _BURNED_IN: "the file does not say that no text is burned into the picture",
}


def result_of(case: Case, index: int) -> Result:
    """The prediction for a picture with an outcome, or its error."""
    result = Result(id=new_id(index), index=index, input=case.input)
    if isinstance(case.outcome, ProblemError):
        result.error = Fault(code=case.outcome.code, detail=case.outcome.detail)
        return result
    assert isinstance(case.outcome, Answered), "its job has ended"
    answer = case.outcome.answer
    if answer.label:  # else it was refused
        result.class_ = answer.label
        result.confidence = answer.probabilities[answer.label]
        result.probabilities = answer.probabilities
        result.prediction_set = answer.prediction_set
    result.uncertainty = _uncertainty(answer)
    result.route = route_of(answer, case)
    result.reasons = _reasons(answer, case)
    result.heatmap = case.outcome.heatmap
    result.picture = base64.b64encode(case.picture).decode() or None
    return result


def _uncertainty(answer: Answer) -> Uncertainty:
    if not answer.label:  # a refused picture has no probabilities that these could be of
        return Uncertainty(entropy=None, margin=None, ood=answer.ood)
    first, second = heapq.nlargest(2, answer.probabilities.values())
    return Uncertainty(entropy=answer.entropy, margin=first - second, ood=answer.ood)


def route_of(answer: Answer, case: Case) -> Route:
    """Without a policy a person decides every case, and where text may be in the picture, too."""
    if case.may_have_text and answer.route == "auto":
        return "review"
    return cast("Route", answer.route or "review")


def _reasons(answer: Answer, case: Case) -> list[Reason]:
    codes = answer.reasons.split(triage.SEPARATOR) if answer.reasons else []
    if not answer.route:
        codes.append("no_triage_policy")
    if case.may_have_text:
        codes.append(_BURNED_IN)
    return [Reason(code=code, text=_TEXTS[code]) for code in codes]


def timing_of(cases: Sequence[Case], total: float) -> Timing:
    """The times of a request, of which `total` are the seconds in all."""
    longest = (max(getattr(case, stage) for case in cases) for stage in ("decode", "queue", "run"))
    decode, queue, run = (round(1000 * seconds, 3) for seconds in longest)
    return Timing(decode=decode, queue=queue, run=run, total=round(1000 * total, 3))
