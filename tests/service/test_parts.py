"""A file of more parts than a picture needs is told from one that is large or odd."""

import numpy as np
import pytest
from PIL import Image
from tests.served import encoded, noise
from tests.service.hostile_files import whole
from tests.service.hostile_parts import of_many_parts

from strided.service.decoding import format_of
from strided.service.parts import has_too_many_parts

PICTURES = {
    **whole(),
    "large png": encoded(noise(1500, 1500), compress_level=0),
    "large jpeg": encoded(noise(1500, 1500, 3), "JPEG", progressive=True),
    "jpeg with a profile": encoded(noise(9, 9, 3), "JPEG", icc_profile=bytes(10**6)),
    "animated png": encoded(
        Image.new("L", (99, 99)),
        save_all=True,
        append_images=[Image.fromarray(noise(99, 99, seed=seed)) for seed in range(50)],
    ),
    "mpo": encoded(Image.new("L", (9, 9)), "MPO", save_all=True,
                   append_images=[Image.fromarray(np.ones((9, 9), np.uint8))]),
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in PICTURES if "dicom" not in name])
def test_a_picture_has_few_parts(name: str) -> None:
    form = format_of(PICTURES[name])
    assert form is not None and not has_too_many_parts(PICTURES[name], form)


@pytest.mark.parametrize("name", of_many_parts())
def test_a_file_of_many_parts_is_told(name: str) -> None:
    content = of_many_parts()[name]
    form = format_of(content)
    assert form is not None and has_too_many_parts(content, form)
    assert not has_too_many_parts(content[: len(content) // 1000], form)
