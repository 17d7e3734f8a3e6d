"""Versions are whole, never change, and one of them answers."""

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import contents

from strided.errors import UserError
from strided.serving import activate
from strided.serving.registry import active_version, model_folder, register, versions


@pytest.fixture
def prepared(exported: Path, tmp_path: Path) -> Path:
    """The files of a version without its manifest."""
    folder = Path(shutil.copytree(exported / "1", tmp_path / "prepared"))
    (folder / "manifest.json").unlink()
    return folder


@pytest.fixture
def manifest(exported: Path) -> Any:
    """The manifest of a version with another number."""
    content = json.loads((exported / "1" / "manifest.json").read_text())
    return lambda version: {**content, "version": version}


def test_versions_count_from_1_and_the_first_answers(
    prepared: Path, manifest: Any, tmp_path: Path
) -> None:
    model = tmp_path / "registry" / "mine"
    first = register(model, prepared, manifest)
    before = contents(first)
    second = register(model, prepared, manifest)
    assert (first.name, second.name, versions(model)) == ("1", "2", [1, 2])
    assert json.loads((second / "manifest.json").read_text())["version"] == 2
    assert active_version(model) == 1 and contents(first) == before
    activate(model, 2)
    assert active_version(model) == 2
    assert "versions: [ 2 ]" in (model / "config.pbtxt").read_text()
    with pytest.raises(UserError, match="no version 3"):
        activate(model, 3)
    second.rename(model / "7")
    activate(model, 7)
    assert "versions: [ 7 ]" in (model / "config.pbtxt").read_text()
    (model / "8").touch()  # no version, and in the way of one
    assert register(model, prepared, manifest).name == "9"


def test_versions_written_at_once_do_not_collide(
    prepared: Path, manifest: Any, tmp_path: Path
) -> None:
    model = tmp_path / "registry" / "mine"
    writers = [
        threading.Thread(target=register, args=(model, prepared, manifest)) for _ in range(5)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert versions(model) == [1, 2, 3, 4, 5]
    for version in versions(model):
        content = json.loads((model / str(version) / "manifest.json").read_text())
        assert content["version"] == version


def test_a_killed_export_leaves_no_version(prepared: Path, manifest: Any, tmp_path: Path) -> None:
    model = tmp_path / "registry" / "mine"

    def killed(version: int) -> dict[str, Any]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        register(model, prepared, killed)
    assert versions(model) == [] and (model / ".unfinished").is_dir()
    (model / ".unfinished" / "left_over.bin").write_bytes(b"x")
    version = register(model, prepared, manifest)
    assert version.name == "1" and not (version / "left_over.bin").exists()
    assert not (model / ".unfinished").exists()


def test_a_damaged_version_does_not_get_to_answer(
    prepared: Path, manifest: Any, tmp_path: Path
) -> None:
    model = tmp_path / "registry" / "mine"
    register(model, prepared, manifest)
    network = register(model, prepared, manifest) / "model.onnx"
    network.write_bytes(network.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match=r"2/model\.onnx is damaged"):
        activate(model, 2)
    assert active_version(model) == 1


@pytest.mark.parametrize("lead", [os.mkfifo, lambda lock: lock.symlink_to("../../stolen")])
def test_a_lock_leads_nowhere(
    lead: Callable[[Path], None], prepared: Path, manifest: Any, tmp_path: Path
) -> None:
    model = tmp_path / "registry" / "mine"
    register(model, prepared, manifest)
    (model / ".lock").unlink()
    lead(model / ".lock")
    for change in (lambda: activate(model, 1), lambda: register(model, prepared, manifest)):
        with pytest.raises(UserError, match=r"\.lock is a link, folder, pipe"):
            change()
    assert versions(model) == [1] and not (tmp_path / "stolen").exists()


def test_a_registry_that_may_not_be_written_is_named(
    prepared: Path, manifest: Any, tmp_path: Path
) -> None:
    model = tmp_path / "registry" / "mine"
    register(model, prepared, manifest)
    (model / "config.pbtxt").unlink()
    (model / "config.pbtxt").mkdir()  # root may write what others may not
    with pytest.raises(UserError, match="mine cannot be changed"):
        activate(model, 1)


@pytest.mark.parametrize("content", ["{}", '{"version": 7}', '{"version": "1"}', "{", "[1]"])
def test_a_wrong_active_json_is_refused(
    content: str, prepared: Path, manifest: Any, tmp_path: Path
) -> None:
    model = tmp_path / "registry" / "mine"
    register(model, prepared, manifest)
    (model / "active.json").write_text(content)
    with pytest.raises(UserError, match=r"active\.json names no version"):
        active_version(model)


def test_a_name_without_versions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no version"):
        active_version(tmp_path / "nothing")


@pytest.mark.parametrize(
    "given", ["digits", "registry/..", "registry/.hidden", "r/a b", "/", "r/2"]
)
def test_a_name_is_one_of_a_folder_in_a_registry(given: str) -> None:
    with pytest.raises(UserError, match="bundle="):
        model_folder(given)
    assert model_folder("registry/digits").name == "digits"


def test_a_version_or_a_file_is_no_place_for_a_bundle(exported: Path, tmp_path: Path) -> None:
    for within in ("2", "1", "1/mine"):
        with pytest.raises(UserError, match="lies within a bundle"):
            model_folder(exported / within, "gate")
    (tmp_path / "file").touch()
    for given in (tmp_path / "file", tmp_path / "file" / "digits"):
        with pytest.raises(UserError, match="is a file"):
            model_folder(given)


@pytest.mark.parametrize("version", [True, "1", 1.0, 0])
def test_only_the_number_of_a_version_is_activated(version: Any, exported: Path) -> None:
    with pytest.raises(UserError, match="has no version"):
        activate(exported, version)
