"""What one daemon has counted, and where its time went: one small object, read by status lines and reports."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Literal, get_args

__all__ = ["Count", "Stage", "Tally"]

Count = Literal[
    "frames",           # taken from sources
    "frames_dropped",   # live ones that a newer one replaced
    "detections",
    "tracklets",        # that ended
    "crops",            # embedded
    "no_direction",     # views whose crops the network did not respond to: nothing to send
    "sightings",        # made
    "stored", "duplicate", "refused",   # answers of the collector
    "dropped",          # sightings that gave way in memory or on disk; the collector is told
    "requests", "link_failures", "sent_bytes",  # everything written to the socket, headers too
    "source_failures",
]
Stage = Literal["capture", "spectrum", "detect", "track", "preprocess", "infer", "pack", "spool", "send"]


class Tally:
    """Counts and seconds per stage; any thread may add to it."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._mutex = threading.Lock()
        self._counts: dict[str, int] = dict.fromkeys(get_args(Count), 0)
        self._stages: dict[str, tuple[int, float]] = dict.fromkeys(get_args(Stage), (0, 0.0))
        self._lag_s = self._lag_sum_s = self._lag_max_s = 0.0
        self._lag_count = 0

    def __getitem__(self, name: Count) -> int:
        """Read one count."""
        return self._counts[name]

    def add(self, name: Count, count: int = 1) -> None:
        """Count something."""
        with self._mutex:
            self._counts[name] += count

    def lag(self, seconds: float) -> None:
        """Note how long after its arrival a frame had been dealt with."""
        with self._mutex:
            self._lag_s = seconds
            self._lag_sum_s += seconds
            self._lag_max_s = max(self._lag_max_s, seconds)
            self._lag_count += 1

    @contextlib.contextmanager
    def timed(self, stage: Stage) -> Iterator[None]:
        """Add the time spent inside to a stage."""
        start = self._clock()
        try:
            yield
        finally:
            spent = self._clock() - start
            with self._mutex:
                count, total = self._stages[stage]
                self._stages[stage] = count + 1, total + spent

    def snapshot(self) -> dict[str, object]:
        """Everything, ready for JSON: counts, ``lag_s``, and ``stages`` with calls and milliseconds."""
        with self._mutex:
            return {
                **self._counts,
                "lag_s": {"last": round(self._lag_s, 4), "max": round(self._lag_max_s, 4),
                          "mean": round(self._lag_sum_s / max(1, self._lag_count), 4)},
                "stages": {name: {"calls": calls, "ms": round(1000 * total, 3),
                                  "ms_per_frame": round(1000 * total / max(1, self._counts["frames"]), 4)}
                           for name, (calls, total) in self._stages.items()},
            }
