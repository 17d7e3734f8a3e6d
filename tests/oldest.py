"""Print the oldest versions that pyproject.toml allows, as constraints for pip.

    python tests/oldest.py > oldest.txt && pip install -e '.[dev]' -c oldest.txt

A bound has to be a version that exists. What has no lower bound, and what the packages themselves
need, is left to pip.
"""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
LOWER = re.compile(r"([\w.-]+)(?:\[[^\]]*\])?[^;]*?>=\s*([\w.]+)")


def oldest() -> Iterator[str]:
    """`torch==2.11` of `torch>=2.11`, for each requirement and each extra."""
    project = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    for requirement in [*project["dependencies"], *(entry for extra in extras for entry in extra)]:
        if match := LOWER.match(requirement):
            yield f"{match[1]}=={match[2]}"


if __name__ == "__main__":
    print(*oldest(), sep="\n")
