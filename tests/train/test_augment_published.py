"""Erasing and channels follow the published code: the same pixels, the same odds."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.preprocess import MEAN, STD
from tests.golden import golden
from tests.shared import SHARED, needs_shared
from train.data import channels
from train.data.erasing import FILLS, erase, hide, rectangle

U8 = np.uint8


def erased(seed: int, image: np.ndarray) -> np.ndarray:
    """One image, channels first, after the reference's erasing with Python's own random numbers."""
    out = image.copy()
    where = rectangle(*image.shape[1:], random.Random(seed), 0.5)
    if where is not None:
        hide(out.transpose(1, 2, 0), where, MEAN)
    return out


def test_erasing_hides_the_pixels_that_the_reference_hides() -> None:
    kept = golden("training_utils")
    seeds = [int(name.removeprefix("re_out_seed")) for name in kept if name.startswith("re_out_seed")]
    assert seeds
    for seed in seeds:
        np.testing.assert_array_equal(erased(seed, kept["re_in"]), kept[f"re_out_seed{seed}"])


@needs_shared("golden/training_utils.npz")
def test_erasing_hides_the_pixels_that_the_reference_hides_for_every_seed() -> None:
    with np.load(SHARED / "golden" / "training_utils.npz") as file:
        for seed in range(8):
            np.testing.assert_array_equal(erased(seed, file["re_in"]), file[f"re_out_seed{seed}"])


def test_a_batch_is_erased_image_by_image_with_one_stream_of_numbers() -> None:
    images = np.zeros((20, 64, 32, 3), U8)
    erase(images, random.Random(7), 0.5, 0.4, (1, 2, 3))
    dice = random.Random(7)
    for image in images:
        expected = np.zeros((64, 32, 3), U8)
        if (where := rectangle(64, 32, dice, 0.5)) is not None:
            hide(expected, where, (1, 2, 3))
        assert (image == expected).all()


@given(st.integers(0, 10_000), st.integers(8, 300), st.integers(8, 300), st.floats(0.02, 0.9))
def test_a_rectangle_lies_inside_and_is_neither_too_big_nor_too_flat(seed: int, h: int, w: int, most: float) -> None:
    where = rectangle(h, w, random.Random(seed), 1, most)
    if where is None:  # a hundred shapes in a row that did not fit
        return
    top, left, high, wide = where
    assert 0 <= top <= top + high <= h
    assert 0 <= left <= left + wide <= w
    assert 1 <= high < h  # never from side to side
    assert 1 <= wide < w
    # Each side is off by at most half a pixel.
    assert (high - 0.5) * (wide - 0.5) <= most * h * w
    assert (high + 0.5) * (wide + 0.5) >= 0.02 * h * w
    assert 0.3 * (wide - 0.5) <= high + 0.5
    assert 0.3 * (high - 0.5) <= wide + 0.5


@pytest.mark.parametrize(("name", "written"), [
    ("mean", (0, 0, 0)), ("cm-nas", (0.485, 0.456, 0.406)), ("caj", (0.4914, 0.4822, 0.4465))])
def test_a_fill_is_what_the_reference_writes_once_it_is_normalised(name: str, written: tuple[float, ...]) -> None:
    normalised = (np.array(FILLS[name][::-1]) / 255 - MEAN) / STD
    # Half a grey level, in deviations.
    assert np.abs(normalised - written).max() <= 0.5 / 255 / min(STD)


def normal(images: np.ndarray) -> np.ndarray:
    """Pixels as a network takes them: RGB, in deviations."""
    return (images[..., ::-1] / 255 - MEAN) / STD


def middling(n: int) -> np.ndarray:
    """Pictures far enough from black and white that no channel is cut there."""
    return np.random.default_rng(1).integers(40, 215, (n, 24, 12, 3), dtype=U8)


def which(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """For each row: 0, 1, 2 for red, green, blue, 3 for luma, 4 for unchanged; asserts that it is one of them."""
    old, new = normal(before), normal(after)
    luma = old @ np.array([0.2989, 0.5870, 0.1140])
    candidates = [np.repeat(x[..., None], 3, -1) for x in (old[..., 0], old[..., 1], old[..., 2], luma)] + [old]
    distance = np.stack([np.abs(new - x).max((1, 2, 3)) for x in candidates], 1)
    # Rounded to a grey level, by OpenCV with weights rounded to 1/1024, and nothing else.
    assert distance.min(1).max() <= (0.5 + 3 * 255 / 2048) / 255 / min(STD)
    return distance.argmin(1)


@pytest.mark.parametrize(("grey", "kinds"), [(False, 3), (True, 4)])
def test_a_visible_crop_gets_each_channel_equally_often(grey: bool, kinds: int) -> None:
    before = middling(3000)
    after = before.copy()
    chosen = np.arange(3000) % 2 == 0
    channels.exchange(after, chosen, np.random.default_rng(0), grey=grey)
    found = which(before, after)
    assert (found[~chosen] == 4).all()
    counts = np.bincount(found[chosen], minlength=5)
    assert counts[kinds:].sum() == 0
    share = 1500 / kinds
    assert np.abs(counts[:kinds] - share).max() < 5 * share ** 0.5


def test_an_infrared_crop_is_adapted_with_the_published_odds() -> None:
    before = middling(4000)
    after = before.copy()
    channels.adapt(after, np.ones(4000, bool), np.random.default_rng(0))
    counts = np.bincount(which(before, after), minlength=5)
    expected = np.array([1000, 1000, 1000, 500, 500])
    assert (np.abs(counts - expected) < 5 * expected ** 0.5).all()


def test_what_would_be_darker_than_black_or_brighter_than_white_is_cut_there() -> None:
    # Red 0 and 255 in deviations, as blue, would be at -18 and 232.6; blue, as red, at 18.3 and 277.8.
    ends = np.array([[[[0, 0, 0], [255, 255, 255]]]], U8)
    seen = {tuple(out.ravel().tolist()) for seed in range(20) for out in [ends.copy()]
            if channels.exchange(out, np.ones(1, bool), np.random.default_rng(seed)) is None}
    assert len(seen) == 3
    assert any(row[0] == 0 and 232 <= row[3] <= 233 for row in seen)
    assert any(18 <= row[2] <= 19 and row[5] == 255 for row in seen)
