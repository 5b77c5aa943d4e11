"""The watchdog starves when a camera hangs, and only then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cmnas_edge.camera.running.pulse import LONGEST_WAIT_S, MARGIN_S, Pulse, patience_s
from cmnas_edge.camera.running.vitals import CameraState, CameraVitals
from tests.camera.clock import Clock

LIVE = CameraVitals(name="north", state="live", frame_count=1, patience_s=10.0)


def seen(pulse: Pulse, clock: Clock, camera: CameraVitals, seconds: int, *, frames: float = 0.0, down_every: int = 0
         ) -> list[int]:
    """At which seconds the camera is called stuck."""
    found = []
    for second in range(seconds):
        now = replace(camera, frame_count=camera.frame_count + int(frames * second),
                      down_count=second // down_every if down_every else 0)
        if pulse.stuck([now]):
            found.append(second)
        clock.now += 1
    return found


def test_frames_that_advance_feed_it() -> None:
    clock = Clock()
    assert seen(Pulse(clock), clock, LIVE, 600, frames=0.2) == []


def test_a_camera_that_hangs_inside_decode_starves_it_once_its_patience_is_over() -> None:
    clock = Clock()
    stuck = seen(Pulse(clock), clock, LIVE, 60)
    assert stuck == list(range(int(LIVE.patience_s + MARGIN_S) + 1, 60))


def test_one_hanging_camera_is_named_among_others_that_go_on() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    for second in range(60):
        found = pulse.stuck([LIVE, replace(LIVE, name="south", frame_count=second)])
        clock.now += 1
    assert found == ["north"]


def test_a_camera_whose_server_is_gone_feeds_it_as_long_as_it_is_tried_anew() -> None:
    clock = Clock()
    lost = replace(LIVE, state="lost")
    every = int(LONGEST_WAIT_S + 2 * LIVE.patience_s)   # the longest wait, an attempt and the silence after it
    assert seen(Pulse(clock), clock, lost, 3600, down_every=every) == []


@pytest.mark.parametrize("state", ["lost", "starting"])
def test_a_camera_that_hangs_while_it_is_tried_starves_it_too(state: CameraState) -> None:
    clock = Clock()
    stuck = seen(Pulse(clock), clock, replace(LIVE, state=state), 200)
    assert stuck[0] == int(LONGEST_WAIT_S + 2 * LIVE.patience_s + MARGIN_S) + 1


@pytest.mark.parametrize("state", ["failed", "ended"])
def test_a_camera_given_up_or_at_its_end_is_declared_down_for_good(state: CameraState) -> None:
    clock = Clock()
    assert seen(Pulse(clock), clock, replace(LIVE, state=state), 3600) == []


def test_a_recording_that_waits_for_its_time_does_not_hang_while_another_is_read() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    early, late = replace(LIVE, group="recordings"), replace(LIVE, name="south", group="recordings")
    for second in range(600):
        assert pulse.stuck([replace(early, frame_count=second), late]) == []
        clock.now += 1
    for _ in range(60):
        found = pulse.stuck([replace(early, frame_count=599), late])
        clock.now += 1
    assert found == ["north", "south"]
    alone = Pulse(clock)
    assert seen(alone, clock, late, 60), "no group is a group of all that have none"


def test_it_recovers_with_the_next_frame() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    assert seen(pulse, clock, LIVE, 30)
    assert pulse.stuck([replace(LIVE, frame_count=2)]) == []


def test_a_slow_camera_has_as_much_patience_as_its_rate_asks_for() -> None:
    assert patience_s(10.0, None, None) == 10.0
    assert patience_s(10.0, None, 25.0) == 10.0
    assert patience_s(10.0, 0.01, 25.0) == 200.0
