"""Every command of the README can be typed as it stands there."""

import re
import shlex
from collections.abc import Iterator

import pytest

import strided
from strided.cli import VERBS, main, parse
from strided.config.overrides import normalise, typed_value
from strided.config.yaml_files import CONF_DIR

ROOT = CONF_DIR.parent
README = ROOT / "README.md"
DOCUMENTS = [
    README,
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs/questions").glob("*.md")),
]
COMMAND = re.compile(r"(?:python src/(\w+)\.py|\bstrided (train|eval|predict))\b([^\n`|#]*)")


def commands_in(text: str) -> Iterator[str]:
    """Each command as `<verb> <words>`, lines that end in a backslash joined."""
    for match in COMMAND.finditer(text.replace("\\\n", " ")):
        script, verb, words = match.groups()
        yield f"{script or verb} {words.strip()}".strip()


COMMANDS = sorted({c for file in DOCUMENTS for c in commands_in(file.read_text("utf-8"))})


def test_the_readme_shows_each_verb() -> None:
    shown = {command.split()[0] for command in commands_in(README.read_text("utf-8"))}
    assert shown >= set(VERBS)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_in_the_documents_compose(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    verb, *words = shlex.split(command.replace("<", "").replace(">", ""))
    assert (ROOT / "src" / f"{verb}.py").is_file()
    words = [word for word in words if word != "..." and word not in ("key=value",)]
    typed = parse(verb, words)
    if typed.multirun or typed_value(typed.words, "search"):
        assert typed.config_dir or normalise(verb, typed.words, multirun=True)
    elif typed.help or typed.cfg:
        assert main([verb, *words]) == 0
    elif (
        not typed_value(typed.words, "resume") and not typed.config_dir
    ):  # a folder of the reader's own
        assert strided.compose(verb, typed.words)


def test_documents_that_are_linked_exist() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\((?!http|#|mailto)([^)#]+)", document.read_text("utf-8")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_make_targets_in_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = set(re.findall(r"\bmake ([a-z]+)\b", README.read_text("utf-8")))
    assert shown and shown & {"train", "test"} == {"train", "test"}
    code = set(re.findall(r"^ {4}make ([a-z]+)|`make ([a-z]+)", README.read_text("utf-8"), re.M))
    assert {name for pair in code for name in pair if name} <= targets
