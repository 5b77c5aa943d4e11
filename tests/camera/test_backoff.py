"""Waiting before the next attempt: longer each time, bounded, and begun again only by success."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.camera.frames.source import Backoff
from tests.camera.clock import Clock


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=30))
def test_every_wait_lies_between_the_first_and_the_last_and_its_ceiling_doubles(draws: list[float]) -> None:
    clock = Clock()
    numbers = iter(draws)
    backoff = Backoff(1, 60, clock=clock, draw=lambda: next(numbers))
    for attempt, draw in enumerate(draws):
        ceiling = min(60, 2.0 ** max(1, attempt))
        wait = backoff.failed()
        assert max(1, ceiling / 2) <= wait <= ceiling
        assert wait == max(1, ceiling * (1 - draw / 2))


def test_only_a_source_that_held_for_a_while_starts_over() -> None:
    clock = Clock()
    backoff = Backoff(1, 60, settled_s=10, clock=clock, draw=lambda: 0.0)
    assert [backoff.failed() for _ in range(4)] == [2, 2, 4, 8]
    backoff.worked()
    clock.now += 9
    backoff.worked()
    assert backoff.failed() == 16
    for _ in range(12):
        backoff.worked()
        clock.now += 1
    assert backoff.failed() == 2


def test_a_camera_that_gives_one_frame_and_dies_is_not_asked_in_a_busy_loop() -> None:
    clock = Clock()
    backoff = Backoff(1, 60, clock=clock, draw=lambda: 0.999)
    for _ in range(8):
        backoff.worked()
        clock.now += backoff.failed()
    assert clock.now - 1000 > 60
