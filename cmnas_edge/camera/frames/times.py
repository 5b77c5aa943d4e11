"""When a live frame shows the world, although anyone may set the clock.

What follows people from frame to frame needs a time that only goes forward; what is sent needs
the time that the wall clock shows now. A clock set by an hour in the middle of a tracklet must
not end it, reverse its views or make the camera look dead. So frames run on a time of their own,
which begins with the process at the wall's and never jumps (`Timescale`), and each carries by how
much the wall has been set since.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, NamedTuple

__all__ = ["Stamp", "Stamper", "TimeSource", "Timescale"]

TimeSource = Literal["footage", "arrival", "sender"]


class Timescale:
    """Epoch seconds that go on steadily from where the wall clock stood; and what the wall says instead."""

    def __init__(self, clock: Callable[[], float] = time.time,
                 monotonic: Callable[[], float] = time.monotonic) -> None:
        """Begin now.

        Args:
            clock: Epoch seconds; may be set forward and back.
            monotonic: Seconds that only go forward.
        """
        self._clock = clock
        self.monotonic = monotonic
        self._offset = clock() - monotonic()

    def at(self, moment: float) -> float:
        """Tell this scale's time of a moment in monotonic seconds."""
        return self._offset + moment

    def shift_s(self) -> float:
        """By how much the wall clock has been set since this scale began; add it to reach wall time."""
        return self._clock() - self.at(self.monotonic())


class Stamp(NamedTuple):
    """The times of one frame.

    Attributes:
        seen_at: When it was taken, on the timescale: never before the frame that came before.
        shift_s: What to add for the wall clock's time.
        arrived_at: Monotonic seconds.
        source: Whose word `seen_at` is.
        foreign_s: How far off a sender's time lay that was not believed; 0 otherwise.
    """

    seen_at: float
    shift_s: float
    arrived_at: float
    source: TimeSource
    foreign_s: float


class Stamper:
    """Gives the frames of one connection their times, in order.

    A sender's time is believed if it lies near ours: it takes the network and the decoder out of
    the figure. Further off, one of the two clocks is wrong, and ours is the one that other cameras
    of this device share.
    """

    def __init__(self, scale: Timescale, sender_within_s: float) -> None:
        self._scale = scale
        self._within_s = sender_within_s
        self._last = -float("inf")

    def stamp(self, sent_at: float | None) -> Stamp:
        """Stamp a frame that arrives now; `sent_at` is the sender's time of it in epoch seconds, if known."""
        arrived_at = self._scale.monotonic()
        seen_at, shift_s = self._scale.at(arrived_at), self._scale.shift_s()
        source: TimeSource = "arrival"
        foreign_s = 0.0
        if sent_at is not None and self._within_s > 0:
            age_s = seen_at + shift_s - sent_at
            if abs(age_s) <= self._within_s:
                seen_at, source = seen_at - age_s, "sender"
            else:
                foreign_s = -age_s
        self._last = max(self._last, seen_at)
        return Stamp(self._last, shift_s, arrived_at, source, foreign_s)
