"""The judge of identities counts as one would by hand, and the rivals keep the one rule they know."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from benchmarks.drawn_day import DAY, NAMES, Day, Look, Pass, draw_passes
from benchmarks.linking import Truth, clustered, nearest, scores


def a_day() -> Day:
    """Two people: one seen three times, once in infrared; the other twice, once while the first is there."""
    passes = [Pass(0, 0, 0, 10, "visible", 1), Pass(1, 0, 5, 15, "visible", 1), Pass(0, 1, 100, 110, "visible", 1),
              Pass(1, 2, 150, 160, "visible", 1), Pass(0, 3, 200, 210, "infrared", 1)]
    looks = [Look(row + 1, NAMES[one.camera], row, one.start, one.end, one.modality) for row, one in enumerate(passes)]
    x = np.eye(4, dtype=np.float32)[[0, 1, 0, 1, 2]]
    return Day(0, passes, looks, x)


def test_pairs_switches_and_idf1_are_counted_as_by_hand() -> None:
    truth = Truth(a_day())
    # Linked: 0-2 (right), 1-4 and 3-4 and 1-3 (of them only 1-3 right). Of one person: 0-2, 0-4, 2-4, 1-3.
    judged = truth.judge(np.array([7, 8, 7, 8, 8]))
    assert (judged.precision, judged.recall) == (2 / 4, 2 / 4)
    assert (judged.precision_across, judged.recall_across) == (0, 0)
    assert judged.idf1 == 4 / 5
    assert judged.switches == 1
    perfect = truth.judge(truth.person)
    assert (perfect.precision, perfect.recall, perfect.recall_across, perfect.idf1, perfect.switches) == (1, 1, 1, 1, 0)


@pytest.mark.parametrize("threshold", [-1.0, 0.5, 0.999])
def test_no_rival_puts_one_person_twice_before_one_camera(threshold: float) -> None:
    day = a_day()
    truth = Truth(day)
    for identity in (nearest(scores(day), truth.clash, threshold), clustered(day, truth.clash, threshold)):
        assert not (truth.linked(identity) & truth.clash).any()


def test_rivals_link_whoever_is_alike() -> None:
    day = a_day()
    truth = Truth(day)
    for identity in (nearest(scores(day), truth.clash, 0.9), clustered(day, truth.clash, 0.9)):
        judged = truth.judge(identity)
        assert (judged.precision, judged.recall) == (1, 2 / 4)


def test_a_day_is_the_same_for_the_same_numbers_and_nobody_is_in_two_far_places_at_once() -> None:
    passes = draw_passes(3, 20)
    assert passes == draw_passes(3, 20) != draw_passes(4, 20)
    assert {one.modality for one in passes} == {"visible", "infrared"}
    assert all(0 <= one.start < one.end <= DAY for one in passes)
    for person in range(20):
        own = [one for one in passes if one.person == person]
        for before, after in itertools.pairwise(own):
            together = {NAMES[before.camera], NAMES[after.camera]}
            assert after.start >= before.end or together == {"gate", "doorway"}
