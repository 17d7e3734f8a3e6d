"""Copies of a picture are found although they were scaled and compressed; other pictures not."""

import io

import numpy as np
from PIL import Image, ImageFilter

from strided.shortcuts.near_copies import details, near_copies


def scene(seed: int) -> Image.Image:
    """A smooth picture of its own details, on the same bright ground as all others."""
    noise = np.random.default_rng(seed)
    ground = np.add.outer(np.linspace(0, 80, 200), np.linspace(0, 80, 200))
    fine = Image.fromarray(noise.integers(0, 255, (200, 200), dtype=np.uint8))
    blurred = np.asarray(fine.filter(ImageFilter.GaussianBlur(3)), dtype=float)
    return Image.fromarray((ground + 3 * (blurred - 127) + 60).clip(0, 255).astype(np.uint8))


def small(pictures: list[Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(p.resize((48, 48), Image.Resampling.BOX)) for p in pictures])


def compressed(picture: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    picture.resize((150, 150)).save(stream, "JPEG", quality=40)
    return Image.open(stream)


def test_a_scaled_and_compressed_copy_is_found_and_nothing_else() -> None:
    pictures = [scene(seed) for seed in range(8)]
    others = [compressed(pictures[3]), scene(20), pictures[5].point(lambda level: level * 0.8)]
    found = list(near_copies(details(small(pictures)), details(small(others))))
    assert {(i, j) for i, j, _ in found} == {(3, 0), (5, 2)}
    assert all(0.9 <= likeness <= 1.0001 for _, _, likeness in found)


def test_a_flat_picture_is_like_none() -> None:
    flat = details(np.full((2, 48, 48), 127, dtype=np.uint8))
    assert not flat.any() and not list(near_copies(flat, flat))
