"""What is stored within the hot window of bundles that are accepted no more, and so is not shown."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from contextlib import suppress

from cmnas_edge.collector import views
from cmnas_edge.collector.store.journal import Journal
from cmnas_edge.errors import Transient

__all__ = ["Left"]

Found = list[views.BundleLeft]
_AGAIN_S = 60.0


class Left:
    """Counts it at the start, and anew every minute while there is any: nothing of it can come, only go.

    Args:
        journal: Where it is looked up, at once, and later by the thread that writes there.
        accepted: Fingerprints of the bundles that are accepted.
        hot_window_s: Its length.
        clock: Epoch seconds.

    Attributes:
        known: As of the last look, the bundle heard last first.
    """

    def __init__(self, journal: Journal, accepted: Collection[bytes], hot_window_s: float, *,
                 clock: Callable[[], float] = time.time) -> None:
        self._journal = journal
        self._accepted = tuple(accepted)
        self._hot_window_s = hot_window_s
        self._clock = clock
        self._lock = threading.Lock()
        self._looked_at = clock()
        self.known: Found = self._found()

    def look(self, ask: Callable[[Callable[[], Found]], Future[Found]]) -> Found:
        """Say what is known; any thread may ask, and waits for nothing.

        Args:
            ask: Has something done by the thread that writes.
        """
        with self._lock:
            if self.known and not 0 <= self._clock() - self._looked_at < _AGAIN_S:
                self._looked_at = self._clock()
                with suppress(Transient):       # too much waits there: the next minute will do
                    ask(self._found).add_done_callback(self._take)
            return self.known

    def _take(self, done: Future[Found]) -> None:
        if done.exception() is None:
            self.known = done.result()

    def _found(self) -> Found:
        return [views.BundleLeft(fingerprint=fingerprint.hex(), sighting_count=count, heard_at=at)
                for fingerprint, count, at in self._journal.by_others(self._accepted,
                                                                      self._clock() - self._hot_window_s)]
