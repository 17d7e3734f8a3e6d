"""The GPU check itself must run, so that the first minutes on a GPU are not lost: here on a CPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.gpu.check import LEFT_OUT_OF_TINY, LIMITS, wrong

ROOT = Path(__file__).parents[2]


def check(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.gpu.check", "--tiny", f"--out={out}", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
def test_every_step_of_the_dry_run_is_good(tmp_path: Path) -> None:
    done = check(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "check.json").read_text())
    assert set(found) == LIMITS.keys() - set(LEFT_OUT_OF_TINY)
    assert found["resume"]["default"]["bit_equal"]
    assert found["resume"]["default"]["exit_codes"] == [0, 143, 0]
    assert found["trouble"]["overflow"]["exit_code"] == 1
    assert found["throughput"]["strided bf16"]["images_per_second"] > 0
    assert len((tmp_path / "table.txt").read_text().splitlines()) > len(found)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "check.json",
        "check.log",
        "table.txt",
    ]


def test_a_step_past_its_limit_is_stopped_and_said(tmp_path: Path) -> None:
    done = check(tmp_path, "--only=cifar", "--minutes=0.001")
    assert done.returncode == 1
    assert "stopped at its limit" in done.stdout and "failed: cifar" in done.stdout


def test_an_error_anywhere_in_what_was_found_counts() -> None:
    assert wrong({"models": {"lenet5": {"loss": 1.0}, "mlp": {"error": "no test loss"}}})
    assert not wrong({"models": {"lenet5": {"loss": 1.0}}})
