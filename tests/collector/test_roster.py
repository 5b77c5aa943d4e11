"""The list of everybody, and how they get about, against plain loops over the same tracklets."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.collector import views
from cmnas_edge.collector.roster import LONGEST_TRANSIT_S, SPAN_S, Roster
from cmnas_edge.embedding import MODALITIES

CAMERAS = [("gate", "north"), ("gate", "south"), ("yard", "north")]
Row = tuple[int, int, int, float, float]
ROW = st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(0, 1), st.integers(0, 9000), st.integers(0, 60)).map(
    lambda row: (row[0], row[1], row[2], float(row[3]), float(row[3] + row[4])))
ROWS = st.lists(ROW, max_size=25)


def roster(rows: list[Row]) -> Roster:
    kind = [("identity", np.int64), ("camera", np.int32), ("modality", np.int8), ("seen_from", float),
            ("seen_at", float)]
    return Roster(np.array(rows, kind), CAMERAS)


@given(ROWS, st.fixed_dictionaries({}, optional={
    "seen_since": st.integers(0, 9000).map(float), "seen_until": st.integers(0, 9000).map(float),
    "camera": st.sampled_from(["north", "gate/north", "yard/north", "nowhere"]),
    "modality": st.sampled_from(MODALITIES), "across": st.booleans(), "offset": st.integers(0, 4),
    "limit": st.integers(1, 4)}))
def test_a_page_is_what_a_loop_over_everybody_chooses(rows: list[Row], chosen: dict[str, Any]) -> None:
    asked = views.IdentitiesAsked(**chosen)
    people: dict[int, list[Row]] = {}
    for row in rows:
        if row[0]:
            people.setdefault(row[0], []).append(row)

    def fits(row: Row) -> bool:
        device, name = CAMERAS[row[1]]
        return ((asked.seen_since is None or row[4] >= asked.seen_since)
                and (asked.seen_until is None or row[3] <= asked.seen_until)
                and asked.camera in (None, name, f"{device}/{name}")
                and asked.modality in (None, MODALITIES[row[2]]))

    both = {who for who, seen in people.items() if len({row[2] for row in seen}) == 2}
    chosen_ones = (who for who, seen in people.items() if any(map(fits, seen)) and (who in both or not asked.across))
    expected = sorted(chosen_ones, key=lambda who: (-max(row[4] for row in people[who]), who))
    found = roster(rows)
    page = found.page(asked)
    assert (found.total, found.across) == (len(people), len(both))
    assert page.found == len(expected)
    assert page.identities == expected[asked.offset:asked.offset + asked.limit]
    shown = [row for who in expected for row in people[who]]
    assert page.seen_from == min((row[3] for row in shown), default=None)
    assert page.seen_to == max((row[4] for row in shown), default=None)


@given(ROWS)
def test_a_transit_is_an_appearance_and_the_same_persons_next_before_another_camera(rows: list[Row]) -> None:
    took: dict[tuple[int, int], list[float]] = {}
    for who in {row[0] for row in rows} - {0}:
        own = sorted((row for row in rows if row[0] == who), key=lambda row: row[3])
        if len({row[3] for row in own}) < len(own):
            return      # which came next is not said
        for a, b in itertools.pairwise(own):
            if a[1] != b[1] and b[3] - a[4] <= LONGEST_TRANSIT_S:
                took.setdefault((a[1], b[1]), []).append(max(0.0, b[3] - a[4]))
    found = roster(rows).transits(9000.0)
    assert {((t.from_device, t.from_camera), (t.to_device, t.to_camera)): (t.count, t.median_s) for t in found} == {
        (CAMERAS[a], CAMERAS[b]): (len(seconds), pytest.approx(float(np.median(seconds))))
        for (a, b), seconds in took.items()}


@given(ROWS)
def test_traffic_counts_every_appearance_of_the_last_hour_once(rows: list[Row]) -> None:
    until = 9000.0
    counted = roster(rows).traffic(until)
    for number, traffic in enumerate(counted):
        assert sum(traffic.counts) == sum(bool(row[0]) and row[1] == number and until - SPAN_S <= row[3] <= until
                                          for row in rows)


def test_nobody_makes_an_empty_page() -> None:
    found = roster([])
    assert found.page(views.IdentitiesAsked(across=True, camera="north")) == ([], 0, None, None)
    assert (found.transits(0.0), found.newest) == ([], None)
