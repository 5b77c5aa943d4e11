"""Sightings that are stored and not yet matched: the first of them in memory, the rest where they are stored."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from cmnas_edge.collector.store.journal import Journal, Record

__all__ = ["MOST", "Behind", "Rush"]

F32 = npt.NDArray[np.float32]
MOST = 8192     # held in memory: 16 MiB of vectors of 512 entries


class Behind:
    """A queue in the order of storing that takes no more memory than `MOST` sightings. One thread uses it.

    Promise: what was added comes out once, in order, unless it was cleared or has been erased.
    """

    def __init__(self, journal: Journal, dimensions: Mapping[bytes, int]) -> None:
        self._journal = journal
        self._dimensions = dimensions   # of the bundles that are accepted, by fingerprint
        self._held: deque[tuple[Record, F32]] = deque()
        self._stored_only = 0       # so many more wait that are only in the journal,
        self._after = 0             # under higher ids than this

    def __len__(self) -> int:
        return len(self._held) + self._stored_only

    def pop(self) -> tuple[Record, F32] | None:
        """Take the first; None when there is none."""
        if not self._held and self._stored_only:
            self._held.extend(rows := list(self._journal.stored_after(self._dimensions, self._after, MOST)))
            # What was counted and is not there was erased meanwhile: only an empty answer is the end.
            self._stored_only = max(1, self._stored_only - len(rows)) if rows else 0
            self._after = rows[-1][0].id if rows else 0
        if not self._held:
            return None
        return self._held.popleft()

    def add(self, record: Record, vector: F32) -> None:
        """Put one behind the others; it is stored already."""
        if self._stored_only or len(self._held) >= MOST:
            if not self._stored_only:
                self._after = self._held[-1][0].id
            self._stored_only += 1
        else:
            self._held.append((record, vector))

    def clear(self) -> None:
        """Forget all of it."""
        self._held.clear()
        self._stored_only = 0

    def lag_s(self, now: float) -> float:
        """How long the first has waited, in seconds; 0 when there is none. Any thread may ask."""
        try:
            return max(0.0, now - self._held[0][0].received_at)
        except IndexError:
            return 0.0


class Rush:
    """Whether more arrives than so many a second, over the last second or so."""

    def __init__(self, most: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._recent, self._at = 0.0, clock()

    @property
    def is_on(self) -> bool:
        """Whether it does now."""
        return self._recent * math.exp(self._at - self._clock()) > self._most

    def note(self, count: int) -> None:
        """Take it that so many have arrived."""
        now = self._clock()
        self._recent, self._at = self._recent * math.exp(self._at - now) + count, now
