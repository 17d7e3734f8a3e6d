"""What the comments of a YAML file say: of the file itself, and of each of its keys."""

import re
from dataclasses import dataclass, field
from pathlib import Path

_KEY = re.compile(r"""^( *)(?:- )?([\w.]+):((?:"[^"]*"|'[^']*'|[^#"']|(?<=\S)#)*)(?:#\s*(.*))?$""")
_COMMAND = re.compile(r"^(?:python src/\w+\.py|strided) ")


@dataclass(frozen=True)
class Comments:
    """`header` stands above the first key; `of` holds the comment beside or above each dotted key.

    `commands` are the lines of the header that are commands.
    """

    header: str = ""
    commands: tuple[str, ...] = ()
    of: dict[str, str] = field(default_factory=dict)


def read_comments(file: Path) -> Comments:
    """Read the comments of a YAML of groups and keys; an entry of its defaults list is a key too.

    A comment of several lines is joined to one paragraph. Bytes that are no text are replaced: the
    comment of one option must not keep the others from being listed.
    """
    header: list[str] = []
    above: list[str] = []
    of: dict[str, str] = {}
    parents: list[tuple[int, str]] = []  # indentation and name of the keys around this line
    for line in file.read_text("utf-8", errors="replace").splitlines():
        text = line.strip()
        if text.startswith("#"):
            (above if parents else header).append(text.lstrip("#").strip())
        elif match := _KEY.match(line):
            indent, name, _, beside = match.groups()
            parents = [entry for entry in parents if entry[0] < len(indent)]
            parents.append((len(indent), name))
            if comment := " ".join([*above, beside or ""]).strip():
                of[".".join(parent for _, parent in parents)] = comment
            above = []
    lines = [text for text in header if not text.startswith("@package")]
    commands = tuple(text for text in lines if _COMMAND.match(text))
    said = " ".join(text for text in lines if text not in commands)
    return Comments(said.strip(), commands, of)
