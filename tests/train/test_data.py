"""Batches hold what they promise, augmentation disturbs what it says and nothing else."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.data.augment import Augmentation, augment
from train.data.batches import Batches
from train.data.crops import Crops
from train.data.drawn import Drawn, draw

STILL = Augmentation(flip=0, shift=0, zoom_out=0, zoom_in=0, stretch=0, erase=0, exchange=0, tone=0)


def labels(identities: int, cameras: tuple[int, ...], per_camera: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    camera = np.tile(np.repeat(cameras, per_camera), identities).astype(np.int64)
    identity = np.repeat(np.arange(identities) * 7 + 3, len(cameras) * per_camera).astype(np.int64)
    return identity, camera, camera % 3 == 0


@given(st.integers(2, 9), st.integers(1, 5), st.integers(0, 5), st.integers(0, 40))
def test_a_batch_holds_p_people_with_k_crops_of_each_modality(p: int, k: int, seed: int, step: int) -> None:
    identity, camera, infrared = labels(9, (1, 2, 3, 5), 2)
    batches = Batches(identity, camera, infrared, identities_per_batch=p, crops_per_modality=k, seed=seed)
    rows = batches.at(step)
    assert rows.shape == (batches.size,) == (2 * p * k,)
    assert infrared[rows].tolist() == [False] * (p * k) + [True] * (p * k)
    for half in np.split(rows, 2):
        people = identity[half].reshape(p, k)
        assert (people == people[:, :1]).all()
        assert len(set(people[:, 0].tolist())) == p
    assert (identity[rows[:p * k]] == identity[rows[p * k:]]).all()


def test_a_batch_keeps_to_the_first_people_when_told_to() -> None:
    identity, camera, infrared = labels(10, (1, 3), 1)
    batches = Batches(identity, camera, infrared, identities_per_batch=4, crops_per_modality=1, seed=0)
    few = {int(person) for step in range(40) for person in identity[batches.at(step, people=5)]}
    assert few == {3, 10, 17, 24, 31}
    assert {int(person) for step in range(40) for person in identity[batches.at(step)]} == set(identity.tolist())


def test_two_crops_of_somebody_come_from_two_cameras_if_there_are_two() -> None:
    identity, camera, infrared = labels(6, (1, 2, 3, 6), 3)
    batches = Batches(identity, camera, infrared, identities_per_batch=6, crops_per_modality=2, seed=0)
    for step in range(20):
        assert (np.diff(camera[batches.at(step)].reshape(-1, 2), axis=1) != 0).all()


def test_a_batch_follows_from_seed_and_step_alone() -> None:
    identity, camera, infrared = labels(8, (1, 3), 4)

    def make(seed: int) -> Batches:
        return Batches(identity, camera, infrared, identities_per_batch=4, crops_per_modality=2, seed=seed)

    late = make(1).at(17)
    walked = make(1)
    for step in range(17):
        walked.at(step)
    assert (walked.at(17) == late).all()
    assert (make(2).at(17) != late).any()


def test_somebody_seen_in_one_modality_only_is_left_out() -> None:
    identity, camera, infrared = labels(4, (1, 3), 2)
    only_visible = identity == 3
    infrared = infrared & ~only_visible
    batches = Batches(identity, camera, infrared, identities_per_batch=3, crops_per_modality=1, seed=0)
    assert 3 not in identity[np.concatenate([batches.at(step) for step in range(5)])]
    with pytest.raises(ValueError, match="at most the 3 identities"):
        Batches(identity, camera, infrared, identities_per_batch=4, crops_per_modality=1, seed=0)


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


def test_a_drawn_set_is_the_same_every_time_and_its_fingerprint_sees_one_pixel() -> None:
    what = Drawn(identities=2, first_identity=5, cameras=(1, 3), per_camera=1)
    crops, again = draw(what, 64, 32), draw(what, 64, 32)
    assert crops.fingerprint() == again.fingerprint()
    assert (draw(msgspec.structs.replace(what, first_crop=1), 64, 32).images != crops.images).any()
    assert crops.identity.tolist() == [5, 5, 6, 6]
    assert crops.infrared.tolist() == [False, True] * 2
    touched = crops.images.copy()
    touched[0, 0, 0, 0] ^= 1
    assert Crops(touched, crops.identity, crops.camera, crops.infrared).fingerprint() != crops.fingerprint()


def test_sets_overlap_when_they_share_a_person_of_one_world() -> None:
    first = Drawn(identities=10, first_identity=0)
    assert first.overlaps(Drawn(identities=1, first_identity=9))
    assert not first.overlaps(Drawn(identities=1, first_identity=10))
    assert not first.overlaps(Drawn(identities=10, first_identity=0, seed=1))


def test_crops_whose_labels_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match=r"camera: expected shape \(2,\)"):
        Crops(images(2), np.zeros(2, np.int64), np.zeros(3, np.int64), np.zeros(2, bool))
    with pytest.raises(ValueError, match="images: expected uint8"):
        Crops(images(0), *(np.zeros(0, np.int64),) * 2, np.zeros(0, bool))
