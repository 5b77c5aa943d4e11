"""Pictures that grow old because decoding is too slow end the connection; a camera that only stamps badly doesn't."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.camera.frames.capture import Picture
from cmnas_edge.camera.frames.lag import Lag, worked_s
from cmnas_edge.camera.frames.stream import Stream
from cmnas_edge.camera.frames.times import Timescale
from cmnas_edge.errors import SourceLost
from tests.camera.clock import Clock


def run(*, fps: float, decoded_per_s: float, busy: float, seconds: float = 120.0, stamped_fps: float | None = None,
        starts_at: float = 0.0) -> list[tuple[float, float, float]]:
    """Decode a stream; each row is when, how late it was said to be, and how late it was."""
    worked = Clock(0.0)
    lag, rows, at = Lag(worked), [], starts_at
    for index in range(int(fps * seconds)):
        made_at = starts_at + index / fps
        passed_s = max(made_at, at + 1 / decoded_per_s) - at
        at += passed_s
        worked.now += busy * passed_s
        rows.append((at - starts_at, lag.late_s(at, index / (stamped_fps or fps)), at - made_at))
        if rows[-1][1]:
            break
    return rows


@given(st.floats(5, 30), st.floats(0.3, 0.9), st.floats(0, 1e6))
def test_a_decoder_too_slow_is_found_out_before_pictures_are_much_older_than_two_seconds(
        fps: float, share: float, starts_at: float) -> None:
    rows = run(fps=fps, decoded_per_s=share * fps, busy=1.0, starts_at=starts_at)
    when, said_s, late_s = rows[-1]
    assert said_s > 2
    assert said_s == pytest.approx(late_s, abs=1 / (share * fps) + 0.1)  # it cannot know how long the first took
    # They age by (1 - share) of the time: after 2 s of age, a span of 10 s ends within another, and frames are whole.
    assert when <= 2 / (1 - share) + 10 + 4 / (share * fps) + 0.1


@given(st.floats(5, 30), st.floats(1.0, 3.0), st.floats(0, 1))
def test_a_decoder_that_keeps_up_is_never_accused(fps: float, spare: float, busy: float) -> None:
    assert not any(said_s for _, said_s, _ in run(fps=fps, decoded_per_s=spare * fps, busy=busy))


@given(st.floats(0.2, 0.89), st.floats(1.05, 3.0))
def test_stamps_that_run_slow_are_no_lag_while_the_thread_rests(busy: float, pace: float) -> None:
    assert not any(said_s for _, said_s, _ in run(fps=10, decoded_per_s=100, busy=busy, stamped_fps=10 * pace))
    assert not any(said_s for _, said_s, _ in run(fps=10, decoded_per_s=100, busy=busy, stamped_fps=10 / pace))


def test_a_stream_that_stamps_from_the_beginning_again_is_seen_anew() -> None:
    worked = Clock(0.0)
    lag = Lag(worked)
    for at in np.arange(0, 60, 0.1):
        worked.now = float(at)
        assert not lag.late_s(float(at), float(at) % 25)


def test_the_operator_is_told_what_to_do_about_it() -> None:
    clock = Clock(0.0)

    class Slow:
        """A picture a second, of a stream with two of them."""

        index = 0

        def read(self) -> Picture:
            clock.now += 1.0
            self.index += 1
            return Picture(np.zeros((4, 4, 3), np.uint8), media_s=self.index / 2)

        def hurry(self) -> None:
            pass

        def release(self) -> None:
            pass

    stream = Stream("rtsp://door", Slow, 1000.0, scale=Timescale(Clock(), clock), lag=Lag(clock))
    with stream, pytest.raises(SourceLost, match=r"^rtsp://door: .* found them \d+ s old.*; lower the camera's rate"):
        list(stream)


def test_work_is_what_this_thread_did_and_waited_for_a_processor_to_do() -> None:
    resting, began = worked_s(), time.monotonic()
    threading.Event().wait(0.2)
    assert worked_s() - resting < 0.15
    resting, began = worked_s(), time.monotonic()
    while (passed_s := time.monotonic() - began) < 0.3:
        pass
    assert 0.2 < worked_s() - resting < passed_s + 0.1
