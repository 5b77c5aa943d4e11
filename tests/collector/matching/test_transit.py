"""Ways between cameras are learned from who took them, say nothing before, and bar what nobody can walk."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.collector.matching.transit import CAMERAS, ENOUGH, LIMIT, Transit

legs = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12), st.floats(-60, 10**5)), max_size=60)


def says(transit: Transit, start: int, end: int, seconds: float) -> float:
    return float(transit.evidence(np.array([start]), np.array([end]), np.array([seconds]))[0])


def test_what_nobody_walked_says_nothing() -> None:
    assert says(Transit(), 0, 1, 30.0) == 0
    assert says(Transit(), 900, 1000, 30.0) == 0


def test_a_way_often_taken_speaks_for_whoever_takes_it_and_not_for_another_camera_or_time() -> None:
    transit = Transit()
    for _ in range(30):
        transit.add(0, 1, 40.0)
        transit.add(1, 0, 40.0)
    assert LIMIT / 2 < says(transit, 0, 1, 40.0) <= LIMIT
    assert says(transit, 0, 1, 5000.0) < -1
    assert says(transit, 0, 2, 40.0) < 0


def test_a_way_faster_than_half_the_fastest_ever_seen_is_impossible_once_enough_was_seen() -> None:
    transit = Transit()
    for _ in range(ENOUGH - 1):
        transit.add(0, 1, 40.0)
    assert np.isfinite(says(transit, 0, 1, 3.0))
    transit.add(0, 1, 60.0)
    assert says(transit, 0, 1, 3.0) == -np.inf
    assert np.isfinite(says(transit, 0, 1, 30.0))
    assert np.isfinite(says(transit, 1, 0, 3.0))     # the way back is another


def test_where_two_cameras_see_one_place_nothing_is_impossible() -> None:
    transit = Transit()
    for _ in range(3 * ENOUGH):
        transit.add(0, 1, -3.0)
    assert all(np.isfinite(says(transit, 0, 1, seconds)) for seconds in (-40.0, -3.0, 0.0, 1.0, 500.0))


def test_a_way_tells_what_it_takes_how_much_that_counts_and_what_is_impossible() -> None:
    transit, rng = Transit(), np.random.default_rng(3)
    took = rng.lognormal(np.log(40.0), 0.3, 4 * ENOUGH)
    for count, seconds in enumerate(took, start=1):
        transit.add(0, 1, seconds)
        (leg,) = transit.legs()
        assert (leg.start, leg.end, leg.count) == (0, 1, count)
        assert leg.weight == count / (count + 3)
        assert (leg.impossible_s is None) == (count < ENOUGH)
    # As finely as the bins, each 1.39 times as long as the one before.
    for found, share in ((leg.soonest_s, 0.1), (leg.median_s, 0.5), (leg.latest_s, 0.9)):
        assert np.quantile(took, share) / 1.2 < found < np.quantile(took, share) * 1.2
    assert leg.impossible_s is not None
    assert says(transit, 0, 1, leg.impossible_s - 0.01) == -np.inf
    assert np.isfinite(says(transit, 0, 1, leg.impossible_s))


def test_cameras_without_end_take_no_memory_and_say_nothing() -> None:
    transit = Transit()
    for number in range(CAMERAS, CAMERAS + 10**6, 10**5):
        for _ in range(ENOUGH):
            transit.add(number, number + 1, 40.0)
    assert list(transit.legs()) == []
    assert says(transit, CAMERAS, CAMERAS + 1, 40.0) == 0


@given(legs, legs)
def test_legs_taken_back_leave_no_trace(kept: list[tuple[int, int, float]], gone: list[tuple[int, int, float]]) -> None:
    transit, plain = Transit(), Transit()
    for leg in kept:
        plain.add(*leg)
        transit.add(*leg)
    for leg in gone:
        transit.add(*leg)
    for leg in gone:
        transit.add(*leg, times=-1)
    assert sorted(transit.legs(), key=str) == sorted(plain.legs(), key=str)
    pairs = np.array([(a, b) for a in range(13) for b in range(13)])
    seconds = np.linspace(-50, 3000, len(pairs))
    assert np.array_equal(transit.evidence(pairs[:, 0], pairs[:, 1], seconds),
                          plain.evidence(pairs[:, 0], pairs[:, 1], seconds))


@given(legs, st.integers(0, 2**32 - 1), st.integers(0, 15))
def test_many_legs_to_one_camera_say_what_each_says_alone(
        taken: list[tuple[int, int, float]], seed: int, end: int) -> None:
    transit, rng = Transit(), np.random.default_rng(seed)
    for leg in taken:
        transit.add(*leg)
    start, seconds = rng.integers(0, 20, 1500), rng.uniform(-60, 60_000, 1500)
    seconds[::3] = rng.choice([leg[2] for leg in taken] or [0.0], len(seconds[::3]))
    alone = transit.evidence(start, np.full(1500, end), seconds)
    assert np.array_equal(transit.evidence_to(end, start, seconds), alone)
    assert np.array_equal(transit.evidence_to(end, start[:3], seconds[:3]), alone[:3])
