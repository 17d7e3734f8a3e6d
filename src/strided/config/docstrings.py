"""What the docstring of a class or function says of its arguments, and of itself."""

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

_HEADING = re.compile(r"^( *)(?:Args|Arguments|Parameters):\s*$")
_ENTRY = re.compile(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*)\s*(?:\(.*?\))?\s*:\s*(.*)$")
_DEFAULT = re.compile(
    r"[.;,]?\s*(?:\((?:default|Default)[:\s][^)]*\)+|[Dd]efaults?(?: to|:| is)\s.*$)"
)
# reStructuredText's marks, and what a reader of plain text wants of them
_MARKS = (
    (re.compile(r":\w+(?::\w+)?:`~?(?:[^`<]*<)?([^`>]+)>?`"), r"\1"),  # :obj:`True`
    (re.compile(r"`([^`<]+?)\s*<[^`>]+>`_{0,2}"), r"\1"),  # `text <address>`_
    (re.compile(r"``([^`]*)``"), r"\1"),
    (re.compile(r"`([^`]*)`_{0,2}"), r"\1"),
    (re.compile(r"\*\*([^*]+)\*\*"), r"\1"),
)
_DIRECTIVE = re.compile(r"\s*\.\. \w+::?.*$", re.DOTALL)  # a note, a warning: no part of a meaning
_END = re.compile(r"(?<!\be\.g)(?<!\bi\.e)(?<!\bal)(?<!\bProc)(?<!\bcf)(?<!\bvs)\.(?:\s|$)")


def argument_texts(target: Callable[..., Any]) -> dict[str, str]:
    """Return what the Args sections say of each argument; of a class, its bases' count too.

    A text is one paragraph of plain text. `**options` is the entry of what is passed on.
    """
    found: dict[str, str] = {}
    for text in _docstrings(target):
        found = {**dict(_entries(text)), **found}
    return found


def purpose(target: Callable[..., Any]) -> str:
    """Return the first sentence of a docstring, an empty one if there is none."""
    text = next(_docstrings(target), "")
    return first_sentence(plain_text(text.split("\n\n")[0]))


def first_sentence(text: str) -> str:
    """Return a paragraph up to its first full stop, which is left out."""
    end = _END.search(text)
    return text[: end.start()] if end else text.rstrip(". ")


def plain_text(text: str) -> str:
    """Return reStructuredText as one paragraph without its marks and its words on a default."""
    text = " ".join(_DIRECTIVE.sub("", text).split())
    for mark, plain in _MARKS:
        text = mark.sub(plain, text)
    return _DEFAULT.sub("", text).strip()


def _docstrings(target: Callable[..., Any]) -> Iterator[str]:
    """The docstrings of a function, or of a class, its __init__ and its bases, in this order."""
    homes = target.__mro__[:-1] if inspect.isclass(target) else [target]
    for home in homes:
        own = vars(home)
        for text in (
            home.__doc__ if "__doc__" in own or home is target else None,
            getattr(own.get("__init__"), "__doc__", None),
        ):
            if text:
                yield inspect.cleandoc(text)


def _entries(docstring: str) -> Iterator[tuple[str, str]]:
    """The names and texts of an Args section, Google's format, which torch and Lightning have."""
    lines = docstring.expandtabs().splitlines()
    start = next((at for at, line in enumerate(lines) if _HEADING.match(line)), len(lines))
    names: list[str] = []
    texts: list[str] = []
    indent: int | None = None
    outer = len(lines[start]) - len(lines[start].lstrip()) if start < len(lines) else 0
    for line in lines[start + 1 :]:
        depth = len(line) - len(line.lstrip())
        if line.strip() and depth <= outer:
            break
        indent = depth if indent is None and line.strip() else indent
        entry = _ENTRY.match(line.strip()) if depth == indent else None
        if entry:
            yield from _named(names, texts)
            names, texts = entry[1].split(", "), [entry[2]]
        elif line.strip():
            texts.append(line)
        else:
            texts.append("")
    yield from _named(names, texts)


def _named(names: list[str], texts: list[str]) -> Iterator[tuple[str, str]]:
    text = plain_text("\n".join(texts))
    for name in names:
        yield name, text
