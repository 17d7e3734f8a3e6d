"""Modules import only from what stands before them, and importing does nothing."""

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import strided
from strided.config import CONF_DIR

SRC = CONF_DIR.parent / "src"
PACKAGE = SRC / "strided"

# The table of docs/architecture.md has the modules in order; a package stands for all its modules.
TABLE = re.findall(
    r"^\| (`[a-z]+[./].*?) \|", (SRC.parent / "docs/architecture.md").read_text(), re.MULTILINE
)
ORDER = [name for row in TABLE for name in re.findall(r"`([a-z]+)(?:\.py|/)`", row)]
HEAVY = (
    "torch",
    "torchvision",
    "lightning",
    "timm",
    "sklearn",
    "matplotlib",
    "captum",
    "pandas",
    "wandb",
    "mlflow",
    "tensorboard",
)


def part_of(file: Path) -> str:
    """The entry of ORDER that a file belongs to."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(file: Path) -> Iterator[str]:
    """The modules of strided that a file imports anywhere, functions included."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            names = [str(node.module)]
            if node.module == "strided":
                names = [f"strided.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.startswith("strided."))


FILES = sorted(file for file in PACKAGE.rglob("*.py") if file != PACKAGE / "__init__.py")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_modules_import_only_from_what_stands_before(file: Path) -> None:
    own = ORDER.index(part_of(file))
    for name in imported(file):
        other = name.split(".")[1]
        if other == "__version__":
            continue
        assert ORDER.index(other) <= own, f"{file.name} imports {name}"


@pytest.mark.parametrize("package", ["compare", "data", "explain", "loggers", "models", "report"])
def test_the_modules_of_a_package_do_not_import_in_a_circle(package: str) -> None:
    graph = {
        f"strided.{package}.{file.stem}": set(imported(file))
        for file in (PACKAGE / package).glob("*.py")
        if file.stem != "__init__"
    }

    def reachable(name: str, seen: frozenset[str]) -> None:
        assert name not in seen, f"{name} imports itself through {sorted(seen)}"
        for other in graph.get(name, ()):
            reachable(other, seen | {name})

    for name in graph:
        reachable(name, frozenset())


def test_the_order_names_each_module_once() -> None:
    assert sorted(ORDER) == sorted({part_of(file) for file in FILES})


def newly_loaded(statement: str, after: str = "pass") -> set[str]:
    """The top-level modules that a statement loads in a fresh interpreter, `after` another."""
    code = (
        f"import sys; {after}; before = set(sys.modules); {statement}; "
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=SRC
    )
    return set(done.stdout.split())


def test_the_command_line_starts_without_the_heavy_packages() -> None:
    assert not newly_loaded("import strided.cli").intersection(HEAVY)


def test_the_package_imports_next_to_nothing() -> None:
    assert not newly_loaded("import strided").intersection((*HEAVY, "hydra", "omegaconf", "yaml"))


def test_training_starts_without_what_only_some_runs_need() -> None:
    # Lightning imports torchmetrics, which imports some of these itself where they are installed
    loaded = newly_loaded("import strided.training", after="import lightning.pytorch")
    assert not loaded.intersection(HEAVY) - {"torch", "lightning"}


@pytest.mark.parametrize(
    "name",
    [f"strided{part}" for part in ("", ".data", ".explain", ".loggers", ".models", ".report")],
)
def test_all_lists_what_is_there_and_public(name: str) -> None:
    module = importlib.import_module(name)
    public = [str(entry) for entry in vars(module)["__all__"]]
    assert len(set(public)) == len(public)
    assert all(hasattr(module, entry) for entry in public)


def test_a_name_in_an_init_is_listed_in_its_all() -> None:
    for package in ("data", "explain", "loggers", "models", "report"):
        tree = ast.parse((PACKAGE / package / "__init__.py").read_text(encoding="utf-8"))
        found = {
            alias.asname or alias.name
            for node in tree.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        assert found == set(importlib.import_module(f"strided.{package}").__all__)


def test_the_version_is_that_of_the_project() -> None:
    import tomllib

    project = tomllib.loads((SRC.parent / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["version"] == strided.__version__
