"""Batches hold what they promise, whoever draws them and however many share them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.golden import golden
from train.data.batches import Batches, Draw, Sampler, Shuffled, draw_as_published


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


def test_who_was_left_out_and_who_has_too_few_crops_can_be_said() -> None:
    identity, camera, infrared = labels(4, (1, 3), 2)
    infrared = infrared & (identity != 3) & (identity != 10)  # both: visible only
    batches = Batches(identity, camera, infrared, identities_per_batch=2, crops_per_modality=2, seed=0)
    assert (batches.people_count, batches.left_out_count, batches.short_count) == (2, 2, 0)
    batches = Batches(identity, camera, infrared, identities_per_batch=2, crops_per_modality=3, seed=0)
    assert batches.short_count == 2
    assert batches.odd == ("2 of 4 people were seen in one modality only: left out; 2 of 2 people have fewer crops of "
                           "a modality than the 3 that a batch takes of it, the fewest 2: theirs come more than once, "
                           "up to about 1.5 times")


@pytest.mark.parametrize(("cameras", "unseen"), [((1, 2), "infrared"), ((3, 6), "visible")])
def test_crops_of_one_modality_alone_are_refused_by_its_name_and_their_cameras(cameras: tuple[int, ...], unseen: str
                                                                              ) -> None:
    with pytest.raises(ValueError, match=f"expected both modalities, found no {unseen} one under the cameras "
                                         f"{cameras[0]}, {cameras[1]}; add a camera"):
        Batches(*labels(4, cameras, 2), identities_per_batch=2, crops_per_modality=1, seed=0)


@given(st.integers(1, 9), st.integers(0, 20))
def test_somebody_with_fewer_crops_than_k_shows_each_equally_often(k: int, step: int) -> None:
    identity, camera, infrared = labels(3, (1, 2, 3), 2)  # four visible ones each, two infrared
    rows = Batches(identity, camera, infrared, identities_per_batch=3, crops_per_modality=k, seed=0).at(step)
    for half, have in zip(np.split(rows, 2), (4, 2), strict=True):
        for mine in half.reshape(3, k):
            counts = np.unique(mine, return_counts=True)[1]
            assert len(counts) == min(k, have)
            assert np.ptp(counts) <= 1


@pytest.mark.parametrize(("p", "k"), [(0, 1), (1, 0), (-1, 2)])
def test_a_batch_of_nobody_is_refused(p: int, k: int) -> None:
    with pytest.raises(ValueError, match="at least one identity and one crop"):
        Batches(*labels(4, (1, 3), 2), identities_per_batch=p, crops_per_modality=k, seed=0)


def reference() -> tuple[dict[str, np.ndarray], list[tuple[np.ndarray, np.ndarray]]]:
    """The labels that the reference sampled from, and the rows of each identity among them."""
    kept = golden("training_utils")
    pools = [(np.flatnonzero(kept["sampler_yv"] == person), np.flatnonzero(kept["sampler_yt"] == person))
             for person in np.unique(kept["sampler_yv"])]
    return kept, pools


def test_batches_are_drawn_number_for_number_as_by_the_reference() -> None:
    kept, pools = reference()
    random = np.random.RandomState(123)
    drawn = np.stack([draw_as_published(pools, 16, 4, random).reshape(2, -1) for _ in range(6)], 1).reshape(2, -1)
    np.testing.assert_array_equal(drawn[0], kept["sampler_iv"])
    np.testing.assert_array_equal(drawn[1], kept["sampler_it"])


def published(p: int = 16, k: int = 4, seed: int = 0) -> tuple[Batches, np.ndarray, np.ndarray]:
    kept, _ = reference()
    identity = np.concatenate([kept["sampler_yv"], kept["sampler_yt"]])
    infrared = np.arange(len(identity)) >= len(kept["sampler_yv"])
    return Batches(identity, np.zeros_like(identity), infrared, identities_per_batch=p, crops_per_modality=k,
                   seed=seed, draw="published"), identity, infrared


def test_an_epoch_has_as_many_steps_as_the_reference_draws() -> None:
    kept, _ = reference()
    assert published()[0].steps_per_epoch * 64 == kept["sampler_len"]


@given(st.integers(1, 20), st.integers(1, 9), st.integers(0, 5), st.integers(0, 500))
def test_a_published_batch_holds_p_people_with_k_crops_of_each_modality(p: int, k: int, seed: int, step: int) -> None:
    batches, identity, infrared = published(p, k, seed)
    rows = batches.at(step)
    assert infrared[rows].tolist() == [False] * (p * k) + [True] * (p * k)
    people = identity[rows].reshape(2, p, k)
    assert (people == people[:1, :, :1]).all()
    assert len(np.unique(people)) == p


def test_published_batches_repeat_crops_and_follow_from_seed_and_step_alone() -> None:
    batches, _, _ = published(seed=1)
    late = batches.at(17)
    again = published(seed=1)[0]
    for step in range(17):
        again.at(step)
    assert (again.at(17) == late).all()
    assert (again.at(18) != late).any()
    assert (published(seed=2)[0].at(17) != late).any()
    assert any(len(np.unique(mine)) < 4 for mine in late.reshape(-1, 4))
    few = {int(person) for step in range(20) for person in published(5)[1][published(5)[0].at(step, people=6)]}
    assert few == set(range(6))


def samplers(world: int) -> list[Sampler]:
    """One of each kind, with batches that so many processes can share."""
    identity, camera, infrared = labels(12, (1, 2, 3), 2)
    return [*(Batches(identity, camera, infrared, identities_per_batch=2 * world, crops_per_modality=3, seed=4,
                      draw=draw) for draw in ("cameras", "published")),
            Shuffled(identity, size=5 * world, seed=4)]


@given(st.sampled_from([1, 2, 3, 6]), st.integers(0, 2), st.integers(0, 30), st.sampled_from([None, 12, 13]))
def test_processes_that_share_a_batch_have_together_what_one_would_have(
        world: int, kind: int, step: int, people: int | None) -> None:
    sampler = samplers(world)[kind]
    whole = sampler.at(step, people)
    parts = [sampler.at(step, people, rank=rank, world=world) for rank in range(world)]
    places = [sampler.share(rank, world) for rank in range(world)]
    assert sorted(np.concatenate(places).tolist()) == list(range(sampler.size))
    for part, place in zip(parts, places, strict=True):
        assert part.dtype == np.int64
        assert (part == whole[place]).all()
        assert len(part) == sampler.size // world


@pytest.mark.parametrize("draw", ["cameras", "published"])
def test_each_process_has_whole_identities_in_both_modalities(draw: Draw) -> None:
    identity, camera, infrared = labels(12, (1, 2, 3), 2)
    batches = Batches(identity, camera, infrared, identities_per_batch=6, crops_per_modality=3, seed=4, draw=draw)
    seen: set[int] = set()
    for rank in range(3):
        rows = batches.at(0, rank=rank, world=3)
        assert infrared[rows].tolist() == [False] * 6 + [True] * 6
        people = identity[rows].reshape(2, 2, 3)
        assert (people == people[:1, :, :1]).all()
        assert not seen & set(people.ravel().tolist())
        seen |= set(people.ravel().tolist())
    assert len(seen) == 6


def test_a_batch_that_cannot_be_split_evenly_is_refused() -> None:
    batches, *_, shuffled = samplers(2)
    with pytest.raises(ValueError, match="identities_per_batch: expected a multiple of the 3 processes"):
        batches.at(0, rank=0, world=3)
    with pytest.raises(ValueError, match="batch: expected a multiple of the 3 processes"):
        shuffled.share(0, 3)
    with pytest.raises(ValueError, match="rank: expected 0 to 1, got 2"):
        shuffled.at(0, rank=2, world=2)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 5), st.integers(0, 5))
def test_shuffled_batches_show_each_crop_at_most_once_an_epoch(n: int, size: int, seed: int, epoch: int) -> None:
    identity = np.arange(n) // 3
    if size > n:
        with pytest.raises(ValueError, match=f"1 to {n} crops"):
            Shuffled(identity, size=size, seed=seed)
        return
    batches = Shuffled(identity, size=size, seed=seed)
    steps = range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch)
    seen = np.concatenate([batches.at(step) for step in steps])
    assert len(np.unique(seen)) == len(seen) == n - n % size
    assert 0 <= seen.min() <= seen.max() < n


def test_shuffled_epochs_differ_and_follow_from_the_seed() -> None:
    identity = np.arange(100) // 4
    batches, other = Shuffled(identity, size=100, seed=0), Shuffled(identity, size=100, seed=1)
    assert (batches.at(0) != batches.at(1)).any()
    assert (batches.at(0) != other.at(0)).any()
    assert (batches.at(3) == Shuffled(identity, size=100, seed=0).at(3)).all()


def test_shuffled_batches_keep_to_the_first_people_when_told_to() -> None:
    identity = np.repeat([9, 5, 7, 3], 10)
    batches = Shuffled(identity, size=15, seed=0)
    assert batches.people_count == 4
    rows = batches.at(2, people=2)
    assert set(identity[rows].tolist()) == {3, 5}
    assert len(np.unique(rows)) == 15
    assert set(identity[batches.at(2, people=1)].tolist()) == {3}  # ten crops for fifteen places
    assert (batches.at(2, people=4) == batches.at(2)).all()
