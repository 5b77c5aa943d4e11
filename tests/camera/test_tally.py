"""Samples of a series without an end are even, and never grow."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from cmnas_edge.camera.tally import Tally

MOST = 2048


@settings(max_examples=20)
@given(st.integers(0, 6 * MOST))
@example(MOST - 1)
@example(MOST)
@example(MOST + 1)
@example(4 * MOST)
def test_of_a_series_without_an_end_every_nth_value_is_kept_and_they_are_few(count: int) -> None:
    tally = Tally()
    assert tally.last_lag_s == 0.0
    size = tally._lags_s._kept.buffer_info()
    for number in range(count):
        tally.lag(number)
    kept = tally.snapshot()["lag_s"]
    assert isinstance(kept, list)
    stride = 1
    while -(-count // stride) >= MOST:
        stride *= 2
    assert kept == list(range(0, count, stride))
    assert tally.last_lag_s == (kept or [0.0])[-1]
    assert tally._lags_s._kept.buffer_info() == size
