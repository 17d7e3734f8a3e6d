"""DICOM beside other pictures, in training and predict: the same pixels, the same answers."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from tests.conftest import contents
from tests.dicom_files import PATIENT, dicom

from strided.cli import main
from strided.data import ImageTable, Preprocessing
from strided.data.pixels.streaming import StreamingPipeline
from strided.data.reading import dicom as decoders
from strided.data.reading.folder import folder_source

pytestmark = pytest.mark.usefixtures("blank_figures")

MINUTE = ("model=mlp", "trainer=cpu", "trainer.max_epochs=1", "data.image_size=8")


def as_dicom(grey: np.ndarray, bits: int, colours: str, window: bool) -> bytes:
    """uint8 (H, W) as a radiograph of so many bits, with the same grey for a viewer."""
    most = 2**bits - 1
    stored = np.rint(grey / 255 * most)
    if colours == "MONOCHROME1":
        stored = most - stored
    elements = {"WindowCenter": (most + 1) / 2, "WindowWidth": most + 1} if window else {}
    kind = np.uint8 if bits == 8 else np.uint16
    return dicom(
        stored.astype(kind), BitsStored=bits, PhotometricInterpretation=colours, **elements
    )


def write_mixed(root: Path) -> None:
    """Two classes of eight pictures: PNG, and DICOM with three kinds of names."""
    noise = np.random.default_rng(0)
    for shift, name in enumerate(("dark", "light")):
        (root / name).mkdir(parents=True)
        for index in range(8):
            grey = noise.integers(0, 120, (8, 8), dtype=np.uint8) + np.uint8(120 * shift)
            if index < 4:
                Image.fromarray(grey).save(root / name / f"{index}.png")
            else:
                ending = (".dcm", ".DCM", "", ".1.2.840")[index - 4]
                content = as_dicom(grey, 12, f"MONOCHROME{1 + index % 2}", window=index < 6)
                (root / name / f"IM{index}{ending}").write_bytes(content)
    (root / "DICOMDIR").write_bytes(dicom(np.zeros((1, 1), dtype=np.uint8), PixelData=None))


def test_a_folder_of_dicom_and_png_trains_once_the_packages_are_there(
    tmp_path: Path, log_dir: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    write_mixed(tmp_path / "scans")
    words = ["train", "data=image_folder", f"data.root={tmp_path / 'scans'}", *MINUTE]
    words += [f"log_dir={log_dir}", "data.on_error=skip"]
    with monkeypatch.context() as patch:
        patch.setattr(decoders, "find_spec", lambda _: None)
        patch.setattr(decoders, "_pools", {})
        assert main([*words, "name=without"]) == 1
    said = capsys.readouterr().err
    assert said.count("pip install 'strided[dicom]'") == 1 and "Traceback" not in said
    assert main([*words, "name=with"]) == 0
    (run,) = log_dir.glob("train/with/*")
    results = json.loads((run / "results.json").read_text())
    assert results["ignored_files"] == 0 and results["skipped"] == 0
    assert not any(PATIENT.encode() in content for content in contents(run).values())


def test_the_pixels_of_a_dicom_are_those_of_its_png(tmp_path: Path) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for bits in (8, 12):
            for colours in ("MONOCHROME1", "MONOCHROME2"):
                file = tmp_path / name / f"{bits} {colours}.dcm"
                file.write_bytes(as_dicom(grey, bits, colours, window=False))
    source = folder_source(tmp_path)
    assert len(source) == 8
    for index in range(8):
        assert np.array_equal(np.asarray(source.read(index)), grey)


def test_a_table_of_dicom_is_streamed_by_processes(tmp_path: Path) -> None:
    write_mixed(tmp_path / "scans")
    files = sorted((tmp_path / "scans").glob("*/*[M0-9]*"))
    rows = [f"{file.relative_to(tmp_path)},{file.parent.name}" for file in files]
    (tmp_path / "scans.csv").write_text("\n".join(["path,label", *rows]))
    source = ImageTable(csv=str(tmp_path / "scans.csv")).make_source()
    geometry = Preprocessing(1, 8)
    stored = np.stack([geometry.pixels(source.read(index)) for index in range(16)])
    streamed = StreamingPipeline(source, geometry, tmp_path / "cache", 2, skip=False)
    batches = [np.arange(10), np.arange(10, 16)]  # one for each process
    found = np.concatenate([np.asarray(images) for images, _ in streamed.read(batches)])
    assert np.array_equal(found, stored)


def test_a_dicom_is_predicted_as_its_png(
    trained_run: Path, tmp_path: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = [
        (bits, f"MONOCHROME{k}", window) for bits in (8, 12) for k in (1, 2) for window in (0, 1)
    ]
    digits = load_digits().images[:6] / 16 * 255
    (tmp_path / "in").mkdir()
    for number, digit in enumerate(digits.astype(np.uint8)):
        Image.fromarray(digit).save(tmp_path / "in" / f"{number}.png")
        for bits, colours, window in kinds:
            file = tmp_path / "in" / f"{number}-{bits}-{colours}-{window}.dcm"
            file.write_bytes(as_dicom(digit, bits, colours, bool(window)))
    (tmp_path / "in" / "report.dcm").write_bytes(dicom(digit, PixelData=None))
    words = [f"checkpoint={trained_run}", f"input={tmp_path / 'in'}", f"log_dir={log_dir}"]
    assert main(["predict", *words]) == 0
    (run,) = log_dir.glob("predict/*/*")
    with (run / "predictions.csv").open(newline="") as stream:
        rows = {Path(row["path"]).stem: row for row in csv.DictReader(stream)}
    assert "missing or cut off" in rows.pop("report")["error"] and len(rows) == 6 * 9
    probabilities = [column for column in rows["0"] if column.startswith("prob/")]
    assert len(probabilities) == 10
    for name, row in rows.items():
        png = rows[name.partition("-")[0]]
        for column in probabilities:
            assert float(row[column]) == pytest.approx(float(png[column]), abs=0.02), name
    said = "".join(capsys.readouterr()) + (run / "predictions.csv").read_text()
    assert PATIENT not in said + (run / "run.log").read_text()
