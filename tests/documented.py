"""Every command that the project shows its readers: where it stands, and what kind it is."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from strided.config.yaml_files import CONF_DIR
from strided.verbs.table import VERBS

ROOT = CONF_DIR.parent
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
COMMENTED = [*sorted(CONF_DIR.rglob("*.yaml")), *sorted((ROOT / "docs").glob("*.yaml"))]
LAUNCHERS = [ROOT / "src" / f"{verb}.py" for verb in VERBS]

PROGRAMS = (
    *("docker", "export", "git", "make", "mlflow", "pip", "pre-commit", "pytest", "python"),
    *("source", "srun", "strided", "tensorboard", "torchrun", "wandb"),
)
STARTS = re.compile(rf"(?:{'|'.join(PROGRAMS)}) \S")
STRIDED = re.compile(r"(?:python src/(\w+)\.py|strided (\w+))(?: (.*))?$")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
SPAN = re.compile(r"`([^`]+)`")
IN_COMMENT = re.compile(r"#.*?((?:python src/\w+\.py|wandb sweep) (?:,(?! )|[^,\n])*)")


def one_line(text: str) -> str:
    """Join the lines of a command: those that end in a backslash, and those of a paragraph."""
    return " ".join(text.replace("\\\n", " ").split())


def commands_of_page(text: str) -> Iterator[str]:
    """The commands of a Markdown page: each line of a shell's block, and code that begins one."""
    for language, block in FENCE.findall(text):
        if language in ("bash", "sh", "console"):
            lines = block.replace("\\\n", " ").splitlines()
            yield from (line for line in lines if line.strip() and not line.startswith("#"))
        elif language == "yaml":
            yield from IN_COMMENT.findall(block)
    outside = FENCE.sub("", text).replace("\\\n", " ")
    indented = [line[4:] for line in outside.splitlines() if line.startswith("    ")]
    paragraphs = "\n".join(line for line in outside.splitlines() if not line.startswith("    "))
    spans = [span for part in re.split(r"\n\n+", paragraphs) for span in SPAN.findall(part)]
    yield from (code for code in map(one_line, (*indented, *spans)) if STARTS.match(code))


def shown() -> dict[str, list[str]]:
    """Each command that is shown, in one line, with the files that show it."""
    found: dict[str, list[str]] = {}

    def add(file: Path, commands: Iterator[str]) -> None:
        for command in commands:
            for part in one_line(command).split(" && "):
                found.setdefault(part, []).append(file.relative_to(ROOT).as_posix())

    for page in PAGES:
        add(page, commands_of_page(page.read_text("utf-8")))
    for file in COMMENTED:
        add(file, iter(IN_COMMENT.findall(file.read_text("utf-8"))))
    for file in LAUNCHERS:
        docstring = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
        add(file, (line.partition(": ")[2].rstrip(".") for line in docstring.splitlines()))
    table = ROOT / "src" / "strided" / "verbs" / "table.py"
    for verb in VERBS.values():
        add(table, iter(verb.examples))
    return found
