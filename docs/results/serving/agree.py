"""Does the service say what predict says? All pictures of a zip, and some in other kinds of files.

    python docs/results/serving/agree.py <run folder> <registry>/<name> data/xray3.zip

Writes the pictures into a temporary folder, runs `src/predict.py` on them, starts `src/serve.py`,
sends it each file, and prints how far the probabilities are apart.
"""

import csv
import http.client
import io
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[3]
EVERY = 10  # so many pictures, one is written as another kind of file
NEAR = 1e-4
_READY = re.compile(r"http://127\.0\.0\.1:(\d+)")
_ORIENTATION = 0x0112  # of EXIF


def main() -> int:
    """Print a row a kind; the exit code is 1 if one is not near."""
    run, bundle, archive = sys.argv[1:]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write(Path(archive), folder / "pictures")
        expected = predicted(run, folder)
        with service(bundle, folder / "logs") as port:
            answers = {path: asked(port, folder / "pictures" / path) for path in expected}
    kinds = sorted({path.partition("/")[0] for path in expected})
    wrong = [kind for kind in kinds if not agrees(kind, expected, answers)]
    return int(bool(wrong))


def write(archive: Path, folder: Path) -> None:
    """Write pictures: as they are, and every tenth as other kinds of files."""
    with zipfile.ZipFile(archive) as opened:
        names = sorted(name for name in opened.namelist() if name.endswith((".jpg", ".png")))
        for number, name in enumerate(names):
            content = opened.read(name)
            save(folder / "as they are" / name, content)
            if number % EVERY == 0:
                image = Image.open(io.BytesIO(content)).convert("L")
                for kind, (ending, changed) in KINDS.items():
                    save(folder / kind / f"{number}{ending}", changed(image))


def save(file: Path, content: bytes) -> None:
    """Write a file and the folders that it lies in."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def _file(image: Image.Image, form: str, **how: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **how)
    return stream.getvalue()


def _deep(image: Image.Image) -> bytes:
    levels = np.asarray(image).astype(np.uint16) * 257
    noise = np.random.default_rng(0).integers(-128, 128, levels.shape)
    return _file(Image.fromarray((levels + noise).clip(0, 65_535).astype(np.uint16)), "PNG")


def _turned(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[_ORIENTATION] = 6  # to be shown a quarter turn clockwise
    return _file(image.rotate(90, expand=True), "JPEG", quality=95, exif=exif)


def _dicom(image: Image.Image) -> bytes:
    sys.path.insert(0, str(ROOT))
    from tests.dicom_files import dicom

    return dicom(np.asarray(image))


KINDS: dict[str, tuple[str, Callable[[Image.Image], bytes]]] = {
    "PNG of 16 bits": (".png", _deep),
    "PNG with a palette": (".png", lambda image: _file(image.convert("P"), "PNG")),
    "JPEG of CMYK": (".jpg", lambda image: _file(image.convert("CMYK"), "JPEG", quality=95)),
    "JPEG turned by EXIF": (".jpg", _turned),
    "DICOM": (".dcm", _dicom),
}


def predicted(run: str, folder: Path) -> dict[str, dict[str, float]]:
    """Probabilities by file, as the predict verb writes them."""
    words = [f"checkpoint={run}", f"input={folder / 'pictures'}", f"log_dir={folder / 'logs'}"]
    command = [sys.executable, str(ROOT / "src" / "predict.py"), *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (table,) = (folder / "logs").glob("predict/*/*/predictions.csv")
    with table.open(newline="") as stream:
        return {
            row["path"]: {
                key.partition("/")[2]: float(value)
                for key, value in row.items()
                if key.startswith("prob/")
            }
            for row in csv.DictReader(stream)
        }


@contextmanager
def service(bundle: str, log_dir: Path) -> Iterator[int]:
    """Serve a bundle; yields the port."""
    words = [f"bundle={bundle}", "port=0", f"log_dir={log_dir}"]
    command = [sys.executable, "-u", str(ROOT / "src" / "serve.py"), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield next(int(found[1]) for row in process.stdout if (found := _READY.search(row)))
        finally:
            process.terminate()
            process.communicate()


def asked(port: int, file: Path) -> dict[str, float]:
    """The probabilities that the service gives for a file."""
    kinds = {".jpg": "image/jpeg", ".png": "image/png", ".dcm": "application/dicom"}
    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {"Content-Type": kinds[file.suffix]}
    connection.request("POST", "/v1/predict", file.read_bytes(), headers)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    found: dict[str, float] = answer["results"][0]["probabilities"]
    return found


Probabilities = dict[str, dict[str, float]]


def agrees(kind: str, expected: Probabilities, answers: Probabilities) -> bool:
    """Print how far a kind of files is apart."""
    paths = [path for path in expected if path.startswith(f"{kind}/")]
    most = max(
        abs(expected[path][name] - answers[path][name]) for path in paths for name in expected[path]
    )
    others = sum(
        max(expected[path], key=expected[path].__getitem__)
        != max(answers[path], key=answers[path].__getitem__)
        for path in paths
    )
    print(f"{kind}: {len(paths)} files, probabilities within {most:.1e}, {others} other classes")
    return most <= NEAR and not others


if __name__ == "__main__":
    sys.exit(main())
