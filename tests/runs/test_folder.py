import json
import logging
import math
import os
import re
import signal
import warnings
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml

from strided.cli import main
from strided.config.keys import Config
from strided.errors import UserError
from strided.runs.csv_files import write_csv
from strided.runs.folder import create_run_folder, read_config, read_results, write_config
from strided.runs.record import recorded
from strided.runs.results import Results
from strided.system.durable import write_json, write_text
from strided.system.signals import Interrupted, Interruption


def test_runs_of_the_same_second_get_different_folders(tmp_path: Path) -> None:
    folders = [create_run_folder(tmp_path / "mlp-digits") for _ in range(5)]
    assert len(set(folders)) == 5 and all(folder.is_dir() for folder in folders)
    names = [re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d(_\d)?", f.name) for f in folders]
    assert all(names)
    assert folders == sorted(folders)


def test_a_file_in_the_place_of_the_run_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("")
    with pytest.raises(UserError, match="Try log_dir="):
        create_run_folder(tmp_path / "logs" / "train")


def test_text_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    write_text(file, "before")
    with pytest.raises(UnicodeEncodeError):
        write_text(file, "long enough to be begun " * 10_000 + "\ud800")
    assert file.read_text() == "before"
    write_text(file, "Größe")
    assert file.read_bytes() == "Größe".encode()
    assert [entry.name for entry in tmp_path.iterdir() if entry.suffix != ".tmp"] == [file.name]


def test_the_type_of_results_has_the_keys_that_runs_have_written() -> None:
    files = list((Path(__file__).parents[1] / "data" / "run_0_1").rglob("results.json"))
    found = {key for file in files for key in json.loads(file.read_text())}
    assert {key for key in found if "/" not in key} <= get_type_hints(Results).keys()
    assert "fit_finished" in found


def test_a_csv_row_is_given_by_column_or_in_order(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9.png")  # a name that is not UTF-8
    write_csv(tmp_path / "t.csv", ["path", "acc"], [{"acc": 0.5}, [odd, None], {"path": "a,b\n"}])
    assert (tmp_path / "t.csv").read_bytes() == b'path,acc\n,0.5\ncaf\xe9.png,\n"a,b\n",\n'
    with pytest.raises(ValueError, match="acuracy"):
        write_csv(tmp_path / "t.csv", ["path", "acc"], [{"acuracy": 0.5}])


def test_a_reader_of_the_old_file_keeps_it(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "old")
    with (tmp_path / "file").open() as stream:
        write_text(tmp_path / "file", "new")
        assert stream.read() == "old"  # replaced, not overwritten
    assert (tmp_path / "file").read_text() == "new"


def test_numbers_that_are_not_finite_become_null(tmp_path: Path) -> None:
    values = {"a": math.nan, "b": [1.0, math.inf, (-math.inf,)], "c": {"d": math.nan}, "e": 0}
    write_json(tmp_path / "results.json", values)
    text = (tmp_path / "results.json").read_text()
    assert "NaN" not in text and "Infinity" not in text
    assert json.loads(text) == {"a": None, "b": [1.0, None, [None]], "c": {"d": None}, "e": 0}


def test_config_and_overrides_survive_a_round_trip(tmp_path: Path) -> None:
    config: Config = {"name": "Käse", "data": {"root": "a folder, with=signs", "mean": None}}
    write_config(tmp_path, config, ["data.root='a folder, with=signs'"])
    assert read_config(tmp_path) == config
    typed = yaml.safe_load((tmp_path / "overrides.yaml").read_text())
    assert typed == ["data.root='a folder, with=signs'"]


@pytest.mark.parametrize("content", [None, "[1, 2]", "a: [", b"\xff\xfe\x00"])
def test_a_folder_without_a_readable_config_is_refused(
    tmp_path: Path, content: str | bytes | None
) -> None:
    if content is not None:
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / "config.yaml").write_bytes(data)
    with pytest.raises(UserError, match="expected"):
        read_config(tmp_path)


def test_results_of_a_finished_run_say_so(tmp_path: Path) -> None:
    with recorded(tmp_path, ["model=mlp"]) as results:
        results["test/acc"] = 0.5
    kept = read_results(tmp_path)
    assert (kept["state"], kept["test/acc"], kept["command"]) == ("finished", 0.5, ["model=mlp"])
    assert kept["versions"]["torch"] and kept["hardware"]["cpu"] and set(kept["git"])


def run_that_ends_with(error: BaseException, folder: Path) -> None:
    with recorded(folder, ["seed=1"]) as results:
        results["best_epoch"] = 3
        raise error


@pytest.mark.parametrize(
    ("error", "state", "message"),
    [
        (UserError("data.root=x; expected y. Try z"), "failed", "data.root=x; expected y. Try z"),
        (ZeroDivisionError("of a thing"), "failed", "ZeroDivisionError: of a thing"),
        (Interrupted(signal.SIGTERM), "interrupted", None),
        (KeyboardInterrupt(), "interrupted", None),
    ],
)
def test_results_are_written_however_a_run_ends(
    tmp_path: Path, error: BaseException, state: str, message: str | None
) -> None:
    with pytest.raises(type(error)):
        run_that_ends_with(error, tmp_path)
    kept = read_results(tmp_path)
    assert (kept["state"], kept["best_epoch"]) == (state, 3)
    assert kept.get("error") == message
    assert "Traceback" in (tmp_path / "run.log").read_text()


def test_a_later_session_adds_to_the_results_of_an_earlier_one(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        run_that_ends_with(RuntimeError("first"), tmp_path)
    with recorded(tmp_path, ["resume=..."]) as results:
        assert results["best_epoch"] == 3
    kept = read_results(tmp_path)
    assert kept["state"] == "finished" and "error" not in kept and kept["command"] == ["seed=1"]


def test_run_log_holds_what_the_terminal_showed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings(), recorded(tmp_path, []):
        warnings.simplefilter("default")
        logging.getLogger("strided.verbs.train").info("epoch 0")
        warnings.warn("something odd", UserWarning, stacklevel=1)
    shown = capsys.readouterr().out
    assert shown == (tmp_path / "run.log").read_text()
    assert shown.splitlines() == ["epoch 0", "warning: something odd"]


def test_logging_is_put_back_after_a_run(tmp_path: Path) -> None:
    logger = logging.getLogger("strided")
    with recorded(tmp_path, []):
        assert not logger.propagate
    assert logger.propagate and not logger.handlers


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_outside_fit_stops_at_once(number: signal.Signals, code: int) -> None:
    with pytest.raises(Interrupted) as stop, Interruption().listening():
        os.kill(os.getpid(), number)
    assert stop.value.exit_code == code


def two_signals_within_fit(done: list[Any]) -> None:
    with Interruption().listening() as interruption, interruption.deferring():
        os.kill(os.getpid(), signal.SIGTERM)
        done.append(interruption.requested)
        os.kill(os.getpid(), signal.SIGTERM)
        done.append("never reached")


def test_the_first_signal_within_fit_waits_and_the_second_does_not() -> None:
    done: list[Any] = []
    with pytest.raises(Interrupted):
        two_signals_within_fit(done)
    assert done == [signal.SIGTERM]


def test_a_signal_after_the_last_save_still_stops_the_run() -> None:
    with (
        pytest.raises(Interrupted) as stop,
        Interruption().listening() as interruption,
        interruption.deferring(),
    ):
        os.kill(os.getpid(), signal.SIGINT)
    assert stop.value.exit_code == 130


def test_signal_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interruption().listening():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    "name", ["../x", "/tmp/x", "a/../../x", "..", "a//b", "a\\..\\b", "C:x", "a\x1bb"]
)
@pytest.mark.parametrize("multirun", [(), ("-m", "seed=0,1")])
def test_a_name_does_not_lead_out_of_log_dir(
    name: str, multirun: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log_dir = tmp_path / "a" / "b" / "logs"
    own = tmp_path / "mine" / "experiment"
    own.mkdir(parents=True)
    text = "# @package _global_\n" + yaml.safe_dump({"name": name})
    (own / "theirs.yaml").write_text(text)
    words = ["--config-dir", str(own.parent), "experiment=theirs", f"log_dir={log_dir}"]
    assert main(["train", *multirun, *words]) == 1
    assert "leads out of log_dir" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]
