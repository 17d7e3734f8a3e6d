"""What a shortcut check says in words. It warns where the classes are told apart elsewhere.

What counts is the gain over naming the largest class always. `kept` is the part of the model's
gain that is left under other circumstances, or that another classifier has too.
"""

from collections.abc import Mapping
from typing import Any

from strided.evaluation.intervals import wilson_interval
from strided.shortcuts.altered import AS_IT_IS
from strided.shortcuts.baselines import Count, best_of

WITHOUT, ONLY = "without the centre", "only the centre"
_FEWEST = 50  # images
# The part of the gain that is kept without the centre, from which on the centre is not needed.
_NOT_NEEDED = 0.9
# What the centre alone may have beyond that: else the subject is there, and more than the rest.
_NO_MORE = 0.05
# A subject may fill the pictures: flowers keep 90 % of the gain without their centre, and chest
# X-rays 94 %. What sees no shape tells the two apart: grey levels have 25 % and 67 % of the gain.
_FILLS = 1 / 3
# A thumbnail shows the subject too, and so tells classes apart in honest ways. The border, the grey
# levels and the file do not: where they give this part of the gain, the sources differ.
_AS_GOOD = 0.5
_SHOWS_SUBJECT = "a grey thumbnail of 32 x 32"
_FRAGILE = 0.5  # of the gain, that the worst rendering leaves


def judged(found: Mapping[str, Any]) -> dict[str, Any]:
    """The verdict on a check: `warnings` (none: silent), `evidence`, or `why_none` in its place."""
    if reason := _why_none(found):
        return {"warnings": [], "evidence": [], "why_none": reason}
    warnings = list(filter(None, (_centre_warning(found), _simple_warning(found))))
    evidence = [_model(found), _centre(found), _simple(found), *_metadata(found), _worst(found)]
    return {"warnings": warnings, "evidence": evidence}


def kept(found: Mapping[str, Any], count: Count, of: Count | None = None) -> float:
    """The part of the gain over the largest class that `count` has, of that of `of` or the model's.

    Both must have been measured on the same images, or nearly.
    """
    floor = found["majority"] / found["images"]
    whole = found["model"] / found["images"] if of is None else _share(of)
    return (_share(count) - floor) / (whole - floor) if whole > floor else 0.0


def _altered(found: Mapping[str, Any]) -> Mapping[str, Count]:
    """The regions, of a head that was trained again if there is one."""
    regions: Mapping[str, Count] = found["again" if "again" in found else "regions"]
    return regions


def _share(count: Count) -> float:
    return count["hits"] / count["images"]


def _why_none(found: Mapping[str, Any]) -> str | None:
    images = found["images"]
    if images < _FEWEST:
        return f"{images} images were tested, and it needs {_FEWEST} or more."
    if found["left_out"]:
        return (
            f"{found['left_out']:,} images of the split were not measured. The others may be of "
            "few classes, as a limited test takes the first ones."
        )
    low, _ = wilson_interval(found["model"] / images, images)
    if low <= found["majority"] / images:
        return (
            "the model is not surely above naming the largest class always, so that there is "
            "nothing to explain."
        )
    return None


def _without_centre(found: Mapping[str, Any]) -> tuple[Count, float, str]:
    """What is left without the centre, the part of the gain that this is, and how it was had."""
    if "again" in found:
        count = found["again"][WITHOUT]
        return count, kept(found, count, found["again"][AS_IT_IS]), "and its head trained again, "
    count = found["regions"][WITHOUT]
    return count, kept(found, count), ""


def _centre_warning(found: Mapping[str, Any]) -> str | None:
    count, part, how = _without_centre(found)
    alone = kept(found, _altered(found)[ONLY], found.get("again", {}).get(AS_IT_IS))
    if part < _NOT_NEEDED or alone - part > _NO_MORE or _best_without_subject(found)[1] < _FILLS:
        return None
    return (
        f"With the centre of every image blacked out, {how}the model is still right on "
        f"{_share(count):.1%}: it does not need what is there."
    )


def _best_without_subject(found: Mapping[str, Any]) -> tuple[str, float]:
    """The simple classifier that gets furthest without seeing the subject, and how far."""
    others = {k: v for k, v in found["baselines"].items() if k != _SHOWS_SUBJECT}
    name = best_of(others)
    return ("", 0.0) if name is None else (name, kept(found, others[name]))


def _simple_warning(found: Mapping[str, Any]) -> str | None:
    name, part = _best_without_subject(found)
    if part < _AS_GOOD:
        return None
    return (
        f"A regression on {name} is right on {_share(found['baselines'][name]):.1%} without the "
        f"subject, {part:.0%} of the gain over the largest class: the classes differ in how their "
        "images were made."
    )


def _model(found: Mapping[str, Any]) -> str:
    images = found["images"]
    return (
        f"The model is right on {found['model'] / images:.1%} of {images:,} images; always naming "
        f"the largest class would be on {found['majority'] / images:.1%}. The difference is its "
        "gain."
    )


def _centre(found: Mapping[str, Any]) -> str:
    count, part, how = _without_centre(found)
    alone = _altered(found)[ONLY]
    fills = part >= _NOT_NEEDED and _best_without_subject(found)[1] < _FILLS
    more = " Look at some: the subject may fill the pictures." if fills else ""
    return (
        f"Without the centre (15 to 85 % of each side), {how}it is right on {_share(count):.1%} "
        f"and keeps {_part(part)} of its gain; with the centre alone it is on {_share(alone):.1%}."
        f"{more}"
    )


def _simple(found: Mapping[str, Any]) -> str:
    name = best_of(found["baselines"])
    assert name is not None
    count = found["baselines"][name]
    return (
        f"The best simple classifier sees {name} and is right on {_share(count):.1%}: "
        f"{_part(kept(found, count))} of the gain."
    )


def _metadata(found: Mapping[str, Any]) -> list[str]:
    """What a table and names would give away; pixels need not carry that."""
    sentences = []
    for key, words in (("columns", "the columns of the table"), ("id_like", "ids and names")):
        name = best_of(found[key])
        if name is not None:
            share = _share(found[key][name])
            sentences.append(
                f"Of {words}, {name} would be right on {share:.1%}. Images need not show it."
            )
    return sentences


def _worst(found: Mapping[str, Any]) -> str:
    name = _most_harmful(found["stress"])
    count = found["stress"][name]
    before = {"hits": count["before"], "images": count["images"]}
    fragile = kept(found, count, before) <= _FRAGILE and _share(before) > _share(count)
    more = " That takes half of its gain or more: it is fragile." if fragile else ""
    return (
        f"The rendering that harms it most is {name}: {_share(count):.1%} of {count['images']:,} "
        f"images, {_share(before):.1%} before.{more}{_left_out(found['stress'])}"
    )


def _most_harmful(stress: Mapping[str, Count]) -> str:
    name = best_of({k: {**v, "hits": v["images"] - v["hits"]} for k, v in stress.items()})
    assert name is not None
    return name


def _left_out(stress: Mapping[str, Count]) -> str:
    """What a head that was fitted on renderings does on the others."""
    if not any(count.get("trained") for count in stress.values()):
        return ""
    others = {name: count for name, count in stress.items() if not count.get("trained")}
    if not others:
        return (
            " The head was fitted on all of these renderings, so that none shows how it does on "
            "one it has not seen: leave one out of transfer.renderings."
        )
    name = _most_harmful(others)
    return (
        f" Of those that the head was not fitted on, {name} harms it most: "
        f"{_share(others[name]):.1%}."
    )


def _part(part: float) -> str:
    return f"{max(0.0, part):.0%}"
