"""The explain verb: what it writes, what it refuses, and what it fetches."""

import html
import json
import math
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from strided.cli import main
from strided.data.reading import web
from strided.data.reading.web import download
from strided.errors import UserError
from strided.explain.inputs import safe_names
from strided.explain.subject import target_indices
from strided.models import torchvision_model


def explained(log_dir: Path, *words: str, code: int = 0) -> tuple[Path, dict[str, Any]]:
    """Run the verb; return its folder and results.json."""
    before = set(log_dir.glob("explain/*/*"))
    assert main(["explain", *words, "accelerator=cpu", f"log_dir={log_dir}"]) == code
    (folder,) = set(log_dir.glob("explain/*/*")) - before
    return folder, json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="session")
def digit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from sklearn.datasets import load_digits

    file = tmp_path_factory.mktemp("digit") / "seven.png"
    Image.fromarray((load_digits().images[7] * 15).astype(np.uint8)).save(file)
    return file


def test_a_digit_is_explained_by_all_methods_for_two_classes(
    trained_run: Path, digit: Path, log_dir: Path
) -> None:
    words = (f"checkpoint={trained_run}", f"input={digit}", "target=[7,2]", "maps=4", "layer=c3")
    folder, results = explained(log_dir, *words, "sanity=true")
    assert results["state"] == "finished" and folder.parent.name == "lenet5-digits"
    assert results["layers"] == {"filters": "c1", "maps": "c3", "cam": "c3"}
    (image,) = results["images"]
    assert [found["target"] for found in image["explanations"]] == ["7", "2"]
    assert sum(image["top5"].values()) <= 1 and image["probability"] == max(image["top5"].values())
    figures = [image["maps"], "figures/sheet.png", *results["figures"]["filters"]]
    for found in image["explanations"]:
        assert list(found["heatmaps"]) == results["methods"] and len(found["heatmaps"]) == 4
        for method, heat in found["heatmaps"].items():
            figures.append(heat["figure"])
            correlation = heat["rank_correlation"]
            assert correlation is None or -1 <= correlation <= 1
            assert heat["hardly_depends"] == (correlation is not None and abs(correlation) > 0.5)
            assert (heat["completeness_error"] is None) == (method != "integrated_gradients")
    assert len(set(figures)) == len(figures) == 4 + 8
    for file in figures:
        with Image.open(folder / file) as figure:
            assert min(figure.size) > 100
    assert {file.relative_to(folder).as_posix() for file in folder.rglob("*.png")} == set(figures)
    text = (folder / "explain.html").read_text()
    # the picture and four heatmaps for each of two classes; maps, filters and colours as JPEG
    assert text.count("data:image/png") == 2 * 5 and text.count("data:image/jpeg") == 1 + 2 + 1
    assert 'src="http' not in text
    for paper in ("Selvaraju", "Chattopadhay", "Sundararajan", "Zeiler", "Adebayo"):
        assert paper in text


