"""A stretch of time in which a device tells of everybody by a second bundle, too, so that a site can change to another.

A collector never compares the two, but it knows that both tell of one tracklet, and so who is known by one is known by
the other (docs/rollout.md). It costs what embedding costs once more, which the backlog learns as it learns any cost. At
the time stated, or when told so, it ends, and what ran the second bundle is let go.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone

from cmnas_edge.camera.embedder import Embedder
from cmnas_edge.camera.people.select import Cut, Pick

__all__ = ["Overlap", "is_over"]

_log = logging.getLogger("cmnas.camera")


class Overlap:
    """Embeds by the second bundle until it is over. One thread uses it; any may say when that is, or ask.

    Args:
        embedder: Of the second bundle.
        fingerprint: Its.
        engines: What runs it, in words.
        until: Epoch seconds.
        cut: How its crops are made; None: as the first's.
        close: Lets its engines go.
        clock: Epoch seconds.
    """

    def __init__(self, embedder: Embedder, *, fingerprint: bytes, engines: Mapping[str, str], until: datetime,
                 cut: Cut | None, close: Callable[[], None], clock: Callable[[], float] = time.time) -> None:
        self.fingerprint = fingerprint
        self.engines = engines
        self.cut = cut
        self.over = False
        self.on_end: Callable[[], None] = lambda: None
        self._embedder = embedder
        self._until = until.timestamp()
        self._close = close
        self._clock = clock

    def records(self, picks: Sequence[tuple[str, Pick]]) -> list[bytes]:
        """Embed picks as `Embedder.records` does; none once it is over."""
        return [] if self.look() else self._embedder.records(picks)

    def look(self) -> bool:
        """Say whether it is over; if it just is, let go of what ran it."""
        if not self.over and self._clock() >= self._until:
            self.over = True
            self.on_end()
            self._close()
            _log.info("the overlap is over: nobody is told of by bundle %s any more", self.fingerprint.hex()[:16])
        return self.over

    def adjust(self, until: datetime | None) -> None:
        """End at another time; None: now. What is over begins no more."""
        self._until = 0.0 if until is None else until.timestamp()


def is_over(until: datetime | None, now: float) -> bool:
    """Whether there is no overlap, or it has ended by now, epoch seconds."""
    return until is None or until <= datetime.fromtimestamp(now, timezone.utc)
