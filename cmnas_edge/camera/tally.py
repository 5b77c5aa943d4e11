"""What one daemon has counted, and where its time went: one small object, read by status lines and reports."""

from __future__ import annotations

import contextlib
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from typing import Literal, get_args

from cmnas_edge.monitoring.spread import Spreading

__all__ = ["Count", "Stage", "Tally"]

Count = Literal[
    "frames",           # taken from sources
    "frames_dropped",   # live ones that a newer one replaced
    "detections",
    "tracklets",        # that ended
    "crops",            # embedded
    "engine_failures",  # a network's engine gave way to ONNX Runtime; once for each modality
    "no_direction",     # views whose crops the network did not respond to: nothing to send
    "sightings",        # made
    "shed",             # picks of live cameras that were not embedded, since the engine could not take all in time
    "stored", "duplicate", "refused",   # answers of the collector
    "dropped",          # sightings that gave way in memory or on disk; the collector is told
    "requests", "link_failures", "sent_bytes",  # everything written to the socket, headers too
    "embedding_bytes", "header_bytes", "unexplained_bytes",  # of these; see `cmnas_edge.outgoing`
    "source_failures",
]
Stage = Literal["capture", "spectrum", "detect", "track", "preprocess", "infer", "pack", "spool", "send"]

_MOST_SAMPLED = 2048


class _Sample:
    """An even sample of a series without an end: when it is full, every second value goes; never of another size."""

    def __init__(self) -> None:
        self._kept = array("d", bytes(8 * _MOST_SAMPLED))
        self._kept_count = 0
        self._stride = 1
        self._count = 0

    def add(self, value: float) -> None:
        if self._count % self._stride == 0:
            self._kept[self._kept_count] = round(value, 5)
            self._kept_count += 1
        self._count += 1
        if self._kept_count == _MOST_SAMPLED:
            self._kept_count //= 2
            self._kept[:self._kept_count] = self._kept[::2]
            self._stride *= 2

    @property
    def last(self) -> float:
        return self._kept[self._kept_count - 1] if self._kept_count else 0.0

    def values(self) -> list[float]:
        return self._kept[:self._kept_count].tolist()


class Tally:
    """Counts and seconds per stage; any thread may add to it."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._mutex = threading.Lock()
        self._counts: dict[str, int] = dict.fromkeys(get_args(Count), 0)
        self._stage_s: dict[str, float] = dict.fromkeys(get_args(Stage), 0.0)
        self._lags_s = _Sample()
        self._delays_s = _Sample()
        self.embed_s = Spreading((0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0))
        self.batch = Spreading((1, 2, 4, 8, 16, 32, 64, 128))
        self.clock_offset_s: float | None = None    # the collector's less ours; any thread may set it
        self._call_began: float | None = None

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
            self._lags_s.add(seconds)

    def delay(self, seconds: float) -> None:
        """Note how long after its frame's arrival a sighting was on disk."""
        with self._mutex:
            self._delays_s.add(seconds)

    @property
    def last_lag_s(self) -> float:
        """A recent lag; 0 before the first."""
        return self._lags_s.last

    @contextlib.contextmanager
    def timed(self, stage: Stage) -> Iterator[None]:
        """Add the time spent inside to a stage."""
        start = self._clock()
        try:
            yield
        finally:
            spent = self._clock() - start
            with self._mutex:
                self._stage_s[stage] += spent

    @contextlib.contextmanager
    def call(self, crop_count: int) -> Iterator[None]:
        """Time one call of an engine, also while it lasts."""
        self._call_began = start = self._clock()
        try:
            with self.timed("infer"):
                yield
        finally:
            self._call_began = None
            self.embed_s.add(self._clock() - start)
            self.batch.add(crop_count)

    @property
    def busy_s(self) -> float:
        """For how long an engine has been at its present call; 0 between calls."""
        began = self._call_began
        return 0.0 if began is None else self._clock() - began

    def stage_s(self) -> dict[str, float]:
        """Seconds spent in each stage."""
        with self._mutex:
            return dict(self._stage_s)

    def snapshot(self) -> dict[str, object]:
        """Everything, ready for JSON: each count, ``stage_s`` (seconds per stage), samples of lags and delays."""
        with self._mutex:
            return {**self._counts, "stage_s": {name: round(s, 6) for name, s in self._stage_s.items()},
                    "lag_s": self._lags_s.values(), "delay_s": self._delays_s.values()}
