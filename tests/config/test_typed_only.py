"""Addresses, keys and folders count only as typed: no file that a stranger wrote is obeyed."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import wandb
import yaml

from strided.cli import main
from strided.config.typed_only import found_in, may_be_axis, typed_keys
from strided.data import MNIST

pytestmark = pytest.mark.usefixtures("blank_figures")

KEY = "0123456789abcdef0123456789abcdef01234567"  # not anybody's
FAST = ("model=mlp", "data=digits", "data.train_fraction=0.2", "trainer=cpu")

Train = Callable[..., Path]


class Server:
    """A loopback server that notes what it is asked, and refuses it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked.append((self.path, str(self.headers)))
                self.send_response(403)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that gets no request unless it is typed; there is a W&B key to steal."""
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens: W&B goes offline
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    found = Server()
    yield found
    wandb.teardown()
    found.server.shutdown()
    found.server.server_close()


def loggers(address: str) -> dict[str, Any]:
    return {
        "wandb": {
            "_target_": "strided.loggers.WandbLogger",
            "init_timeout": 3.0,
            "settings": {"base_url": address},
        },
        "mlflow": {"_target_": "strided.loggers.MLflowLogger", "tracking_uri": address},
    }


def own_yaml(folder: Path, file: str, content: Any) -> Path:
    """Write a YAML of a folder for --config-dir; return that folder."""
    (folder / "own" / file).parent.mkdir(parents=True, exist_ok=True)
    head = "# @package _global_\n" if file.startswith("experiment") else ""
    (folder / "own" / file).write_text(head + yaml.safe_dump(content))
    return folder / "own"


def change(folder: Path, **changes: Any) -> None:
    """Change config.yaml of a run folder as a stranger would."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, **changes}))


