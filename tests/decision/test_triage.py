"""Routes and reasons of single cases, and that a policy keeps its risk among what it decides."""

from typing import Any

import numpy as np
import pytest

from strided.decision.triage import REASONS, ROUTES, Triage

PROBABILITIES = np.array([[0.9, 0.1, 0.0], [0.5, 0.4, 0.1], [0.1, 0.0, 0.9], [0.2, 0.2, 0.6]])
SETS = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0]], dtype=bool)
KNOWN = [""] * 4  # the gate refuses none
NO_POLICY = Triage(None, None)


def test_a_case_is_decided_alone_if_it_is_sure_and_not_urgent() -> None:
    policy = Triage(threshold=0.9, max_risk=0.05, urgent=(2,))
    assert policy(PROBABILITIES, SETS, KNOWN) == (
        ["auto", "review", "urgent", "urgent"],
        [
            "",
            "low_confidence|several_classes",
            "urgent_class",
            "urgent_class|low_confidence|no_class_fits",
        ],
    )


def test_a_case_that_no_class_fits_is_reviewed_however_sure_it_is() -> None:
    policy = Triage(threshold=0.5, max_risk=0.05)
    assert policy(PROBABILITIES[[0, 3]], SETS[[0, 3]], KNOWN[:2]) == (
        ["auto", "review"],
        ["", "no_class_fits"],
    )


def test_a_refused_case_is_refused_whatever_is_predicted() -> None:
    policy = Triage(threshold=0.5, max_risk=0.05, urgent=(2,))
    routes, reasons = policy(PROBABILITIES, None, ["", "", "blurred|small", ""])
    assert routes == ["auto", "auto", "refused", "urgent"]
    assert reasons == ["", "", "blurred|small", "urgent_class"]


def test_everything_is_reviewed_without_a_policy() -> None:
    routes, reasons = NO_POLICY(PROBABILITIES, None, KNOWN)
    assert set(routes) == {"review"}
    assert set(reasons) == {"no_triage_policy"}
    routes, reasons = Triage(None, None, urgent=(2,))(PROBABILITIES, None, KNOWN)
    assert routes == ["review", "review", "urgent", "urgent"]
    assert reasons == ["no_triage_policy"] * 2 + ["urgent_class"] * 2


def test_everything_is_reviewed_if_the_risk_was_not_reached() -> None:
    few = np.full(20, 0.99)
    policy = Triage.fit(few, np.zeros(20, dtype=int), few > 0, max_risk=0.05)
    assert policy.threshold is None
    routes, reasons = policy(PROBABILITIES, None, KNOWN)
    assert (set(routes), set(reasons)) == ({"review"}, {"risk_not_reached"})


def test_the_risk_is_of_what_the_policy_decides_not_of_urgent_cases_that_are_always_right() -> None:
    noise = np.random.default_rng(0)
    predicted = np.arange(1000) % 2
    correct = (predicted == 1) | (noise.random(1000) < 0.9)
    confidence = 0.9 + noise.random(1000) / 10
    with_urgent = Triage.fit(confidence, predicted, correct, max_risk=0.08)
    without = Triage.fit(confidence, predicted, correct, max_risk=0.08, urgent=[1])
    alone = Triage.fit(confidence, predicted, correct, max_risk=0.08, single=predicted == 1)
    assert with_urgent.threshold == confidence.min()
    assert without.threshold is None
    assert alone.threshold == confidence[predicted == 1].min()


def test_a_policy_comes_back_from_plain_data() -> None:
    policy = Triage(threshold=0.93, max_risk=0.05, urgent=(0, 2))
    assert Triage.from_dict(policy.to_dict(), 3) == policy
    assert Triage.from_dict(NO_POLICY.to_dict(), 3) == NO_POLICY


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": "0.9"},
        {"threshold": float("nan")},
        {"max_risk": 2},
        {"urgent": ["Covid-19"]},
        {"urgent": [-1]},
        {"urgent": [3]},
        {"urgent": [True]},
        {"urgent": 3},
        {"more": 1},
    ],
)
def test_a_policy_that_no_run_wrote_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="triage policy"):
        Triage.from_dict({**Triage(0.9, 0.05, (1,)).to_dict(), **change}, 3)


def test_every_reason_of_a_route_has_its_words() -> None:
    policies = [Triage(0.9, 0.05, (2,)), Triage(None, 0.05), NO_POLICY]
    found = [policy(PROBABILITIES, SETS, KNOWN) for policy in policies]
    assert {w for _, reasons in found for why in reasons if why for w in why.split("|")} == set(
        REASONS
    )
    assert {route for routes, _ in found for route in routes} < set(ROUTES)
