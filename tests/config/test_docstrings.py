"""What is read of docstrings and of the comments in YAML."""

from pathlib import Path

import pytest

from strided.config.docstrings import argument_texts, first_sentence, purpose
from strided.config.yaml_comments import read_comments


class Base:
    """A base.

    Args:
        size: Of the base.
        depth (int, optional): How deep, e.g. 3. Deeper
            is slower. (default: 3)
    """


class Derived(Base):
    """A class whose bases count; its own words win.

    More on it.

    Args:
        size (int): Of the ``derived`` one, as :obj:`None` or `here <https://x.org>`_. Default: 3.

            .. note:: nothing of this

        **options: Passed on.

    Returns:
        nothing: at all
    """

    def __init__(self) -> None:
        """Set it up.

        Args:
            name: Lightning describes arguments here.
        """


def test_args_sections_of_a_class_and_its_bases_are_read() -> None:
    assert argument_texts(Derived) == {
        "size": "Of the derived one, as None or here",
        "depth": "How deep, e.g. 3. Deeper is slower",
        "**options": "Passed on.",
        "name": "Lightning describes arguments here.",
    }


def test_the_purpose_is_the_first_sentence() -> None:
    assert purpose(Derived) == "A class whose bases count; its own words win"
    assert purpose(argument_texts).startswith("Return what the Args sections say")


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("How deep, e.g. 3. Deeper is slower", "How deep, e.g. 3"),
        ("LeCun, Proc. IEEE 86. Always 32x32.", "LeCun, Proc. IEEE 86"),
        ("Version 1.5 of it", "Version 1.5 of it"),
    ],
)
def test_a_full_stop_ends_a_sentence(text: str, first: str) -> None:
    assert first_sentence(text) == first


def test_comments_of_a_yaml_belong_to_its_keys(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(
        "# @package _global_\n# What it is,\n# in two lines.\n# python src/train.py data=x\n"
        "defaults:\n  - data: x # the images\n"
        "lr: 0.1 # a rate\ntext: 'a # b' # kept\n# above\n# it\nnode: # of all\n"
        "  inner: 1 # below\nplain: c#d\n"
    )
    found = read_comments(file)
    assert found.header == "What it is, in two lines."
    assert found.commands == ("python src/train.py data=x",)
    assert found.of == {
        "defaults.data": "the images",
        "lr": "a rate",
        "text": "kept",
        "node": "above it of all",
        "node.inner": "below",
    }
