"""What results.json says of the machine."""

import pytest

from strided.runs.environment import driver_in


@pytest.mark.parametrize(
    ("told", "version"),
    [
        (
            "NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 2023",
            "535.104.05",
        ),
        ("NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (b@a)", "580.65.06"),
        ("something else", None),
    ],
)
def test_the_driver_is_found_in_what_the_kernel_tells(told: str, version: str | None) -> None:
    assert driver_in(f"NVRM version: {told}\nGCC version:  gcc version 12.3.0 \n") == version
