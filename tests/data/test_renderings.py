"""Renderings change pictures and keep their shape."""

import numpy as np
import pytest

from strided.data.renderings import FAMILIES, RENDERINGS, STRESS, centre, rendered


def pictures(channels: int) -> np.ndarray:
    noise = np.random.default_rng(0)
    return noise.integers(20, 230, (3, channels, 40, 40), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", RENDERINGS)
def test_a_rendering_is_another_picture_of_the_same_shape_and_the_same_each_time(
    name: str, channels: int
) -> None:
    given = pictures(channels)
    found = rendered(given, name)
    assert found.shape == given.shape and found.dtype == np.uint8
    assert not np.array_equal(found, given)
    assert np.array_equal(found, rendered(given, name))


def test_the_centre_is_15_to_85_percent_of_each_side() -> None:
    given = pictures(3)
    inner = (slice(None), slice(None), centre(40), centre(40))
    assert given[inner].shape[-1] == 28
    without, only = rendered(given, "without the centre"), rendered(given, "only the centre")
    assert not without[inner].any() and np.array_equal(only[inner], given[inner])
    assert np.array_equal(without.astype(int) + only, given)


def test_a_zoom_keeps_what_is_in_the_middle_and_a_gamma_black_and_white() -> None:
    given = np.zeros((1, 1, 100, 100), dtype=np.uint8)
    given[..., 50:] = 255
    zoomed = rendered(given, "zoomed by 8 %")
    assert (zoomed[..., :46] == 0).all() and (zoomed[..., 54:] == 255).all()
    assert np.array_equal(rendered(given, "gamma 0.7"), given)
    assert len(STRESS) == 8


def test_each_rendering_of_the_stress_table_is_of_one_family() -> None:
    assert [name for names in FAMILIES.values() for name in names] == list(STRESS)
