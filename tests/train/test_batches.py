"""Batches hold what they promise, whoever draws them and however many share them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.data.batches import Batches


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