def test_layers_are_listed_with_their_shapes(
    trained_run: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, results = explained(log_dir, f"checkpoint={trained_run}", "layer=?")
    shown = capsys.readouterr().out
    assert results["layers"]["c1"] == "6x28x28" and results["layers"]["f6"] == "84"
    assert "6x28x28" in shown and "CAMs are of c3" in shown
    assert not (folder / "figures").exists()


def test_imagenet_weights_of_a_file_explain_images_of_a_folder(
    log_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    torch.save(torchvision_model("alexnet", 1000).state_dict(), tmp_path / "alexnet.pth")
    for name in ("a/photo.png", "b/photo.png", "c/broken.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True)
        noise = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "photos" / name)
    (tmp_path / "photos/c/broken.png").write_bytes(b"not an image")
    folder, results = explained(
        log_dir,
        "model=alexnet",
        f"model.weights={tmp_path / 'alexnet.pth'}",
        f"input={tmp_path / 'photos'}",
        "target=daisy",
        "methods=[grad_cam]",
    )
    first, _, broken = results["images"]
    assert broken["error"] and "broken.png" in capsys.readouterr().out
    assert first["explanations"][0]["heatmaps"]["grad_cam"]["rank_correlation"] is None
    assert {path.name for path in (folder / "figures").iterdir() if path.is_dir()} == {
        "photo",
        "photo_2",
    }
    assert results["layers"]["cam"] == "features.11"
    assert "64 filters" not in (folder / "explain.html").read_text()  # a picture says that
    with Image.open(folder / "figures" / "filters_joint.png") as sheet:
        assert sheet.width > 600 and sheet.height > 600


def test_a_network_without_maps_has_the_other_methods(
    run_train: Any, digit: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_train("model=mlp")
    folder, results = explained(log_dir, f"checkpoint={run}", f"input={digit}")
    assert results["methods"] == ["integrated_gradients", "occlusion"]
    assert set(results["refused"]) == {"grad_cam", "grad_cam_pp"}
    page = (folder / "explain.html").read_text()
    assert "no layer with spatial maps" in page and "Not made. With <code>sanity=true" in page
    capsys.readouterr()
    explained(log_dir, f"checkpoint={run}", f"input={digit}", "methods=[grad_cam]", code=1)
    assert "no layer with spatial maps" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["input=null"], "input has no value"),
        (["input=http://[::1/a.png"], "begins with http:// or https://"),
        (["target=jack-o'-lantern"], "target=jack-o'-lantern is no class of this network"),
        (["maps=0"], "maps=0; expected 1 or more"),
        (["methods=[]"], "expected one or more"),
        (["methods=[gradcam]"], "expected a list of grad_cam"),
        (["target=zebra"], "target=zebra is no class of this network"),
        (["target=10"], "a number from 0 to 9"),
        (["layer=c9"], "layer=c9: the network runs through no layer of that name"),
        (["cam_layer=f6"], "cam_layer=f6 gives 84, not maps"),
        (["input=nowhere.png"], "gives no image"),
        (["input=ftp://localhost/a.png"], "begins with http:// or https://"),
        (["input=file:///etc/passwd"], "begins with http:// or https://"),
    ],
)
def test_mistakes_are_named(
    words: list[str],
    message: str,
    trained_run: Path,
    digit: Path,
    log_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [f"checkpoint={trained_run}", f"input={digit}", *words, f"log_dir={log_dir}"]
    assert main(["explain", *given]) == 1
    shown = capsys.readouterr().err
    assert message in shown and "Traceback" not in shown


def test_names_of_files_and_classes_may_hold_anything(
    trained_run: Path, digit: Path, log_dir: Path, tmp_path: Path
) -> None:
    place = tmp_path / "my images"
    place.mkdir()
    shutil.copy(digit, place / "a\nb <b>.png")
    words = (f"checkpoint={trained_run}", "target=7", "methods=[grad_cam]")
    folder, results = explained(log_dir, *words, f"input={place}")
    assert results["images"][0]["path"].endswith("a\nb <b>.png")
    page = (folder / "explain.html").read_text()
    assert "b <b>.png" not in page
    assert html.escape(f"'input={place}'") in page  # a command that can be typed


def test_weights_without_numbers_are_refused(
    copied_run: Path, digit: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = torch.load(copied_run / "checkpoints/best.ckpt", weights_only=True)
    saved["state_dict"]["model.f6.weight"].fill_(math.nan)
    torch.save(saved, copied_run / "checkpoints/best.ckpt")
    explained(log_dir, f"checkpoint={copied_run}", f"input={digit}", code=1)
    assert "model.f6.weight holds values that are not finite" in capsys.readouterr().err


def test_random_weights_are_refused(log_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "model=alexnet", "input=a.png", f"log_dir={log_dir}"]) == 1
    assert "random weights" in capsys.readouterr().err


def test_targets_are_names_before_numbers() -> None:
    assert target_indices(["1", 1, "cat", 2], ["1", "0", "cat"]) == [0, 2]
    assert target_indices(None, ["a"]) is None


def test_names_of_folders_are_safe_and_different() -> None:
    assert safe_names(["a/b", "A B", "..", "", "sheet.png", "x" * 99]) == [
        "a_b",
        "A_B_2",
        "image",
        "image_2",
        "sheet_png",
        "x" * 48,
    ]


class _Handler(BaseHTTPRequestHandler):
    picture = b""

    def do_GET(self) -> None:
        if self.path == "/digit.png":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.picture)
        elif self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "file:///etc/hostname")
            self.end_headers()
        elif self.path == "/slow":  # a byte now and then: each one is in time
            with suppress(OSError):
                while True:
                    self.wfile.write(b"H")
                    time.sleep(0.05)
        else:
            self.send_error(404)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(digit: Path) -> Iterator[str]:
    _Handler.picture = digit.read_bytes()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as served:
        served.daemon_threads = True
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


def test_an_address_is_explained_like_a_file(
    server: str, trained_run: Path, digit: Path, log_dir: Path
) -> None:
    words = (f"checkpoint={trained_run}", "methods=[grad_cam]")
    _, by_file = explained(log_dir, *words, f"input={digit}")
    folder, by_address = explained(log_dir, *words, f"input={server}/digit.png")
    assert by_address["images"][0]["top5"] == by_file["images"][0]["top5"]
    assert (folder / "figures" / "digit" / "maps.png").is_file()


def test_an_address_is_bounded_and_stays_on_the_web(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="404"):
        download(f"{server}/missing.png")
    with pytest.raises(UserError, match="could not be downloaded"):
        download(f"{server}/away")
    with pytest.raises(UserError, match="could not be downloaded"):
        download("http://127.0.0.1:1/a.png")
    monkeypatch.setattr(web, "MOST_SECONDS", 0.5)
    with pytest.raises(UserError, match="took longer than"):
        download(f"{server}/slow")
    monkeypatch.setattr(web, "MOST_SECONDS", 60.0)
    monkeypatch.setattr(web, "MOST_BYTES", 10)
    with pytest.raises(UserError, match="larger than"):
        download(f"{server}/digit.png")