def test_an_experiment_cannot_name_a_server_unless_its_folder_is_trusted(
    server: Server, tmp_path: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = own_yaml(tmp_path, "experiment/theirs.yaml", {"logger": loggers(server.address)})
    words = ["train", *FAST, "--config-dir", str(own), "experiment=theirs", f"log_dir={log_dir}"]
    words += ["trainer.max_epochs=1"]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert "sets logger." in said and "trust=[config-dir]" in said
    assert server.asked == [] and not log_dir.exists()
    assert main([*words, "trust=[config-dir]"]) == 0
    assert any("mlflow" in path for path, _ in server.asked)
    assert any("graphql" in path for path, _ in server.asked)


def test_the_config_of_a_run_cannot_name_a_server_and_typing_brings_it_back(
    server: Server, copied_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(copied_run, logger=loggers(server.address))
    assert main(["train", f"resume={copied_run}", "trainer.max_epochs=3"]) == 0
    said = capsys.readouterr().err
    assert f"logger.wandb.settings.base_url={server.address}" in said
    assert f"logger.mlflow.tracking_uri={server.address}" in said
    assert server.asked == []
    wandb.teardown()
    address = f"logger.wandb.settings.base_url={server.address}"
    assert main(["train", f"resume={copied_run}", "trainer.max_epochs=4", address]) == 0
    assert "left out" not in capsys.readouterr().err
    assert server.asked and "Authorization" in "".join(headers for _, headers in server.asked)


# what an attempt is told; a class or an argument that is not known is the greater fault
REFUSED = ("a YAML of --config-dir sets", "is not an argument", "is not allowed")


@pytest.mark.parametrize(
    "config",
    [
        {"log_dir": "/x"},
        {"log_dir": "${oc.env:HOME}"},
        {"data": {"cache_dir": "/x"}},
        {"sweep": {"wandb": {"_target_": "strided.loggers.WandbLogger", "entity": "x"}},
         "logger": "${sweep}"},
        {"logger": {"wandb": {"_target_": "strided.loggers.WandbLogger", "dir": "/x"}}},
        {"logger": {"wandb": {"_target_": "strided.loggers.WandbLogger", "id": "x"}}},
        {"logger": {"a": {"_target_": "lightning.pytorch.loggers.CSVLogger", "save_dir": "/x"}}},
        {"callbacks": {"a": {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint",
                             "dirpath": "/x"}}},
        {"callbacks": {"pruning": {"_target_": "strided.sweeps.search.pruning.Pruning",
                                   "trial": 0, "monitor": "val/acc", "journal": "/x"}}},
    ],
)  # fmt: skip
def test_an_experiment_cannot_name_a_folder_or_an_account(
    config: dict[str, Any], tmp_path: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = own_yaml(tmp_path, "experiment/theirs.yaml", config)
    more = [[], ["-m", "seed=0,1"], ["search=optuna", "optimizer.lr=0.1,0.2"]]
    for words in more[: 1 if "sweep" in config else 3]:
        theirs = ["train", "--config-dir", str(own), "experiment=theirs", *FAST]
        assert main([*theirs, *words]) == 1
        said = capsys.readouterr().err
        assert any(reason in said for reason in REFUSED)
    assert not log_dir.exists()


def test_an_address_to_read_from_counts_only_as_typed(
    server: Server, tmp_path: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"# @package _global_\ninput: {server.address}/a.png\nmodel: {{}}\n"
    own = own_yaml(tmp_path, "model/theirs.yaml", {})
    (own / "model" / "theirs.yaml").write_text(text)
    words = ["explain", "--config-dir", str(own), "model=theirs", f"log_dir={log_dir}"]
    assert main(words) == 1
    assert "sets input=" in capsys.readouterr().err
    assert server.asked == []


def test_a_folder_of_ones_own_yaml_counts_with_trust(tmp_path: Path, log_dir: Path) -> None:
    own = own_yaml(tmp_path, "experiment/mine.yaml", {"log_dir": str(log_dir)})
    words = ["train", "--config-dir", str(own), "experiment=mine", "debug=fast_dev_run"]
    assert main([*words, "trust=[config-dir]"]) == 0
    assert log_dir.is_dir()


def test_that_trust_is_no_package_and_no_file_gives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config-dir.py").write_text("raise SystemExit('ran')")
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["train", "trust=[config-dir]", "model._target_=config-dir.Net"]) == 1
    assert "not allowed" in capsys.readouterr().err
    theirs = {"log_dir": "/x", "trust": ["config-dir"]}
    own = own_yaml(tmp_path, "experiment/theirs.yaml", theirs)
    assert main(["train", "--config-dir", str(own), "experiment=theirs"]) == 1
    assert "sets log_dir=/x" in capsys.readouterr().err


def test_a_typed_mapping_does_not_let_the_yaml_below_it_through() -> None:
    typed = typed_keys(["++logger.wandb.settings={silent: true}", "seed=1,2", "~loss.x"])
    assert typed == {"logger.wandb.settings.silent", "seed"}
    config = {"logger": {"wandb": loggers("http://x")["wandb"]}}
    assert found_in(config).keys() - typed == {"logger.wandb.settings.base_url"}


def test_a_resume_writes_no_cache_where_the_file_says(
    copied_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = yaml.safe_load((copied_run / "config.yaml").read_text())
    elsewhere = tmp_path / "elsewhere"
    change(copied_run, data={**config["data"], "cache_dir": str(elsewhere)})
    word = f"data.cache_dir={elsewhere}"
    assert main(["train", f"resume={copied_run}", "trainer.max_epochs=3"]) == 0
    said = capsys.readouterr().err
    assert word in said and not elsewhere.exists()
    change(copied_run, data={**config["data"], "cache_dir": str(elsewhere)})
    assert main(["train", f"resume={copied_run}", "trainer.max_epochs=4", word]) == 0
    assert elsewhere.is_dir()


def test_eval_writes_no_cache_where_the_checkpoint_says(
    copied_run: Path, tmp_path: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = copied_run / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(file, weights_only=True)
    elsewhere = tmp_path / "elsewhere"
    checkpoint["hyper_parameters"]["data"]["cache_dir"] = str(elsewhere)
    torch.save(checkpoint, file)
    word = f"data.cache_dir={elsewhere}"
    assert main(["eval", f"checkpoint={copied_run}", f"log_dir={log_dir}"]) == 0
    assert word in capsys.readouterr().out and not elsewhere.exists()
    assert main(["eval", f"checkpoint={copied_run}", f"log_dir={log_dir}", word]) == 0
    assert "left out" not in capsys.readouterr().out and elsewhere.is_dir()


def test_the_words_of_a_sweep_cannot_name_a_folder_and_typing_brings_it_back(
    tmp_path: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*FAST, "debug=fast_dev_run", "seed=0,1", f"log_dir={log_dir}"]
    assert main(["train", "-m", *words]) == 0
    (folder,) = log_dir.glob("multirun/*/*")
    elsewhere = tmp_path / "elsewhere"
    word = f"data.cache_dir={elsewhere}"
    sweep = yaml.safe_load((folder / "sweep.yaml").read_text())
    sweep["words"].append(word)
    for job in sweep["jobs"]:
        job.append(word)
    (folder / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    for job in ("0", "1"):
        results = json.loads((folder / job / "results.json").read_text())
        (folder / job / "results.json").write_text(json.dumps({**results, "state": "failed"}))
    capsys.readouterr()
    assert main(["train", f"resume={folder}"]) == 0
    said = capsys.readouterr().err
    assert word in said and "log_dir" not in said and not elsewhere.exists()
    for job in ("0", "1"):
        (folder / job / "results.json").unlink()
    assert main(["train", f"resume={folder}", word]) == 0
    assert "left out" not in capsys.readouterr().err and elsewhere.is_dir()


@pytest.mark.parametrize(
    "key", ["log_dir", "data.cache_dir", "logger.wandb.project", "logger", "trust", "hydra.run.dir",
            "+callbacks.x", "search.num_trials", "callbacks.x.dirpath", "callbacks.x._target_", 3]
)  # fmt: skip
def test_a_yaml_cannot_vary_what_counts_only_as_typed(
    key: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not may_be_axis(key, ["a", "b"])
    config = {"sweep": {"over": {key: ["a", "b"]}, "x": key, "lines": key}}
    own = own_yaml(tmp_path, "experiment/theirs.yaml", config)
    assert main(["train", "--config-dir", str(own), "experiment=theirs"]) == 1
    assert "counts only as typed" in capsys.readouterr().err
    own = own_yaml(tmp_path, "experiment/theirs.yaml", {"search": {"space": {key: "a,b"}}})
    words = ["train", "--config-dir", str(own), "experiment=theirs", "search=optuna"]
    assert main(words) == 1
    assert "error: " in capsys.readouterr().err


def test_a_yaml_may_vary_numbers_of_callbacks_and_other_keys() -> None:
    assert may_be_axis("callbacks.ema.decay", [0.9, None]) and may_be_axis("model", ["a", "b"])
    assert may_be_axis("callbacks.checkpoint.monitor", ["val/acc", "val/loss"])


@pytest.mark.parametrize("name", ["run.log", "results.json", "metrics.csv", "checkpoints",
                                  "figures", "results.json.tmp", "wandb/run_id"])  # fmt: skip
def test_a_resume_writes_through_no_link(
    name: str, copied_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "target"
    if name in ("checkpoints", "figures"):
        (copied_run / name).rename(target)
    else:
        target.write_text("mine")
        (copied_run / name).unlink(missing_ok=True)
    (copied_run / name).parent.mkdir(exist_ok=True)
    (copied_run / name).symlink_to(target)
    before = sorted(target.iterdir()) if target.is_dir() else target.read_text()
    assert main(["train", f"resume={copied_run}", "trainer.max_epochs=3"]) == 1
    assert "leads out of its run folder" in capsys.readouterr().err
    assert before == (sorted(target.iterdir()) if target.is_dir() else target.read_text())


def test_nothing_is_downloaded_into_a_folder_that_only_a_file_names(
    copied_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    asked: list[Path] = []
    monkeypatch.setattr(MNIST, "download", lambda self: asked.append(self.root))
    data = {"_target_": "strided.data.MNIST", "root": str(tmp_path / "theirs")}
    change(copied_run, data=data)
    assert main(["train", f"resume={copied_run}", "trainer.max_epochs=3"]) == 1
    assert "downloaded only into a folder that is typed" in capsys.readouterr().err
    own = own_yaml(
        tmp_path,
        "experiment/theirs.yaml",
        {"defaults": [{"override /data": "mnist"}], "data": {"root": data["root"]}},
    )
    words = ["train", "--config-dir", str(own), "experiment=theirs", f"log_dir={tmp_path / 'l'}"]
    assert main(words) == 1
    assert "downloaded only into a folder that is typed" in capsys.readouterr().err
    assert main(["train", "-m", "seed=0,1", *words[1:]]) == 1
    assert "downloaded only into a folder that is typed" in capsys.readouterr().err
    assert not asked
    assert main([*words, f"data.root={tmp_path / 'mine'}"]) == 1  # the download brings nothing
    assert asked == [tmp_path / "mine"]
