"""The Markdown of the project: how it is laid out, and that what it names is there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from strided.config.yaml_files import CONF_DIR

ROOT = CONF_DIR.parent
PACKAGE = ROOT / "src" / "strided"
README = ROOT / "README.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
DOCUMENTS = [README, *sorted((ROOT / "docs").rglob("*.md"))]
COLUMNS = 100
PACKAGES = sorted(
    file.parent.relative_to(PACKAGE).as_posix()
    for file in PACKAGE.rglob("__init__.py")
    if file.parent != PACKAGE
)
# a path with a folder in it, such as verbs/train.py; not the end of an address
PYTHON_FILE = re.compile(r"(?<![\w/.:-])(?:[\w.-]+/)+\w+\.py\b")
EXAMPLES = ("mine/",)  # the files that docs/extending.md has its reader write


def lines_outside_code(file: Path) -> Iterator[tuple[int, str]]:
    """The lines of a document with their numbers, except what its code fences hold."""
    in_code = False
    for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1):
        if line.startswith("```"):
            in_code = not in_code
        elif not in_code:
            yield number, line


def cells_of(row: str) -> list[str]:
    """The cells of a table's row as a reader sees them: a link is its text."""
    shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", row)
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", shown)[1:-1]]


def packages_in_tree(text: str) -> set[str]:
    """The packages that the tree in a document's code fence names, by their indentation."""
    found = set()
    parent = ""
    for line in "\n".join(re.findall(r"^```text\n(.*?)^```", text, re.M | re.S)).splitlines():
        if match := re.match(r"( *)(\w+)/", line):
            indented, name = match.groups()
            parent = parent if indented else name
            found.add(f"{parent}/{name}" if indented else name)
    return found


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_lines_and_cells_of_markdown_are_short(file: Path) -> None:
    for number, line in lines_outside_code(file):
        parts = cells_of(line) if line.startswith("|") else [line]
        assert max(map(len, parts), default=0) <= COLUMNS, f"{file.name}:{number}"


@pytest.mark.parametrize(("file", "limit"), [(README, 160), (ARCHITECTURE, 200)])
def test_the_two_pages_that_are_read_first_are_short(file: Path, limit: int) -> None:
    assert len(file.read_text("utf-8").splitlines()) < limit


@pytest.mark.parametrize("file", [README, ARCHITECTURE], ids=lambda file: file.name)
def test_the_tree_names_every_package(file: Path) -> None:
    assert packages_in_tree(file.read_text("utf-8")) == set(PACKAGES)


def test_documents_that_are_linked_exist() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\((?!http|#|mailto)([^)#]+)", document.read_text("utf-8")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_python_files_that_are_named_exist() -> None:
    named = {
        (file.name, path)
        for file in DOCUMENTS
        for path in PYTHON_FILE.findall(file.read_text("utf-8"))
        if not path.startswith(EXAMPLES)
    }
    roots = (ROOT, PACKAGE)
    missing = [entry for entry in named if not any((root / entry[1]).is_file() for root in roots)]
    assert named and not missing


def test_the_tree_of_the_architecture_names_every_module() -> None:
    text = ARCHITECTURE.read_text("utf-8")
    tree = re.findall(r"^```text\n(.*?)^```", text, re.M | re.S)[0]
    named = set(re.findall(r"\w+", tree))
    own = {"sets"}  # "a file a data set"
    modules = {
        file.stem
        for file in PACKAGE.rglob("*.py")
        if file.name != "__init__.py" and file.parent.name not in own
    }
    assert modules - named == {"alexnet_vs_vgg", "mlp_vs_cnn", "plain_vs_residual"}


def test_tests_that_are_named_exist() -> None:
    named = {
        (file.name, name)
        for file in DOCUMENTS
        for name in re.findall(r"`(test_\w+)`", file.read_text("utf-8"))
    }
    files = (ROOT / "tests").rglob("test_*.py")
    known = {
        name
        for file in files
        for name in re.findall(r"^(?:def )?(test_\w+)", file.read_text("utf-8"), re.M)
    }
    assert named and not [entry for entry in named if entry[1] not in known]
