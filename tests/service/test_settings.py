"""A service that cannot begin says why: what was given, what was expected, what to try."""

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from strided.cli import main
from strided.config.compose import compose
from strided.service.settings import Settings
from strided.system.machine import cores


def settings_of(*words: str) -> Settings:
    return Settings.of(compose("serve", ["bundle=registry/digits", *words]), Path("logs/digits"))


def test_the_defaults_fit_this_machine() -> None:
    settings = settings_of()
    assert settings.sessions == cores() and settings.batch is None
    assert settings.body == 25 * 2**20 and settings.pixels == 36_000_000
    assert settings.dicom.pixels == settings.pixels and settings.dicom.seconds == 2
    assert settings_of("limits.pixels=36e6") == settings
    assert settings_of("host=localhost").host == "127.0.0.1"
    assert settings.protection.enabled and settings.protection.state == Path("logs/digits/state")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("host=0.0.0.0", "host=0.0.0.0 without TLS"),
        ("host=0.0.0.0 access.enabled=false", "whoever reaches it could use it"),
        ("behind_proxy=true access.enabled=false", "whoever reaches the proxy could use"),
        ("host=strided.example", "host=strided.example is no address"),
        ("tls.cert=none.pem", "tls.cert=none.pem is no file"),
        ("behind_proxy=true proxy.addresses=[proxy]", "which is no address"),
        (f"tls.cert={__file__} tls.key={__file__}", "cannot be used ([SSL] PEM lib"),
        ("access.rate_per_minute=0", "access.rate_per_minute=0; expected 1 to"),
        ("access.jwt.issuer=a", "access.jwt without algorithm"),
        (
            "access.jwt={public_key:none.pem,algorithm:RS256,issuer:a,audience:b}",
            "is no public key",
        ),
        ("access.jwt={public_key:a,algorithm:HS256,issuer:a,audience:b}", "algorithm"),
        ("audit.url=postgresql+pg8000://a:hunter2@db/x", "audit.url has a password"),
        ("audit.url=mysql://a@db/x", "is no address of PostgreSQL through pg8000"),
        ("audit.anchor=/nowhere/anchor.txt", "a folder that is not there"),
        ("review.keep_hours=0", "review.keep_hours=0; expected 0.0001 to 8,760"),
        ("drift.accuracy_floor=90", "drift.accuracy_floor=90; expected 0 to 1"),
        ("review.export=/dev/null port=0", "review.export=/dev/null cannot be written"),
        ("port=70000", "port=70000; expected 0 to 65,535. Try port=8000"),
        ("sessions=0", "sessions=0; expected 1 to"),
        ("sessions=few", "sessions=few does not fit; expected auto or a whole number"),
        ("batch.max=0", "batch.max=0; expected 1 to"),
        ("batch.max=65", "batch.max=65 with queue.images=64"),
        ("batch.window=2", "batch.window is no key of serve; expected one of batch.max"),
        ("limits.files=65", "Try queue.images=65"),
        ("limits.pixels=1e9", "limits.pixels=1000000000.0; expected 1 to 89,000,000"),
        ("queue.deadline_s=0", "queue.deadline_s=0; expected 0.1 to"),
        ("drain.delay_s=30", "leaves no time to finish"),
        ("runtime=tensorrt", "runtime=tensorrt does not fit; expected onnxruntime"),
    ],
)
def test_a_setting_out_of_its_range_is_refused(
    word: str, said: str, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", f"bundle={exported}", f"log_dir={tmp_path}", *word.split()]) == 1
    shown = capsys.readouterr().err
    assert said in shown and ("Try" in shown or "Did you mean" in shown)
    assert "hunter2" not in shown
    assert "Traceback" not in shown and len(shown.splitlines()) <= 15


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield int(other.getsockname()[1])


def test_a_port_that_is_taken_is_named(
    exported: Path, tmp_path: Path, taken_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"bundle={exported}", f"log_dir={tmp_path}", f"port={taken_port}"]
    assert main(["serve", *words]) == 1
    shown = capsys.readouterr().err
    assert f"port={taken_port} cannot be listened on" in shown and "Try port=" in shown


def test_a_bundle_that_cannot_be_used_ends_the_start(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = Path(shutil.copytree(exported / "1", tmp_path / "digits" / "1"))
    (damaged / "model.onnx").write_bytes(b"another")
    absent = tmp_path / "registry" / "nothing"
    odd = Path(shutil.copytree(exported / "1", tmp_path / "odd" / "1"))
    manifest = json.loads((odd / "manifest.json").read_text())
    manifest["classes"][0] = "M\udcf6we"  # of a folder in Latin-1
    (odd / "manifest.json").write_text(json.dumps(manifest))
    said_of = {
        odd: "whose name is not UTF-8",
        damaged: "is damaged or was changed",
        absent: "has no version; expected a bundle",
        exported.parent: f"Try bundle={exported}",
        exported / "7": "has no version 7; expected one of 1. Try bundle=",
    }
    for bundle, said in said_of.items():
        words = [f"bundle={bundle}", f"log_dir={tmp_path / 'logs'}", "port=0"]
        assert main(["serve", *words]) == 1
        shown = capsys.readouterr().err
        assert said in shown and "Traceback" not in shown
    assert {run.parent.name for run in tmp_path.glob("logs/serve/*/*")} == {
        "digits",
        "nothing",
        "odd",
        "registry",
    }
