"""A box becomes a crop, the same way everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.preprocess import crops, resize


def frame(h: int = 60, w: int = 80) -> np.ndarray:
    y, x = np.mgrid[:h, :w]
    return np.stack([x * 3, y * 4, np.full_like(x, 7)], 2).astype(np.uint8)


def test_a_crop_of_its_own_size_is_copied_exactly() -> None:
    got = crops(frame(), np.array([[10, 5, 42, 69 - 5]], np.float32)[:, [0, 1, 2, 3]], 55, 32)
    np.testing.assert_array_equal(got[0], frame()[5:60, 10:42])


def test_parts_outside_the_frame_are_cut_off() -> None:
    inside, across = crops(frame(), np.array([[0, 0, 20, 30], [-9, -5, 20, 30]], np.float32), 32, 16)
    np.testing.assert_array_equal(inside, across)


@pytest.mark.parametrize("box", [[90, 0, 99, 9], [-9, 0, -1, 9], [5, 5, 5, 5], [9, 9, 3, 20]])
def test_a_box_without_a_pixel_is_refused(box: list[float]) -> None:
    with pytest.raises(ValueError, match="expected a box on the 80x60 frame"):
        crops(frame(), np.array([box], np.float32), 8, 4)


def test_a_box_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        crops(frame(), np.array([[0, 0, np.nan, 3]], np.float32), 8, 4)


def test_nobody_gives_no_crops() -> None:
    assert crops(frame(), np.empty((0, 4), np.float32), 128, 64).shape == (0, 128, 64, 3)


@given(st.integers(1, 200), st.integers(1, 200), st.integers(0, 255))
def test_a_plain_colour_stays_that_colour_at_any_size(h: int, w: int, value: int) -> None:
    image = np.full((h, w, 3), value, np.uint8)
    assert (resize(image, 64, 32) == value).all()


def test_shrinking_averages_instead_of_picking() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[::2] = 200
    assert np.unique(resize(stripes, 16, 16)).tolist() == [100]
