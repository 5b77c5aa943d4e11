"""Between the engine and the spool: holds records in memory while the disk is full, a bounded number of them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence

from cmnas_edge.camera.sending.spool import Spool
from cmnas_edge.camera.tally import Tally
from cmnas_edge.errors import Transient
from cmnas_edge.log import Repeats

__all__ = ["Outbox"]

_log = logging.getLogger("cmnas.camera")
_AT_ONCE = 64


class Outbox:
    """Puts records on disk in the order they came; what gives way in memory is counted and told too.

    Used by one thread.
    """

    def __init__(self, spool: Spool, memory_count: int, tally: Tally, *, repeats: Repeats | None = None) -> None:
        """Start empty.

        Args:
            spool: Where records go.
            memory_count: Most records held while it cannot take them.
            tally: Where losses are counted.
            repeats: Limits how often trouble is said.
        """
        self._spool = spool
        self._memory_count = memory_count
        self._tally = tally
        self._repeats = repeats or Repeats()
        self._held: deque[bytes] = deque()
        self._lost = 0
        self._spool_dropped = 0

    def __len__(self) -> int:
        """Records in memory only."""
        return len(self._held)

    def put(self, bodies: Sequence[bytes]) -> bool:
        """Take records, then move to disk what can be moved; says whether nothing is left in memory."""
        self._held.extend(bodies)
        moved = self.flush()
        while len(self._held) > self._memory_count:
            self._held.popleft()
            self._lost += 1
            self._tally.add("dropped")
        return moved

    def abandon(self) -> int:
        """Give up what is in memory only, as at the very end; counted as dropped. Returns how many."""
        count = len(self._held)
        self._held.clear()
        self._lost += count
        self._tally.add("dropped", count)
        return count

    def flush(self) -> bool:
        """Move records to disk; says whether nothing is left in memory."""
        with self._tally.timed("spool"):
            try:
                if self._lost:
                    # Lost first, then those that came after: their numbers keep the order of time.
                    self._spool.lose(self._lost)
                    self._lost = 0
                while self._held:
                    batch = [self._held[row] for row in range(min(_AT_ONCE, len(self._held)))]
                    self._spool.put(batch)
                    for _ in batch:
                        self._held.popleft()
                self._spool.keep()
            except Transient as error:
                held = self._repeats.admit("full")
                if held is not None:
                    _log.warning("%s; %d records are held in memory, at most %d", error, len(self._held),
                                 self._memory_count)
                return False
            finally:
                self._tally.add("dropped", self._spool.dropped_count - self._spool_dropped)
                self._spool_dropped = self._spool.dropped_count
        return True
