"""A verdict is made of counts, and folds add up."""

import copy
from typing import Any

import pytest

from strided.compare.pooled_shortcuts import check_of
from strided.errors import UserError
from strided.report.shortcuts import section
from strided.runs.results import Results
from strided.shortcuts.check import added
from strided.shortcuts.verdict import judged, kept


def counts(**changed: Any) -> dict[str, Any]:
    """The check of a model that needs its subject: 90 of 100, and 50 by the largest class."""
    found: dict[str, Any] = {
        "images": 100,
        "left_out": 0,
        "trained_on": 300,
        "model": 90,
        "majority": 50,
        "baselines": {
            "the border alone": {"hits": 55, "images": 100},
            "a grey thumbnail of 32 x 32": {"hits": 88, "images": 100},
        },
        "columns": {},
        "id_like": {"names": {"hits": 99, "images": 100}},
        "regions": {
            "without the centre": {"hits": 60, "images": 100},
            "only the centre": {"hits": 80, "images": 100},
        },
        "stress": {"noise": {"hits": 55, "images": 64, "before": 58}},
        "near_copies": {"tested": 1, "pairs": 1, "external": 0, "first": [["a", "b", "val", 0.95]]},
        "why_not_again": "Nothing was trained again.",
        "computed": 120,
        "run_seconds": 2.5,
        "seconds": 1.5,
    }
    return {**copy.deepcopy(found), **changed}


# What sees no shape has a third of the gain: 35 % of 40 points.
TOLD_APART = {"the border alone": {"hits": 64, "images": 100}}


def test_what_is_kept_is_a_part_of_the_gain() -> None:
    found = counts()
    assert kept(found, {"hits": 70, "images": 100}) == pytest.approx(0.5)
    assert kept(found, {"hits": 62, "images": 100}, {"hits": 74, "images": 100}) == pytest.approx(
        0.5
    )


def test_it_is_silent_of_a_model_that_needs_its_subject_whatever_names_tell() -> None:
    verdict = judged(counts())
    assert verdict["warnings"] == [] and "why_none" not in verdict
    assert any("names would be right on 99.0%" in sentence for sentence in verdict["evidence"])


def test_it_warns_where_the_centre_is_not_needed() -> None:
    regions = counts()["regions"] | {"without the centre": {"hits": 87, "images": 100}}
    (warning,) = judged(counts(regions=regions, baselines=TOLD_APART))["warnings"]
    assert "blacked out" in warning and "87.0%" in warning


def test_a_subject_that_fills_the_pictures_is_no_shortcut() -> None:
    regions = counts()["regions"] | {"without the centre": {"hits": 87, "images": 100}}
    verdict = judged(counts(regions=regions))  # the border has 12 % of the gain
    assert not verdict["warnings"]
    assert "the subject may fill the pictures" in verdict["evidence"][1]
    assert "fill" not in judged(counts())["evidence"][1]


def test_it_is_silent_where_the_centre_alone_has_clearly_more() -> None:
    for only, warned in ((88, True), (90, False)):
        regions = {
            "without the centre": {"hits": 87, "images": 100},
            "only the centre": {"hits": only, "images": 100},
        }
        found = counts(regions=regions, baselines=TOLD_APART)
        assert bool(judged(found)["warnings"]) == warned


def test_a_head_that_was_trained_again_counts_for_more_than_a_test() -> None:
    again = {
        "as it is": {"hits": 88, "images": 100},
        "without the centre": {"hits": 85, "images": 100},
        "only the centre": {"hits": 60, "images": 100},
    }
    (warning,) = judged(counts(again=again, baselines=TOLD_APART))["warnings"]
    assert "trained again" in warning and "85.0%" in warning


def test_it_warns_where_a_classifier_without_the_subject_has_half_of_the_gain() -> None:
    baselines = counts()["baselines"] | {"the grey histogram": {"hits": 71, "images": 100}}
    (warning,) = judged(counts(baselines=baselines))["warnings"]
    assert warning.startswith("A regression on the grey histogram is right on 71.0%")


def test_the_worst_rendering_is_named() -> None:
    stress = counts()["stress"] | {"gamma 0.7": {"hits": 40, "images": 64, "before": 58}}
    last = judged(counts(stress=stress))["evidence"][-1]
    assert "gamma 0.7: 62.5% of 64 images, 90.6% before" in last and "fragile" in last
    assert "fragile" not in judged(counts())["evidence"][-1]


def test_renderings_that_a_head_was_fitted_on_are_no_evidence_of_others() -> None:
    fitted = {"zoomed by 8 %": {"hits": 50, "images": 64, "before": 58, "trained": 64}}
    left_out = {"noise": {"hits": 55, "images": 64, "before": 58, "trained": 0}}
    last = judged(counts(stress=fitted | left_out))["evidence"][-1]
    assert last.endswith("Of those that the head was not fitted on, noise harms it most: 85.9%.")
    assert "leave one out" in judged(counts(stress=fitted))["evidence"][-1]
    total = added([counts(stress=fitted | left_out)] * 2)["stress"]
    assert total["noise"]["trained"] == 0 and total["zoomed by 8 %"]["trained"] == 128


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"images": 49}, "50 or more"),
        ({"model": 59}, "not surely above"),
        ({"left_out": 4}, "4 images of the split were not measured"),
    ],
)
def test_without_enough_images_or_gain_there_is_no_verdict(
    changed: dict[str, int], why: str
) -> None:
    verdict = judged(counts(**changed))
    assert why in verdict["why_none"] and not verdict["warnings"]


def test_the_page_of_a_pool_has_the_sum_if_all_its_runs_were_checked() -> None:
    one: Results = {"shortcuts": counts()}
    assert "90.0% of 200 images" in section(check_of([one, one]))
    assert check_of([one, {}]) is None and section(None) == ""
    with pytest.raises(UserError, match="damaged"):
        check_of([{"shortcuts": {"images": 3}}])


def test_folds_add_up() -> None:
    one, other = counts(), counts(model=80, seconds=0.5)
    for found in (one, other):
        found["verdict"] = judged(found)
        found["near_copies"]["external"] = 30
    total = added([one, other])
    assert total["near_copies"]["external"] == 30  # both looked at the same files
    assert (total["images"], total["model"], total["seconds"]) == (200, 170, 2.0)
    assert total["trained_on"] == 300
    assert total["baselines"]["the border alone"] == {"hits": 110, "images": 200}
    assert total["near_copies"]["first"] == [["a", "b", "val", 0.95]] * 2
    assert total["why_not_again"] == "Nothing was trained again."
    assert "85.0% of 200 images" in total["verdict"]["evidence"][0]


def test_the_page_tells_what_the_check_cost_and_why_it_was_much() -> None:
    dear, cheap = counts(), counts(run_seconds=4.0)
    for found in (dear, cheap):
        found["verdict"] = judged(found)
    assert "work on 120 altered images" in section(dear)
    assert "the run before it 4 s." in section(cheap) and "altered images, each" not in section(
        cheap
    )
