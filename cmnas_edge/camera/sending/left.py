"""Records that the collector takes later, if at all, and when to ask for which of them again.

Of another key or of a time to come, they may wait for years. What came after them is sent
meanwhile, and they are asked for batch by batch in turn: which will be taken first is not known.
"""

from __future__ import annotations

from collections.abc import Callable

from cmnas_edge.camera.sending.spool import Spool

__all__ = ["Left"]


class Left:
    """Knows up to which number records were left, and takes turns among those. One thread uses it."""

    def __init__(self, clock: Callable[[], float], pause_s: float) -> None:
        """Start with none.

        Args:
            clock: Monotonic seconds.
            pause_s: From one batch that was left to the next that is asked for.
        """
        self.last = 0       # the highest number that was left; what is above it was never asked for
        self.is_asking = False
        self._clock = clock
        self._pause_s = pause_s
        self._asked = 0     # the turn has come this far
        self._again_at = 0.0

    def clear(self) -> None:
        """Forget all, as when the spool was replaced."""
        self.last = self._asked = 0
        self.is_asking = False

    def leave(self, last: int) -> None:
        """Note that of a batch up to this number none was taken."""
        self._again_at = self._clock() + self._pause_s
        if self.is_asking:
            self._asked = last
        self.last = max(self.last, last)

    def next(self, spool: Spool, count: int, beside: set[int]) -> list[tuple[int, bytes]]:
        """The batch to send now: of those left if their time has come, else of those behind; as `Spool.peek`."""
        self.is_asking = False
        if self.last and self._clock() >= self._again_at:
            for after in dict.fromkeys((self._asked, 0)):
                again = [row for row in spool.peek(count, beside, after) if row[0] <= self.last]
                if again:
                    self.is_asking = True
                    return again
            self.clear()    # all were taken, or gave way
        return spool.peek(count, beside, self.last)

    def wait_s(self) -> float:
        """Seconds until one that was left is asked for again, if there are any."""
        return max(0.0, self._again_at - self._clock()) if self.last else float("inf")
