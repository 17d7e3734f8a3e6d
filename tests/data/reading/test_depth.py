"""Images of 16 bits, of which cameras fill 10 or 12: what is white, from train to predict."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.conftest import Train

from strided.cli import main
from strided.data import Preprocessing
from strided.data.reading.depth import brightness, eight_bit, white_of
from strided.evaluation.classifier import Classifier

pytestmark = pytest.mark.usefixtures("blank_figures")

SMALL = ("model=mlp", "data=image_folder", "data.image_size=12", "data.batch_size=8")


def deep(values: object) -> Image.Image:
    return Image.fromarray(np.asarray(values, dtype=np.uint16))


@pytest.fixture
def ten_bits(tmp_path: Path) -> Path:
    """A folder of two classes of 12 grey PNGs with values of 0 to 1023."""
    noise = np.random.default_rng(0)
    for name, low in (("dark", 0), ("light", 700)):
        folder = tmp_path / "ten_bits" / name
        folder.mkdir(parents=True)
        for index in range(12):
            deep(noise.integers(low, low + 323, (12, 12))).save(folder / f"{index}.png")
    return tmp_path / "ten_bits"


def results(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "results.json").read_text()))


def test_white_is_the_greatest_value_of_the_bits_in_use() -> None:
    assert [white_of([value]) for value in (3, 255, 256, 1023, 1024, 4095, 16384)] == [
        255, 255, 1023, 1023, 4095, 4095, 65535,
    ]  # fmt: skip
    assert np.asarray(eight_bit(deep([[0, 511, 1023, 4000]]), 1023)).tolist() == [
        [0, 127, 255, 255]
    ]


def test_a_hot_pixel_is_not_the_brightness_of_an_image() -> None:
    pixels = np.full((40, 50), 900)
    pixels[0, 0] = 65535
    assert brightness(deep(pixels)) == 900
    assert brightness(deep(pixels[:10, :10])) == 65535  # one in a hundred
    assert brightness(Image.new("L", (4, 4))) is None


def test_a_checkpoint_of_before_reads_all_sixteen_bits() -> None:
    before = Preprocessing(1, 12).asdict()
    del before["white"]
    preprocessing = Preprocessing.from_dict(before)
    assert preprocessing.white == 65535
    assert preprocessing.pixels(deep(np.full((12, 12), 1023))).max() == 4


@pytest.mark.parametrize("pipeline", ["store", "streaming"])
def test_ten_bits_are_scaled_alike_by_train_eval_and_predict(
    pipeline: str,
    ten_bits: Path,
    tmp_path: Path,
    log_dir: Path,
    run_train: Train,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = run_train(*SMALL, f"data.root={ten_bits}", f"data.pipeline={pipeline}")
    assert "16-bit images: 1023 is white" in (run / "run.log").read_text()
    assert results(run)["preprocessing"]["white"] == 1023  # type: ignore[index]
    classifier = Classifier.load(run)
    assert classifier.preprocessing.white == 1023
    bright = classifier.preprocessing.pixels(deep(np.full((12, 12), 1023)))
    assert bright.max() == 255
    tested = (run / "predictions.csv").read_bytes()
    assert main(["eval", f"checkpoint={run}", f"log_dir={log_dir}"]) == 0
    (folder,) = log_dir.glob("eval/*/*")
    assert (folder / "predictions.csv").read_bytes() == tested
    assert results(folder)["data_fingerprint"] == results(run)["data_fingerprint"]
    words = ["predict", f"checkpoint={run}", f"input={ten_bits}", f"log_dir={log_dir}"]
    assert main(words) == 0 and "clipped" not in capsys.readouterr().out
    brighter = Path(shutil.copytree(ten_bits, tmp_path / "brighter"))
    deep(np.full((12, 12), 4000)).save(brighter / "light" / "0.png")
    assert main([*words[:2], f"input={brighter}", words[3]]) == 0
    assert "1 of 24 images have 16-bit values up to 4000, more than the 1023" in (
        capsys.readouterr().out
    )


def test_a_resumed_run_keeps_what_is_white(
    ten_bits: Path, run_train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_train(*SMALL, f"data.root={ten_bits}")
    for file in (run / "checkpoints").glob("*.ckpt"):  # as if it began before
        saved = torch.load(file, weights_only=True)
        del saved["hyper_parameters"]["preprocessing"]["white"]
        torch.save(saved, file)
    assert main(["train", f"resume={run}", "trainer.max_epochs=3"]) == 0
    assert results(run)["preprocessing"]["white"] == 65535  # type: ignore[index]


def test_eight_bits_are_decoded_once(run_train: Train, image_folder: Path) -> None:
    run = run_train(*SMALL, f"data.root={image_folder}")
    log = (run / "run.log").read_text()
    assert log.count("decoded 24 images") == 1 and "16-bit" not in log
