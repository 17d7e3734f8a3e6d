"""Modules import only from what stands before them, and importing does nothing."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import strided
from strided.config.yaml_files import CONF_DIR

SRC = CONF_DIR.parent / "src"
PACKAGE = SRC / "strided"

# A package imports only from those to its left; the modules of one do not import in a circle.
ORDER = [
    "errors",
    "version",
    "pages",
    "dicom",
    "system",
    "config",
    "runs",
    "data",
    "models",
    "decision",
    "training",
    "evaluation",
    "serving",
    "audit",
    "access",
    "review",
    "export",
    "service",
    "shortcuts",
    "benchmark",
    "report",
    "explain",
    "compare",
    "loggers",
    "verbs",
    "jobs",
    "sweeps",
    "flags",
    "completion",
    "hydra_flags",
    "cli",
]
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


def part_of(name: str) -> str:
    """The entry of ORDER that a module belongs to: `data` of `strided.data.pixels.store`."""
    return name.split(".")[1]


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


MODULES = {
    ".".join(file.relative_to(SRC).with_suffix("").parts): file
    for file in sorted(PACKAGE.rglob("*.py"))
    if file.name != "__init__.py"
}


def test_a_package_imports_only_from_those_below_it() -> None:
    wrong = [
        f"{name} imports {other}"
        for name, file in MODULES.items()
        for other in imported(file)
        if ORDER.index(part_of(other)) > ORDER.index(part_of(name))
    ]
    assert not wrong


def test_the_order_names_each_package_once() -> None:
    assert sorted(ORDER) == sorted({part_of(name) for name in MODULES})


def test_no_module_imports_itself_through_others() -> None:
    graph = {name: set(imported(file)) for name, file in MODULES.items()}
    sorter = TopologicalSorter(graph)
    sorter.prepare()  # raises CycleError, which names the circle


def newly_loaded(statement: str, after: str = "pass") -> set[str]:
    """The top-level modules that a statement loads in a fresh interpreter, `after` another."""
    code = (
        f"import sys; {after}; before = set(sys.modules); {statement}; "
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    return set(run_python(code).split())


def run_python(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=SRC
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_line_starts_without_the_heavy_packages() -> None:
    assert not newly_loaded("import strided.cli").intersection(HEAVY)


def test_a_service_needs_no_torch() -> None:
    served = ("strided.serving", "strided.service")
    modules = ", ".join(name for name in MODULES if name.startswith(served))
    loaded = newly_loaded(f"import {modules}, strided.verbs.serve")
    assert not loaded.intersection((*HEAVY, "torchmetrics", "hydra", "onnx", "scipy"))


def test_decisions_need_numpy_alone() -> None:
    modules = ", ".join(name for name in MODULES if name.startswith("strided.decision"))
    others = ("hydra", "omegaconf", "torchmetrics", "scipy", "PIL")
    assert not newly_loaded(f"import {modules}").intersection((*HEAVY, *others))


def test_the_package_imports_next_to_nothing() -> None:
    assert not newly_loaded("import strided").intersection((*HEAVY, "hydra", "omegaconf", "yaml"))


def test_training_starts_without_what_only_some_runs_need(tmp_path: Path) -> None:
    # seed=-1 is refused by train itself, when all that it needs is there
    started = f"""
import gc, sys
from strided.cli import main
assert main(["train", "seed=-1", "log_dir={tmp_path}"]) == 1
print(*{{name.split(".")[0] for name in sys.modules}})
assert gc.isenabled()
assert gc.get_freeze_count() > 100_000
assert "torchmetrics.functional" not in sys.modules
"""
    used = """
import torchmetrics
from lightning.pytorch.utilities.types import Metric
from torchmetrics.functional import accuracy
metric = torchmetrics.MetricCollection([torchmetrics.MeanMetric()])["MeanMetric"]
metric.update(2.0)
assert isinstance(metric, Metric)
assert metric.plot()[1].lines[0].get_ydata() == [2]
assert torchmetrics.metric.Metric is Metric
"""
    loaded = run_python(started + used).split()
    assert not {*loaded} & {*HEAVY, "scipy"} - {"torch", "lightning"}


def test_torchmetrics_of_another_layout_is_imported_whole(tmp_path: Path) -> None:
    whole = tmp_path / "torchmetrics"
    utilities = whole / "utilities"
    utilities.mkdir(parents=True)
    (whole / "__init__.py").write_text("class Metric: pass\nimport torchmetrics.utilities")
    (utilities / "__init__.py").write_text("from torchmetrics import Metric")
    (utilities / "plot.py").write_text("")
    run_python(f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from strided.system.late_torchmetrics import import_torchmetrics
import_torchmetrics()
import torchmetrics
assert torchmetrics.utilities.Metric is torchmetrics.Metric
""")


def test_threads_that_start_at_once_have_all_that_lightning_takes_of_torchmetrics() -> None:
    run_python("""
import sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from strided.system.late_torchmetrics import import_torchmetrics

def taken(late):
    while late and "torchmetrics" not in sys.modules:
        time.sleep(0.001)
    import_torchmetrics()
    from torchmetrics import Metric
    return Metric

with ThreadPoolExecutor(2) as pool:
    first, second = pool.map(taken, (False, True))
assert first is second
""")


@pytest.mark.parametrize(
    "name",
    [f"strided{part}" for part in ("", ".data", ".explain", ".loggers", ".models", ".training")],
)
def test_all_lists_what_is_there_and_public(name: str) -> None:
    module = importlib.import_module(name)
    public = [str(entry) for entry in vars(module)["__all__"]]
    assert len(set(public)) == len(public)
    assert all(hasattr(module, entry) for entry in public)


def test_a_name_in_an_init_is_listed_in_its_all() -> None:
    for package in ("data", "explain", "loggers", "models", "training"):
        tree = ast.parse((PACKAGE / package / "__init__.py").read_text(encoding="utf-8"))
        later = [node for part in tree.body if isinstance(part, ast.If) for node in part.body]
        found = {
            alias.asname or alias.name
            for node in (*tree.body, *later)
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("strided")
            for alias in node.names
        }
        assert found == set(importlib.import_module(f"strided.{package}").__all__)


def test_the_version_is_that_of_the_project() -> None:
    import tomllib

    project = tomllib.loads((SRC.parent / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["version"] == strided.__version__
