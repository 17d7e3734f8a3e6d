"""notebooks/*.ipynb: each cell runs, in order, as Jupyter would run it."""

import ast
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from strided.cli import main
from strided.config.yaml_files import CONF_DIR
from strided.jobs.trained_run import TrainedRun
from strided.runs import folder

ROOT = CONF_DIR.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def cells(notebook: Path, kind: str) -> dict[str, str]:
    """The text of each cell of a kind, by its id."""
    content = json.loads(notebook.read_text("utf-8"))
    return {cell["id"]: "".join(cell["source"]) for cell in content["cells"]
            if cell["cell_type"] == kind}  # fmt: skip


def command(line: str, names: dict[str, Any]) -> list[str]:
    """The words of `!strided verb {run.folder}`, with what stands in braces filled in."""
    filled = re.sub(r"\{(.*?)\}", lambda found: str(eval(found[1], names)), line[1:])
    program, *words = shlex.split(filled)
    assert program == "strided"
    return words


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Run a cell; return the value that Jupyter would show, None without one.

    Commands come after all Python of their cell.
    """
    lines = source.splitlines()
    tree = ast.parse("\n".join(line for line in lines if not line.startswith("!")))
    last = tree.body[-1] if tree.body else None
    value = None
    if isinstance(last, ast.Expr):
        exec(compile(ast.Module(tree.body[:-1], []), "cell", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    else:
        exec(compile(tree, "cell", "exec"), names)
    for line in lines:
        if line.startswith("!"):
            assert main(command(line, names)) == 0
    return value


@pytest.mark.usefixtures("blank_figures")
def test_the_first_steps_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(folder, "IS_CHECKOUT", False)  # logs/ is then in the current directory
    names: dict[str, Any] = {}
    shown = {
        name: run_cell(source, names)
        for name, source in cells(ROOT / "notebooks" / "first_steps.ipynb", "code").items()
    }
    assert (
        isinstance(shown["train"], TrainedRun) and "Test accuracy" in shown["train"]._repr_html_()
    )
    assert shown["report"].is_file() and shown["look"]["splits"]["test"] == 359
    assert names["answer"].label == "7"
    with shown["sheet"] as sheet:
        assert sheet.convert("RGB").size > (100, 100)
    assert len(list(tmp_path.glob("logs/multirun/first_steps/*/[0-9]/results.json"))) == 4
    assert {file.name for file in tmp_path.iterdir()} == {"logs", "digit.png"}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda file: file.stem)
def test_no_output_is_stored_and_links_lead_somewhere(notebook: Path) -> None:
    content = json.loads(notebook.read_text("utf-8"))
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in content["cells"])
    for text in cells(notebook, "markdown").values():
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", text):
            assert (notebook.parent / target).exists(), target
