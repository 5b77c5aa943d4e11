"""Ranges hold what was put in, no more, and as few of them as can be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.collector.store.ranges import Ranges

spans = st.tuples(st.sampled_from("ab"), st.sampled_from("st"), st.integers(1, 40), st.integers(0, 6))


@given(st.lists(spans, max_size=20))
def test_what_is_in_ranges_is_what_was_put_in_and_neighbours_are_one(put: list[tuple[str, str, int, int]]) -> None:
    ranges, meant = Ranges(), set()
    for device, spool, first, more in put:
        ranges.add(device, spool, first, first + more)
        meant |= {(device, spool, number) for number in range(first, first + more + 1)}
    held = [(device, spool, number) for device, spool, first, last in ranges for number in range(first, last + 1)]
    assert len(held) == len(set(held))
    assert set(held) == meant
    ends = {(d, s, last) for d, s, _, last in ranges}
    assert not any((d, s, first - 1) in ends for d, s, first, _ in ranges)
    assert set(Ranges(ranges)) == set(ranges)
