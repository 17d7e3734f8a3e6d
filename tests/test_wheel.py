"""What users install: built, unpacked elsewhere, and run from another directory."""

import os
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

from strided.config.yaml_files import CONF_DIR

ROOT = CONF_DIR.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run([sys.executable, *build], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel was installed into."""
    target = tmp_path_factory.mktemp("installed")
    pip = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([sys.executable, *pip, str(wheel)], check=True, capture_output=True)
    return target


def test_the_wheel_has_the_package_with_its_yaml_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"strided", f"{'-'.join(wheel.name.split('-')[:2])}.dist-info"}
    assert "strided/py.typed" in names  # type checkers then read the annotations
    page = {name for name in names if name.startswith("strided/service/static/")}
    assert {name.rpartition(".")[2] for name in page} == {"html", "js", "css", "svg"}
    yaml = {name.removeprefix("strided/conf/") for name in names if name.endswith(".yaml")}
    assert yaml == {file.relative_to(CONF_DIR).as_posix() for file in CONF_DIR.rglob("*.yaml")}


def test_the_installed_command_trains_from_another_directory(
    installed: Path, tmp_path: Path
) -> None:
    command = installed / "bin" / "strided"
    done = subprocess.run(
        [sys.executable, str(command), "train", "debug=fast_dev_run", "trainer=cpu"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["logs"]
    (folder,) = tmp_path.glob("logs/train/lenet5-digits/*")
    assert (folder / "results.json").is_file()
    code = "import strided.config.yaml_files as c; print(c.CONF_DIR)"
    where = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(installed)},
    )
    assert where.stdout.strip() == str(installed / "strided" / "conf")


def test_the_requirements_hold_here(installed: Path) -> None:
    from importlib.metadata import Distribution

    from packaging.requirements import Requirement

    (found,) = Distribution.discover(name="strided", path=[str(installed)])
    for line in found.requires or ():
        requirement = Requirement(line)
        if requirement.marker is None:
            version = distribution(requirement.name).version
            assert requirement.specifier.contains(version), f"{line}, but {version} is here"
