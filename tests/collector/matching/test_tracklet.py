"""A tracklet's row says what its sightings say, whatever was added and removed around it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.collector.matching.tracklet import Tracklet, Tracklets, cannot_link
from tests.collector.matching.test_identity import Seen
from tests.collector.people import DIMENSION, F32, People

steps = st.one_of(
    st.tuples(st.just("see"), st.integers(0, 3), st.sampled_from("ab"), st.integers(1, 5), st.integers(0, 30),
              st.integers(0, 6)),
    st.tuples(st.just("remove"), st.integers(0, 10)))


@pytest.mark.prove
@given(st.lists(steps, max_size=60))
def test_scores_are_mean_cosines_and_conflicts_are_cannot_link(drawn: list[tuple[object, ...]]) -> None:
    people, tracklets = People(noise=0.8), Tracklets(DIMENSION)
    seen_by: dict[Tracklet, list[F32]] = {}
    for number, step in enumerate(drawn, 1):
        if step[0] == "remove":
            if seen_by:
                gone = list(seen_by)[step[1] % len(seen_by)]    # type: ignore[operator]
                tracklets.remove(gone)
                del seen_by[gone]
                assert tracklets.opened_by(gone.opened_by) is None
            continue
        _, person, camera, tracklet, at, lasting = step
        vector = people.vector(person)      # type: ignore[arg-type]
        seen = Seen(number, camera, tracklet, float(at), float(at + lasting))   # type: ignore[arg-type, operator]
        found, fresh = tracklets.extend(seen, vector)
        assert fresh == (found not in seen_by)
        seen_by.setdefault(found, []).append(vector)
        tracklets.assign(found, person + 1)     # type: ignore[operator]
    assert set(tracklets) == set(seen_by)
    for one, other in itertools.product(seen_by, repeat=2):
        expected = np.mean([a @ b for a in seen_by[one] for b in seen_by[other]])
        assert tracklets.scores_between([one], [other])[0, 0] == pytest.approx(expected, abs=1e-5)
        assert tracklets.conflicts([one])[0, other.row] == cannot_link(one, other)
        assert tracklets.conflicts([one], [other])[0, 0] == cannot_link(one, other)
    for tracklet in seen_by:
        row = tracklets.traits[tracklet.row]
        assert (row["opened_by"], row["identity"]) == (tracklet.opened_by, tracklet.identity)
        assert tracklets.opened_by(tracklet.opened_by) is tracklet
