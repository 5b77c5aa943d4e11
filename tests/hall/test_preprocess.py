"""A box becomes a crop, the same way everywhere."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.preprocess import AREA, DEFINITION, DEFINITIONS, crops, resize


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


@given(st.integers(1, 200), st.integers(1, 200), st.integers(0, 255), st.sampled_from(DEFINITIONS))
def test_a_plain_colour_stays_that_colour_at_any_size(h: int, w: int, value: int, definition: str) -> None:
    image = np.full((h, w, 3), value, np.uint8)
    assert (resize(image, 64, 32, definition=definition) == value).all()


@pytest.mark.parametrize("definition", DEFINITIONS)
@pytest.mark.parametrize("times", [2, 4, 8])
def test_shrinking_averages_instead_of_picking(definition: str, times: int) -> None:
    stripes = np.zeros((16 * times, 16 * times, 3), np.uint8)
    stripes[::2] = 200
    assert np.unique(resize(stripes, 16, 16, definition=definition)).tolist() == [100]


@given(st.integers(16, 32), st.integers(8, 16), st.data())
def test_bilinear_leaves_no_pixel_out_up_to_twice_smaller(h: int, w: int, data: st.DataObject) -> None:
    y, x = data.draw(st.integers(0, h - 1)), data.draw(st.integers(0, w - 1))
    image = np.zeros((h, w, 3), np.uint8)
    image[y, x] = 255
    assert resize(image, 16, 8).any()


@given(st.floats(1, 6), st.floats(1, 6), st.integers(0, 99))
def test_today_s_definition_stays_near_the_area_average(tall: float, wide: float, seed: int) -> None:
    # Pictures of people are smooth over a few pixels; noise is not, and would tell of the rounding alone.
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 6, 3), np.uint8)
    image = cv2.resize(coarse, (round(32 * wide), round(64 * tall)), interpolation=cv2.INTER_CUBIC)
    ours, area = (resize(image, 64, 32, definition=d).astype(int) for d in (DEFINITION, AREA))
    assert np.abs(ours - area).mean() < 4


def test_the_earlier_definition_gives_the_pixels_it_always_gave() -> None:
    image = frame(200, 160)
    np.testing.assert_array_equal(resize(image, 64, 32, definition=AREA),
                                  cv2.resize(image, (32, 64), interpolation=cv2.INTER_AREA))
    np.testing.assert_array_equal(crops(image, np.array([[0, 0, 160, 200]], np.float32), 64, 32, definition=AREA)[0],
                                  resize(image, 64, 32, definition=AREA))


def test_a_definition_nobody_made_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="definition"):
        resize(frame(), 8, 4, definition="nearest")
