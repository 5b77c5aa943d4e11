"""What is reported of unseen people is what C3MMD is in training, on sets of any shape."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train.discrepancy import discrepancy
from train.losses.c3mmd import Kernel, cmmd, sp

seeds = st.integers(0, 2**32 - 1)
kernels = st.sampled_from(("second_moment", "both_moments"))
Set = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]


def crowd(seed: int, counts: npt.NDArray[np.int64]) -> Set:
    """Rows in no order; ``counts`` has visible and infrared rows of each identity."""
    rng = np.random.default_rng(seed)
    identity = np.repeat(np.repeat([900, 3, 55, 12][:len(counts)], 2), counts.ravel())
    infrared = np.repeat(np.tile([False, True], len(counts)), counts.ravel())
    turn = rng.permutation(len(identity))
    return rng.normal(size=(len(turn), 6)), identity[turn], infrared[turn]


def tensors(found: Set) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(x) for x in found)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, kernel=kernels)
def test_the_class_wise_mmd_is_the_loss_however_many_crops_there_are(seed: int, kernel: Kernel) -> None:
    people = crowd(seed, np.random.default_rng(seed).integers(1, 5, (4, 2)))
    expected = cmmd(*tensors(people), kernel=kernel)
    assert discrepancy(*people, kernel=kernel).class_mmd == pytest.approx(expected.item(), abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, kernel=kernels)
def test_between_is_the_same_figure_between_two_people_of_one_modality(seed: int, kernel: Kernel) -> None:
    rows, identity, infrared = crowd(seed, np.random.default_rng(seed).integers(1, 5, (3, 2)))
    found = []
    for side in (False, True):
        for a in (900, 3, 55):
            for b in {900, 3, 55} - {a}:
                pair = (infrared == side) & ((identity == a) | (identity == b))
                found.append(cmmd(torch.from_numpy(rows[pair]), torch.zeros(int(pair.sum()), dtype=torch.int64),
                                  torch.from_numpy(identity[pair] == b), kernel=kernel).item())
    assert discrepancy(rows, identity, infrared, kernel=kernel).between == pytest.approx(np.mean(found), abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=seeds)
def test_the_similarity_distance_is_the_loss_on_mean_directions_times_their_number(seed: int) -> None:
    rows, identity, infrared = crowd(seed, np.random.default_rng(seed).integers(1, 5, (4, 2)))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    means = [unit[(identity == person) & (infrared == side)].mean(0)
             for side in (False, True) for person in (900, 3, 55, 12)]
    expected = 4 * sp(torch.from_numpy(np.array(means)), torch.arange(4).repeat(2), torch.arange(8) >= 4)
    assert discrepancy(rows, identity, infrared).similarity == pytest.approx(expected.item(), abs=1e-12)


def test_nothing_changes_with_lengths_order_or_people_seen_in_one_modality_only() -> None:
    rows, identity, infrared = crowd(5, np.full((4, 2), 3))
    straight = discrepancy(rows, identity, infrared)
    rng = np.random.default_rng(6)
    more = np.concatenate([rows * rng.uniform(0.1, 10, (len(rows), 1)), rng.normal(size=(2, 6))])
    turn = rng.permutation(len(more))
    again = discrepancy(more[turn], np.append(identity, [4, 1000])[turn], np.append(infrared, [True, False])[turn])
    assert again == pytest.approx(straight, abs=1e-12)
    assert again.identities == 4


def test_modalities_that_agree_are_at_zero_and_everybody_in_one_spot_shows_between() -> None:
    rows, identity, _ = crowd(7, np.full((4, 2), 2))
    twice = np.concatenate([rows, rows])
    flags = np.arange(len(twice)) >= len(rows)
    same = discrepancy(twice, np.tile(identity, 2), flags)
    assert (same.class_mmd, same.similarity) == pytest.approx((0, 0), abs=1e-12)
    assert same.between > 0.1
    collapsed = discrepancy(np.ones_like(twice), np.tile(identity, 2), flags)
    assert collapsed[:3] == pytest.approx((0, 0, 0), abs=1e-12)


def test_a_row_of_zeros_counts_as_a_vector_without_direction() -> None:
    found = discrepancy(np.array([[0.0, 0], [1, 0], [0, 1], [0, 1]], np.float32), np.array([0, 0, 1, 1]),
                        np.array([False, True, False, True]))
    assert found.class_mmd == pytest.approx(0.5)  # the zero row is at 1 from (1, 0)


@pytest.mark.parametrize(("rows", "identity", "infrared", "sentence"), [
    (np.eye(3), [0, 0], [False, True], "found shapes"),
    (np.ones(2), [0, 0], [False, True], "found shapes"),
    (np.eye(3), [0, 0, 1], [False, True, True], "at least two identities in both modalities, found 1"),
    (np.eye(4) * np.nan, [0, 0, 1, 1], [False, True, False, True], "finite"),
])
def test_sets_that_say_nothing_are_refused(rows: npt.NDArray[np.float64], identity: list[int], infrared: list[bool],
                                           sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        discrepancy(rows, np.array(identity), np.array(infrared))


def test_an_unknown_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="found 'rbf'"):
        discrepancy(*crowd(0, np.full((2, 2), 1)), kernel="rbf")  # type: ignore[arg-type]
