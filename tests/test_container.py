"""The container and its neighbours, as far as that shows without an engine."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

import strided
from strided.config.yaml_files import CONF_DIR

ROOT = CONF_DIR.parent
LINES = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ").splitlines()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]


def of(directive: str) -> list[str]:
    """What stands behind a directive of the Dockerfile."""
    pairs = (line.partition(" ") for line in LINES)
    return [rest for name, _, rest in pairs if name == directive]


def test_the_commands_of_the_image_and_of_its_neighbour_compose() -> None:
    commands = [json.loads(of("CMD")[0]), SERVICES["service"]["command"]]
    (entry,) = of("ENTRYPOINT")
    assert json.loads(entry) == ["/opt/strided/bin/strided"]
    for verb, *words in commands:
        config = strided.compose(verb, words)
        assert config["access"]["enabled"] and config["state"] == "/state"
    assert set(commands[0]) < set(commands[1])
    assert "strided@db/strided" in str(config["audit"]["url"])


def test_the_image_has_all_that_serve_asks_for_in_the_versions_that_were_tried() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    (install,) = [line for line in of("RUN") if "--requirement" in line]
    assert "--constraint constraints.txt" in install
    files = [ROOT / "requirements-serve.txt", ROOT / "constraints.txt"]
    serve, pinned = ([*map(str.strip, file.read_text().splitlines())] for file in files)
    named = [line for line in serve if line and not line.startswith("#")]
    installed = {Requirement(line).name.lower() for line in named}
    installed |= {*install.partition("requirements-serve.txt")[2].split()}
    for extra in ("serve", "postgres", "dicom"):
        assert {Requirement(line).name.lower() for line in extras[extra]} <= installed
    versions = {line.partition("==")[0].lower().replace("_", "-") for line in pinned}
    assert installed <= versions and "torch" not in installed


def test_what_is_copied_is_there_and_reaches_the_build() -> None:
    copied = [line.split()[:-1] for line in of("COPY") if not line.startswith("--from")]
    names = [name for line in copied for name in line]
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*" and {line[1:] for line in ignored if line[0] == "!"} == set(names)
    assert all((ROOT / name).exists() for name in names)


def test_nothing_runs_as_root_or_writes_to_its_own_files() -> None:
    assert of("USER") == ["10001:10001"]
    for name, service in SERVICES.items():
        assert service["read_only"] and service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged") and not service.get("cap_add"), name
    assert "ports" not in SERVICES["db"] and SERVICES["db"]["networks"] == ["database"]
    assert COMPOSE["networks"]["database"] == {"internal": True}


def test_secrets_are_files() -> None:
    text = (ROOT / "deploy" / "compose.yaml").read_text("utf-8")
    assert not re.search(r"PASSWORD\w*(?<!_FILE): ", text)
    assert all(list(secret) == ["file"] for secret in COMPOSE["secrets"].values())
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert "/deploy/secrets/" in ignored


def test_the_image_asks_itself_in_python() -> None:
    (check,) = of("HEALTHCHECK")
    program, flag, code = json.loads(check.partition("CMD ")[2])
    assert (program, flag) == ("/opt/strided/bin/python", "-c")
    compile(code, "HEALTHCHECK", "exec")
    assert "/livez" in code


def test_docker_compose_reads_the_file(tmp_path: Path) -> None:
    if shutil.which("docker-compose") is None:
        pytest.skip("docker-compose is not installed")
    command = ["docker-compose", "-f", str(ROOT / "deploy" / "compose.yaml"), "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
