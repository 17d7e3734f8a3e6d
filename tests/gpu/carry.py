"""Pack what a GPU machine without a network lacks, to be carried there with the checkout.

    make gpu-carry                                         # packages alone
    make gpu-carry ARGS=--data-root=/folder/of/cifar10.zip # and CIFAR-10, about 55 MB

Writes into the folder `.gpu`, which git ignores: pure-Python packages as wheels, and the bytes of
CIFAR-10's pictures as one file, since the 60,000 headers of a zip would add 8 MB.
"""

import argparse
import gzip
import re
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[2]
CARRIED = ROOT / ".gpu"
PACKAGES = ("hydra-core", "omegaconf", "antlr4-python3-runtime", "captum")
PICTURES, INDEX = "cifar10.jpegs", "cifar10.index.gz"


def pack_packages() -> int:
    """Make a wheel of each package, of the version in constraints.txt; return their bytes."""
    pinned = (ROOT / "constraints.txt").read_text().splitlines()
    wanted = [line for line in pinned if line.partition("==")[0] in PACKAGES]
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(CARRIED)]
    subprocess.run([*pip, *wanted], check=True)
    return sum(file.stat().st_size for file in CARRIED.glob("*.whl"))


def pack_pictures(archive: Path) -> int:
    """Write the bytes of a zip's files in a row, and a line `<bytes> <name>` for each."""
    lines = []
    with zipfile.ZipFile(archive) as pictures, (CARRIED / PICTURES).open("wb") as out:
        for entry in pictures.infolist():
            out.write(pictures.read(entry))
            lines.append(f"{entry.file_size} {entry.filename}\n")
    (CARRIED / INDEX).write_bytes(gzip.compress("".join(lines).encode()))
    return (CARRIED / PICTURES).stat().st_size


def unpack_packages(target: Path) -> None:
    """Unpack the carried wheels whose version is not installed here into `target`.

    A wheel of pure Python is a zip of what belongs on the path, so this needs no pip. Another
    antlr4 than omegaconf's cannot read its grammar: `target` goes first on the path.
    """
    for wheel in sorted(CARRIED.glob("*.whl")):
        name, wanted = wheel.name.split("-")[:2]
        try:
            installed = version(re.sub("_", "-", name))
        except PackageNotFoundError:
            installed = ""
        if installed != wanted:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(target)


def unpack_pictures(archive: Path) -> bool:
    """Write the zip that `pack_pictures` was given; False if none was carried."""
    if not (CARRIED / INDEX).is_file():
        return False
    lines = gzip.decompress((CARRIED / INDEX).read_bytes()).decode().splitlines()
    with (CARRIED / PICTURES).open("rb") as pictures, zipfile.ZipFile(archive, "w") as out:
        for line in lines:
            size, _, name = line.partition(" ")
            out.writestr(name, pictures.read(int(size)))
    return True


def main() -> None:
    """Pack, and say how much it is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data-root", type=Path, default=ROOT / "data")
    archive = parser.parse_args().data_root / "cifar10.zip"
    CARRIED.mkdir(exist_ok=True)
    print(f"packages: {pack_packages() / 1e6:.1f} MB in {CARRIED}")
    if archive.is_file():
        print(f"CIFAR-10: {pack_pictures(archive) / 1e6:.1f} MB")
    else:
        print(f"CIFAR-10: not packed, since there is no {archive}; try ARGS=--data-root=<folder>")


if __name__ == "__main__":
    main()
