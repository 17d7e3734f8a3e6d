"""The parts of a card, and a card as Markdown and as HTML."""

import html
import re
from collections.abc import Sequence
from typing import NamedTuple

from strided.data.reading.files import as_text
from strided.errors import one_line
from strided.pages.page import bullets, table


class Table(NamedTuple):
    """Texts in rows and columns; without heads if these are empty."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


Part = str | list[str] | Table  # a paragraph, a list, a table


class Section(NamedTuple):
    """A title and what stands below it."""

    title: str
    parts: Sequence[Part]


# what Markdown would take for more than text; it lets an underscore within a word be
_MARKUP = re.compile(r"[\\`*<>\[\]|]|(?<!\w)_|_(?!\w)|^#|^[+-](?= )")


def as_markdown(title: str, note: str, sections: Sequence[Section]) -> str:
    """Return a card as Markdown, in which names are text."""
    blocks = [f"# {_plain(title)}", _plain(note)]
    for section in sections:
        blocks += [f"## {section.title}", *map(_markdown, section.parts)]
    return "\n\n".join(blocks) + "\n"


def _markdown(part: Part) -> str:
    if isinstance(part, str):
        return _plain(part)
    if isinstance(part, Table):
        lines = [part.heads, ["---"] * len(part.heads), *part.rows]
        return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)
    return "\n".join(f"- {_plain(sentence)}" for sentence in part)


def _cell(text: str) -> str:
    return text if text == "---" else _plain(text)


def _plain(text: str) -> str:
    """Escape what Markdown would take for markup: a class may be called <b> or a|b."""
    return _MARKUP.sub(r"\\\g<0>", one_line(as_text(text)))


def as_html(sections: Sequence[Section]) -> str:
    """Return a card as HTML, below a heading of its own."""
    return "\n".join(
        f"<h3>{html.escape(section.title)}</h3>{''.join(map(html_of, section.parts))}"
        for section in sections
    )


def html_of(part: Part) -> str:
    """Return a part as HTML, in which names are text."""
    if isinstance(part, str):
        return f"<p>{html.escape(one_line(as_text(part)))}</p>"
    if isinstance(part, Table):
        return table(part.heads, [[_unbroken(as_text(cell)) for cell in row] for row in part.rows])
    return bullets(map(as_text, part))


def _unbroken(text: str) -> str:
    """The two ends of an interval stay on one line: with a hyphen at which no browser breaks it."""
    return re.sub(r"(?<=\d)-(?=\d)", "\u2011", text)
