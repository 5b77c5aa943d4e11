"""Augmentation disturbs what it says and nothing else."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmnas_edge import config
from cmnas_edge.errors import ConfigError
from cmnas_edge.preprocess import MEAN, STD
from train.data.augment import Augmentation, augment, erase, exchange, loosen, pad, tone

STILL = Augmentation(flip=0, shift=0, zoom_out=0, zoom_in=0, stretch=0, erase=0, exchange=0, tone=0)


def images(n: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 32, 16, 3), dtype=np.uint8)


def test_augmentation_of_strength_zero_changes_nothing() -> None:
    before = images()
    after = augment(before, np.arange(8) % 2 == 0, STILL, np.random.default_rng(0))
    assert (after == before).all()
    assert after is not before


def test_augmentation_leaves_its_input_alone_and_repeats_itself() -> None:
    before = images()
    kept = before.copy()
    infrared = np.arange(8) % 2 == 0
    once, again, other = (augment(before, infrared, Augmentation(), np.random.default_rng(s)) for s in (3, 3, 4))
    assert (before == kept).all()
    assert (once == again).all()
    assert (once != other).any()


def test_a_share_of_an_augmentation_is_weaker_in_everything_but_mirroring() -> None:
    whole, half = Augmentation(), Augmentation().scaled(0.5)
    for name in ("shift", "zoom_out", "zoom_in", "stretch", "erase", "exchange", "tone"):
        assert getattr(half, name) == getattr(whole, name) / 2
    assert half.flip == whole.flip
    assert whole.scaled(1) == whole


def test_a_mirrored_crop_is_the_mirror_image() -> None:
    how = Augmentation(flip=1, shift=0, zoom_out=0, zoom_in=0, stretch=0, erase=0, exchange=0, tone=0)
    before = images()
    assert (augment(before, np.ones(8, bool), how, np.random.default_rng(0)) == before[:, :, ::-1]).all()


def test_colours_are_taken_from_visible_crops_only() -> None:
    how = Augmentation(flip=0, shift=0, zoom_out=0, zoom_in=0, stretch=0, erase=0, exchange=1, tone=0)
    before, infrared = images(), np.arange(8) < 4
    after = augment(before, infrared, how, np.random.default_rng(0))
    assert (after[:4] == before[:4]).all()
    assert (after[4:] == after[4:, ..., :1]).all()
    # A mix of channels lies between them.
    low, high = before[4:].min(-1, keepdims=True), before[4:].max(-1, keepdims=True)
    assert ((after[4:] >= low) & (after[4:] <= high)).all()


@settings(max_examples=20)
@given(st.integers(0, 1000), st.floats(0.02, 0.5))
def test_erasing_hides_one_rectangle_of_the_promised_size(seed: int, area: float) -> None:
    how = Augmentation(flip=0, shift=0, zoom_out=0, zoom_in=0, stretch=0, erase=1, erase_area=area, exchange=0, tone=0)
    before = np.full((6, 128, 64, 3), 7, np.uint8)
    for image in augment(before, np.ones(6, bool), how, np.random.default_rng(seed)) != 7:
        rows, columns = image.any((1, 2)), image.any((0, 2))
        if not rows.any():
            continue  # hidden under the very grey it had
        high, wide = np.ptp(np.flatnonzero(rows)) + 1, np.ptp(np.flatnonzero(columns)) + 1
        # Each side is rounded to a pixel, at most half a pixel up.
        assert high * wide <= area * 128 * 64 + (high + wide) / 2 + 1


def test_a_looser_box_shows_the_person_smaller() -> None:
    how = Augmentation(flip=0, shift=0, zoom_out=0.5, zoom_in=-0.5, stretch=0, erase=0, exchange=0, tone=0)
    before = np.zeros((3, 64, 32, 3), np.uint8)
    before[:, 16:48, 8:24] = 255
    after = augment(before, np.ones(3, bool), how, np.random.default_rng(0))
    # A box 1.5 times as high and wide shows the square at 1/2.25 of its area.
    middle = after[:, 12:52, 6:26] > 128
    assert middle.mean((1, 2, 3)) * 40 * 20 == pytest.approx([32 * 16 / 2.25] * 3, rel=0.1)


def test_a_recipe_without_the_published_settings_sees_what_it_always_saw() -> None:
    before, infrared, how = images(), np.arange(8) % 2 == 0, Augmentation()
    rng = np.random.default_rng(5)
    expected = loosen(before, how, rng)
    exchange(expected, ~infrared & (rng.random(8) < how.exchange), rng)
    tone(expected, how.tone, rng)
    erase(expected, how.erase, how.erase_area, rng)
    assert (augment(before, infrared, how, np.random.default_rng(5)) == expected).all()


def test_mirroring_alone_gives_what_resampling_gives() -> None:
    before = images()
    alone = Augmentation(flip=0.5, shift=0, zoom_out=0, zoom_in=0, stretch=0)
    nearly = Augmentation(flip=0.5, shift=0, zoom_out=1e-12, zoom_in=0, stretch=0)
    one, other = (loosen(before, how, np.random.default_rng(2)) for how in (alone, nearly))
    assert (one == other).all()
    assert (one != before).any((1, 2, 3)).tolist() != [False] * 8


@given(st.integers(1, 15), st.integers(0, 1000))
def test_padding_shows_the_crop_moved_with_black_where_it_left(k: int, seed: int) -> None:
    before = images() | 1  # nothing in it is black
    for old, new in zip(before, pad(before, k, np.random.default_rng(seed)), strict=True):
        rows, columns = np.flatnonzero(new.any((1, 2))), np.flatnonzero(new.any((0, 2)))
        high, wide = len(rows), len(columns)
        assert high >= 32 - k
        assert wide >= 16 - k
        # What is cut off at one side came in as black at the other.
        y, x = 32 - high if rows[0] == 0 else 0, 16 - wide if columns[0] == 0 else 0
        assert (new[rows][:, columns] == old[y:y + high, x:x + wide]).all()


def test_a_padded_crop_may_come_out_at_every_place() -> None:
    before = np.zeros((4000, 7, 7, 3), np.uint8)
    before[:, 3, 3] = 255
    _, y, x, _ = np.nonzero(pad(before, 3, np.random.default_rng(0)))
    counts = np.bincount(7 * y[::3] + x[::3], minlength=49)
    # Each of 49 places 82 times on average; seven deviations of a binomial count are 63.
    assert counts.min() > 82 - 63
    assert counts.max() < 82 + 63


def test_padding_that_could_leave_nothing_of_a_crop_is_refused() -> None:
    with pytest.raises(ValueError, match="fewer black pixels than a crop of 32x16 has, found 16"):
        pad(images(), 16, np.random.default_rng(0))


@pytest.mark.parametrize(("line", "complaint"), [
    ("erase_as = 'cmnas'", "erase_as"),
    ("erase_as = 'mean'\nerase_area = 0.01", "at least 0.02"),
    ("pad = -1", ">= 0"),
    ("exchange = 1.5", "<= 1"),
])
def test_a_recipe_that_asks_for_what_cannot_be_is_refused(line: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "augmentation.toml"
    path.write_text(line)
    with pytest.raises(ConfigError, match=complaint):
        config.load(path, Augmentation)


CM_NAS = Augmentation(pad=10, shift=0, zoom_out=0, zoom_in=0, stretch=0, erase=0.5, erase_area=0.4,
                      erase_as="cm-nas", exchange=0, tone=0)
CAJ = Augmentation(pad=10, shift=0, zoom_out=0, zoom_in=0, stretch=0, erase=0.5, erase_area=0.4, erase_as="caj",
                   exchange=0.5, exchange_as="channel", exchange_infrared=1, tone=0)


@pytest.mark.parametrize("how", [CM_NAS, CAJ])
def test_published_augmentation_repeats_itself_and_leaves_its_input_alone(how: Augmentation) -> None:
    before = images(32)
    kept, infrared = before.copy(), np.arange(32) >= 16
    once, again, other = (augment(before, infrared, how, np.random.default_rng(s)) for s in (3, 3, 4))
    assert (before == kept).all()
    assert (once == again).all()
    assert (once != other).any()


def test_published_settings_at_no_strength_change_nothing_but_the_side() -> None:
    before = images()
    for how in (CM_NAS, CAJ):
        still = msgspec.structs.replace(how.scaled(0), flip=0)
        assert (augment(before, np.arange(8) >= 4, still, np.random.default_rng(0)) == before).all()


def test_erasing_comes_before_the_channels_as_published() -> None:
    # Erased everywhere it may be, a picture of one grey is the colour of the fill, then of one channel of it.
    how = msgspec.structs.replace(CAJ, pad=0, flip=0, erase=1, exchange=1)
    before = np.full((16, 64, 32, 3), 100, np.uint8)
    for image in augment(before, np.zeros(16, bool), how, np.random.default_rng(0)):
        assert len(np.unique(image.reshape(-1, 3), axis=0)) == 2
        normalised = (image[..., ::-1] / 255 - MEAN) / STD
        assert np.ptp(normalised, axis=-1).max() < 0.02


def test_only_the_chosen_modality_is_given_one_channel() -> None:
    before, infrared = images(64), np.arange(64) >= 32
    visible_only = msgspec.structs.replace(STILL, exchange=1, exchange_as="channel")
    after = augment(before, infrared, visible_only, np.random.default_rng(0))
    assert (after[32:] == before[32:]).all()
    assert (after[:32] != before[:32]).any((1, 2, 3)).all()
    infrared_only = msgspec.structs.replace(STILL, exchange_infrared=1)
    after = augment(before, infrared, infrared_only, np.random.default_rng(0))
    assert (after[:32] == before[:32]).all()
    assert (after[32:] != before[32:]).any((1, 2, 3)).sum() > 16
