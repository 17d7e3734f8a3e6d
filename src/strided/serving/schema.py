"""What each key of manifest.json may hold: closed kinds, of bounded numbers and sizes."""

from typing import Any

from strided.serving.files import FILES, GATE, MODEL, REFERENCE
from strided.serving.kinds import (
    Kind,
    any_of,
    is_flag,
    is_sha256,
    list_of,
    names_to,
    null_or,
    number,
    record,
    text,
    whole,
    word_of,
)

FORMAT = "strided-bundle-1"
OF_DECISION = ("calibration", "sets", "gate", "triage", "operating_point", "fitted_on")
MOST_VERSIONS = 999_999_999

_MOST_CLASSES = 100_000

_SPLIT, _COUNT, _SHARE = word_of("train", "val", "test"), whole(0), number(0, 1)
_TIME = number(0)
_LATENCY = list_of(record(batch=whole(1), threads=whole(1), wall_ms=_TIME, cpu_ms=_TIME))
_PAIR = {"new": _SHARE, "active": _SHARE, "interval": list_of(number(-1, 1), 2, 2)}
_KINDS: dict[str, Kind] = {
    "name": text(100),
    "version": whole(1, MOST_VERSIONS),
    "created": text(100),
    "files": names_to(record(sha256=is_sha256, bytes=_COUNT), len(FILES)),
    "classes": list_of(text(), 2, _MOST_CLASSES),
    "preprocessing": names_to(lambda _: True),
    "outputs": names_to(list_of(whole(1, 10**7), 1, 3), 3),
    **dict.fromkeys(OF_DECISION, lambda _: True),
    "heatmap": record(
        method=null_or(word_of("shares")), reason=null_or(text()), largest_miss=null_or(_TIME)
    ),
    "metrics": names_to(
        null_or(any_of(number(), list_of(null_or(number()), 2, 2))), 100 * _MOST_CLASSES
    ),
    "parity": record(
        split=_SPLIT,
        images=_COUNT,
        batches=list_of(whole(1)),
        largest_difference=number(0),
        allowed_difference=null_or(number(0)),
        same_classes=is_flag,
    ),
    "comparison": null_or(
        record(
            name=text(100),
            version=whole(1, MOST_VERSIONS),
            images=_COUNT,
            same_split=null_or(is_flag),
            accuracy=record(**_PAIR),
            ece=record(**_PAIR),
            stress=list_of(record(rendering=text(), p=_SHARE, **_PAIR)),
            worse=list_of(text()),
            forced=is_flag,
        )
    ),
    "latency": _LATENCY,
    "reference": record(split=_SPLIT, images=_COUNT),
    "data_fingerprint": null_or(text()),
    "split_hashes": names_to(text()),
    "versions": names_to(text()),
    "source": record(run=null_or(text()), checkpoint_sha256=is_sha256, commit=null_or(text(100))),
    "intended_use": null_or(text(100_000)),
    "notice": text(),
}

_IF_ASKED: dict[str, Kind] = {  # keys of a version for which they were asked for
    "int8": record(
        split=_SPLIT,
        calibrated_on=_COUNT,
        images=_COUNT,
        accuracy=record(int8=_SHARE, float=_SHARE, interval=_PAIR["interval"]),
        other_classes=_COUNT,
        largest_difference=_SHARE,
        forced=is_flag,
    ),
    "openvino": record(
        passed=is_flag,
        precision=text(20),
        version=text(100),
        split=_SPLIT,
        images=_COUNT,
        other_classes=_COUNT,
        largest_difference=_SHARE,
        allowed_difference=_SHARE,
        latency=_LATENCY,
    ),
}


def require_schema(content: Any) -> None:
    """Raise ValueError, with the reason, for what is no content of a manifest."""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"its format is not {FORMAT}")
    if others := {"format", *_KINDS} ^ (content.keys() - _IF_ASKED.keys()):
        raise ValueError(f"it lacks keys, or has others: {', '.join(sorted(others))[:200]}")
    for key, is_kind in (_KINDS | _IF_ASKED).items():
        if key in content and not is_kind(content[key]):
            raise ValueError(f"its {key} is not of the kind that export writes")
    if len(set(content["classes"])) < len(content["classes"]):
        raise ValueError("it has a class twice")
    if content["calibration"] is None and any(content[key] is not None for key in OF_DECISION):
        raise ValueError("it has a part of a decision without its calibration")
    _check_files(content)
    _check_shapes(content)


def _check_files(content: dict[str, Any]) -> None:
    files = content["files"]
    if not {MODEL, REFERENCE} <= files.keys() <= set(FILES):
        raise ValueError(f"its files are not {', '.join(FILES)}")
    if (GATE in files) != (content["gate"] is not None):
        raise ValueError(f"it has a gate without {GATE}, or the other way round")


def _check_shapes(content: dict[str, Any]) -> None:
    """The shapes that a service makes arrays of."""
    outputs, count = content["outputs"], len(content["classes"])
    heat = outputs.get("heat", [count, 1, 1])
    if (
        not {"logits", "features"} <= outputs.keys() <= {"logits", "features", "heat"}
        or outputs["logits"] != [count]
        or len(outputs["features"]) != 1
        or len(heat) != 3
        or heat[0] != count
    ):
        raise ValueError("its outputs do not fit its classes")
