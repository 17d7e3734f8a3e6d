"""What a terminal, a pipe and run.log get to see of a run: with -q, with nothing and with -v."""

import os
import pty
import re
import shlex
import sys
import termios
from pathlib import Path

import pytest
from PIL import Image
from tests.conftest import TINY
from tests.reading import only_run, run_log

from strided.cli import main
from strided.config.yaml_files import CONF_DIR

pytestmark = pytest.mark.usefixtures("blank_figures")

ROOT = CONF_DIR.parent
ENDS = ["test accuracy", "report: ", "next: "]
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def said(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """The lines that a command prints to standard output."""
    capsys.readouterr()
    assert main(list(words)) == 0
    shown = capsys.readouterr()
    assert not CONTROL.search(shown.out + shown.err)
    return shown.out.splitlines()


def test_a_run_says_what_it_is_made_of_and_ends_with_what_came_out(
    log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = said(capsys, "train", *TINY, "optimizer.lr=0.003", f"log_dir={log_dir}")
    text = " ".join(line.strip() for line in shown[:2])
    assert "data=digits  model=lenet5  optimizer=adam (lr=0.003)" in text
    assert "trainer=cpu (max_epochs=1)" in text
    assert shown.count("c3      Conv2d     16x10x10       2,416") == 1
    folder = only_run(log_dir)
    assert [line.startswith(end) for line, end in zip(shown[-3:], ENDS, strict=True)] == [True] * 3
    assert shown[-2] == f"report: {folder / 'report.html'}" and (folder / "report.html").is_file()
    assert shown[2:] == run_log(folder).splitlines()


def test_the_next_command_works(
    trained_run: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = said(capsys, "eval", f"checkpoint={trained_run}", f"log_dir={log_dir}")
    (folder,) = log_dir.glob("eval/*/*")
    assert shown[-2] == f"results: {folder}"
    program, launcher, checkpoint, given = shlex.split(shown[-1].removeprefix("next: "))
    assert program == "python" and (Path.cwd() / launcher).is_file()
    assert checkpoint == f"checkpoint={trained_run}" and given == "input=photos/"
    assert main([Path(launcher).stem, checkpoint, "layer=?", f"log_dir={log_dir}"]) == 0


def test_predict_says_where_the_classes_of_the_other_images_are(
    trained_run: Path, tmp_path: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(7):
        Image.new("L", (8, 8), 30 * number).save(tmp_path / f"{number}.png")
    words = (f"checkpoint={trained_run}", f"input={tmp_path}")
    shown = said(capsys, "predict", *words, f"log_dir={log_dir}")
    (folder,) = log_dir.glob("predict/*/*")
    assert shown[-5].startswith("4.png: ")
    assert shown[-4:-1] == [
        "... and 2 more in predictions.csv",
        f"7 images in {tmp_path}",
        f"predictions: {folder / 'predictions.csv'}",
    ]
    assert shown[-1].endswith(f"src/explain.py {shlex.join(words)}")


def test_quiet_shows_only_what_came_out_but_the_log_has_all(
    log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = said(capsys, "train", "-q", *TINY, f"log_dir={log_dir}")
    assert [line.split(":")[0].split(" 0.")[0] for line in shown] == ["test accuracy", "report"]
    log = run_log(only_run(log_dir))
    assert "\nepoch 0/0 " in log and "Conv2d" in log and log.rstrip().endswith("input=photos/")


def test_verbose_shows_the_whole_config_and_every_layer(
    log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = said(capsys, "train", "-v", *TINY, "debug=fast_dev_run", f"log_dir={log_dir}")
    assert "  _target_: torch.optim.Adam" in shown
    assert any(line.split()[:2] == ["activation", "Tanh"] for line in shown)


def test_quiet_and_verbose_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "-q", "-v"]) == 1
    assert "not allowed with" in capsys.readouterr().err


def test_a_terminal_has_a_live_bar_and_keeps_one_line_an_epoch(log_dir: Path) -> None:
    command = [sys.executable, str(ROOT / "src" / "train.py"), *TINY, f"log_dir={log_dir}"]
    written = in_terminal([*command, "trainer.max_epochs=2"])
    assert re.search(r"epoch 0 .*\d+%\|.*\| .*images/s\r", written)
    kept = [line for line in screen(written) if "epoch" in line and "|" in line]
    assert kept == []
    kept = [line for line in screen(written) if line.startswith("epoch ")]
    assert [line.split()[:2] for line in kept] == [["epoch", "0/1"], ["epoch", "1/1"]]
    assert "\r" not in run_log(only_run(log_dir))


def in_terminal(command: list[str]) -> str:
    """What a command writes to a terminal, its standard output and error."""
    child, terminal = pty.fork()
    if child == 0:
        os.execvp(command[0], command)
    termios.tcsetwinsize(terminal, (40, 100))
    written = b""
    while True:
        try:
            read = os.read(terminal, 65536)
        except OSError:  # Linux: the other end was closed
            break
        if not read:
            break
        written += read
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, written
    return written.decode()


def screen(written: str) -> list[str]:
    """The lines that are on the terminal in the end: a carriage return writes over a line."""
    lines = []
    for line in written.replace("\r\n", "\n").split("\n"):
        shown = ""
        for part in line.split("\r"):
            shown = part + shown[len(part) :]
        lines.append(shown.rstrip())
    return lines
