"""Whether a stream's pictures grow old because this machine cannot decode them as fast as they come.

What is not decoded in time waits in the connection, and with it all that follows: measured against a
real server, pictures taken at half their rate are three seconds old after six. Nothing in between may be
left out, since each is coded by the one before. So the connection must be given up, and said why.

A sender's stamps alone prove nothing: those of a cheap camera run slow when it does at dusk. They count
only while the thread that decodes has not rested.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["Lag", "worked_s"]

_MOST_S = 2.0
_SPAN_S = 10.0      # over which it is seen whether the thread rests
_BUSY = 0.9         # share of it
_SCHEDSTAT = Path("/proc/thread-self/schedstat")


def worked_s() -> float:
    """For how long this thread has had something to do: at work, or waiting for a processor."""
    try:
        ran_ns, waited_ns = _SCHEDSTAT.read_text("ascii").split()[:2]
    except (OSError, ValueError):  # a kernel without scheduler statistics
        return time.thread_time()
    return (int(ran_ns) + int(waited_ns)) / 1e9


class Lag:
    """Watches one connection; asked with every picture, by the thread that decodes."""

    def __init__(self, worked: Callable[[], float] = worked_s) -> None:
        self._worked = worked
        self._least_s = float("inf")    # arrival less the sender's stamp, when nothing waited
        self._last_s = -float("inf")
        self._from: tuple[float, float] | None = None

    def late_s(self, arrived_at: float, media_s: float) -> float:
        """How much older pictures are than they could be, if that will not pass by itself; else 0.

        Args:
            arrived_at: When this picture was decoded, monotonic seconds.
            media_s: When it was taken by the sender's stamps, in seconds from any beginning.
        """
        if media_s < self._last_s:  # it began anew
            self._least_s, self._from = float("inf"), None
        self._last_s = media_s
        self._least_s = min(self._least_s, arrived_at - media_s)
        if self._from is None:
            self._from = arrived_at, self._worked()
        elif (passed_s := arrived_at - self._from[0]) >= _SPAN_S:
            worked_before, self._from = self._from[1], (arrived_at, self._worked())
            late_s = arrived_at - media_s - self._least_s
            if late_s > _MOST_S and self._from[1] - worked_before > _BUSY * passed_s:
                return late_s
        return 0.0
