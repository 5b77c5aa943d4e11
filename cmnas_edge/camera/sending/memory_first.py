"""A spool for flash that wears out: records go to disk only when the collector does not answer in time.

**What a power cut may take**: records that were put within the last ``window_s`` and not answered
for. Whatever waits longer, or is more than memory may hold, or is there when the daemon ends, is
written like any other record; `keep`, called every second, is what looks at the clock.

Numbers are lent to memory, `LENT` at a time: they stand on disk as a gap that is taken back once
the records are answered for or on disk. After a kill that gap is what the collector is told; it
names the range, and counts at most what is missing (`LENT` and what was unanswered then), since
nobody is left who knows how much of it had arrived.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

from cmnas_edge.camera.sending.spool import Spool
from cmnas_edge.errors import CmnasError

__all__ = ["LENT", "MemoryFirst"]

LENT = 64
_IDLE_WINDOWS = 10      # after so many without a record the numbers lent are taken back
_log = logging.getLogger("cmnas.camera")


class MemoryFirst(Spool):
    """A `Spool` whose records are in memory for at most a while; it says so, see the module."""

    def __init__(self, path: Path, limit_bytes: int, *, window_s: float, most: int,
                 clock: Callable[[], float] = time.monotonic) -> None:
        """Open, or make, a spool.

        Args:
            path: As of `Spool`.
            limit_bytes: As of `Spool`.
            window_s: Longest that a record not answered for is in memory only.
            most: Records in memory; more are written.
            clock: Monotonic seconds.

        Raises:
            CmnasError: As `Spool`.
        """
        self._window_s, self._most, self._clock = window_s, most, clock
        self._memory = threading.RLock()
        self._held: dict[int, tuple[float, bytes]] = {}     # by sequence, which is the order of time
        self._given = self._lent_to = 0
        self._used_at = clock()
        self._held_name = ""
        super().__init__(path, limit_bytes)
        self._follow()

    def __len__(self) -> int:
        """Records waiting, in memory or on disk."""
        return super().__len__() + len(self._held)

    def put(self, bodies: Sequence[bytes]) -> int:
        """As `Spool.put`; the records are in memory."""
        with self._memory:
            self._follow()
            if len(self._held) + len(bodies) > self._most or self._overdue():
                self._write()
            first, last = self._given + 1, self._given + len(bodies)
            if last > self._lent_to:
                self._borrow(next(iter(self._held), first), last + LENT)
            now = self._used_at = self._clock()
            self._held.update((first + row, (now, body)) for row, body in enumerate(bodies))
            self._given = last
            return first

    def lose(self, count: int) -> None:
        """As `Spool.lose`."""
        with self._memory:
            self._follow()
            self._write(returning=True)
            super().lose(count)
            self._given = self._lent_to = self._given + count

    def peek(self, count: int, beside: Collection[int] = (), after: int = 0) -> list[tuple[int, bytes]]:
        """As `Spool.peek`: what is on disk is older than what is in memory."""
        with self._memory:
            self._follow()
            rows = super().peek(count, beside, after) if super().__len__() else []
            held = ((number, body) for number, (_, body) in self._held.items()
                    if number > after and number not in beside)
            return [*rows, *itertools.islice(held, count - len(rows))]

    def settle(self, sequences: Iterable[int], name: str | None = None) -> int:
        """As `Spool.settle`; nothing is written for what is in memory."""
        with self._memory:
            self._follow()
            if name not in (None, self.name):
                return 0
            sequences = list(sequences)
            gone = [number for number in sequences if self._held.pop(number, None) is not None]
            rest = set(sequences).difference(gone)
            return len(gone) + (super().settle(rest, name) if rest else 0)

    def keep(self) -> None:
        """Write what was in memory for too long; after a long pause, nothing is at risk and no gap need say so."""
        with self._memory:
            self._follow()
            if self._overdue():
                self._write()
            elif (self._store.lent and not self._held
                  and self._clock() - self._used_at > _IDLE_WINDOWS * self._window_s):
                self._write(returning=True)

    def close(self) -> None:
        """Write what is in memory, and close; again is harmless."""
        with self._memory:
            if self._held or self._store.lent:
                try:
                    self._follow()
                    self._write(returning=True)
                except CmnasError as error:
                    _log.error("%s; %d records that were in memory only are lost", error, len(self._held))
                    self._held.clear()
            super().close()

    def _overdue(self) -> bool:
        return any(self._clock() - put_at > self._window_s for put_at, _ in itertools.islice(self._held.values(), 1))

    def _write(self, *, returning: bool = False) -> None:
        """Put on disk what is in memory; ``returning`` also the numbers that nobody has got yet."""
        last = self._given if returning else self._lent_to
        self.lend(self._given + 1, last, last - self._given,
                  [(number, body) for number, (_, body) in self._held.items()])
        self._lent_to = last
        self._held.clear()

    def _borrow(self, first: int, last: int) -> None:
        """Have numbers up to ``last``, those from ``first`` on being in memory or nobody's."""
        self.lend(first, last, len(self._held) + last - self._given)
        self._lent_to = last

    def _follow(self) -> None:
        """Number anew what is in memory if the spool under it was replaced."""
        if self._held_name == self.name:
            return
        given = self.last_number()
        held = {given + row: record for row, record in enumerate(self._held.values(), 1)}
        if held:
            self.lend(given + 1, given + len(held), len(held))
        self._held, self._given, self._lent_to, self._held_name = held, given + len(held), given + len(held), self.name
