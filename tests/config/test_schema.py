"""The signature is the schema: types, and what they are called in messages."""

from pathlib import Path
from typing import Any, Literal

import pytest
from torch import nn

from strided.config.schema import arguments_of
from strided.config.targets import locate
from strided.config.type_words import describe
from strided.config.values import fits

# Types


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (3, int, True),
        (3.0, int, False),
        (True, int, False),
        (3, float, True),
        (True, float, False),
        ("3", float, False),
        (True, bool, True),
        (1, bool, False),
        ("a", str, True),
        (3, str, False),
        ("a/b", Path, True),
        (None, int, False),
        (None, int | None, True),
        ("x", int | None, False),
        ("max", Literal["min", "max"], True),
        ("most", Literal["min", "max"], False),
        (True, Literal[1], False),
        ([1, 2], list[int], True),
        ([1, "b"], list[int], False),
        (1, list[int], False),
        ("ab", list[str], False),
        ([0.9, 0.99], tuple[float, float], True),
        ([0.9], tuple[float, float], False),
        ([1, 2, 3], tuple[int, ...], True),
        ({"a": 1}, dict[str, int], True),
        ([1], dict[str, int], False),
        ({"_target_": "torch.nn.ReLU"}, nn.Module, True),
        ("anything", Any, True),
    ],
)
def test_values_fit_their_types(value: Any, annotation: Any, expected: bool) -> None:
    assert fits(value, annotation) is expected


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (int, "a whole number"),
        (float, "a number"),
        (bool, "true or false"),
        (str, "text"),
        (float | None, "a number or null"),
        (Literal["min", "max"], "min, max"),
        (list[int], "a list of whole numbers"),
    ],
)
def test_types_are_described_in_words(annotation: Any, words: str) -> None:
    assert describe(annotation) == words


def test_arguments_handed_on_to_a_base_class_are_found() -> None:
    accepted, open_ended = arguments_of(locate("strided.data.CIFAR10", "data"))
    assert {"root", "batch_size", "val_fraction"} <= set(accepted)
    assert not open_ended
