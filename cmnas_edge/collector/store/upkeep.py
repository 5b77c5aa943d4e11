"""Letting go in time: retention, keys dropped, erasures receipted, and a copy of the keys kept up.

Retention is counted from when the collector received a sighting. When that time is over its row
goes within `PASS_S`, with its links and whatever was decided or reported about it; when a whole
UTC day is over, its key is dropped, and with it every copy of that day that lies anywhere else.

Used by the thread that writes (`cmnas_edge.collector.intake`), but for `view`.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from cmnas_edge import __version__
from cmnas_edge.collector.store.erasures import Erasure, Erasures, Receipt, Selection
from cmnas_edge.collector.store.journal import Journal
from cmnas_edge.collector.store.keycopy import KeyCopy
from cmnas_edge.collector.store.keys import DAY_S, day_name, day_of
from cmnas_edge.collector.store.removal import Removed

__all__ = ["PASS_S", "Upkeep", "UpkeepView"]

PASS_S = 60.0
_SAID_S = 3600.0
_MOST = 2000        # rows a step takes out, while requests wait
_log = logging.getLogger("cmnas.collector")


class UpkeepView(msgspec.Struct, frozen=True):
    """How retention stands. Times are epoch seconds of the collector's clock; ``retention_h`` is null without end.

    ``removed_count`` counts sightings since the start. ``trouble`` says what keeps a copy of what was let go,
    for now; it is empty when nothing does.
    """

    retention_h: float | None
    oldest_received_at: float | None
    next_expiry_at: float | None
    removed_count: int
    trouble: str


class Upkeep:
    """Holds a journal to what it may keep."""

    def __init__(self, journal: Journal, *, retention_h: float, keys_copy: Path | None = None,
                 elsewhere: Callable[[], str] = lambda: "", clock: Callable[[], float] = time.time) -> None:
        """Look at it, and change nothing.

        Args:
            journal: What is held to it.
            retention_h: How long sightings are kept.
            keys_copy: Where a copy of the keys is kept up.
            elsewhere: Says who else holds vectors and drops them later; empty: nobody.
            clock: Epoch seconds.
        """
        self._journal = journal
        self._elsewhere = elsewhere
        self._retention_h = retention_h
        self._clock = clock
        self._erasures = Erasures(journal.keys.folder)
        self.unfinished = self._erasures.unreceipted()
        self._copy = KeyCopy(journal.keys, keys_copy)
        self._passed_at = -PASS_S
        self._log_full = not journal.empty_log()    # it may hold what was removed, or was not sealed yet
        self._removed = 0
        self.undecided = 0      # decisions taken out since the start, which memory is to forget as well
        self._unsaid, self._said_at = Removed(), -_SAID_S
        self._look()

    def start(self) -> None:
        """Bring the journal to what it may hold now; call before anything of it is shown.

        Raises:
            CmnasError: It cannot be done.
        """
        for erasure in self.unfinished:
            _log.warning("erasure %s was not finished when the last collector ended; finishing it", erasure.id)
        self.finish()
        now = self._clock()
        if self._retention_h < float("inf") and (over := self._journal.past_count(now - self._retention_h * 3600)):
            _log.info("retention of %g h: %d stored sightings are older; they go before anything is shown",
                      self._retention_h, over)
        while self.step(now):
            pass

    def step(self, now: float) -> bool:
        """Let go of some of what is over; say whether there is more. Costs nothing between passes.

        Raises:
            CmnasError: It cannot be done now; it is tried again.
        """
        if 0 <= now - self._passed_at < PASS_S:
            return False
        before = now - self._retention_h * 3600
        ids = self._journal.past(before, _MOST)
        removed = self._journal.remove(ids)
        more = len(ids) == _MOST
        if not more:
            removed += self._journal.forget(before)
            for day in sorted(self._journal.keys.days()):
                if (day + 1) * DAY_S <= before:
                    self._journal.keys.drop(day)
                    _log.info("retention: the key of %s is dropped; no copy of its vectors opens any more",
                              day_name(day))
            self._erasures.forget(before)
            self._passed_at = now
        if removed or self._log_full:
            self._log_full = not self._journal.empty_log()
        self._tell(removed, now)
        self._copy.keep_up()
        self._look()
        return more

    def begin(self, what: Selection, person: str, reason: str) -> None:
        """Write down what fits as erased; from here on it is, whatever happens, once `finish` returns.

        Raises:
            CmnasError: It could not be written down, and nothing is erased.
        """
        erasure = Erasure(secrets.token_hex(8), self._clock(), person, reason, what, *self._journal.meant(what))
        self._erasures.add(erasure)
        self.unfinished.append(erasure)

    def finish(self) -> list[Receipt]:
        """Erase what was begun, everywhere this collector keeps it but in memory, which is its caller's.

        Raises:
            CmnasError: It cannot be done for now; it is as soon as it can, at the next start at the latest.
        """
        made = []
        while self.unfinished:
            made.append(self._erase(self.unfinished[0]))
            self.unfinished.pop(0)
        return made

    def receipts(self) -> list[Receipt]:
        """Read the receipts of all erasures, the oldest first."""
        return self._erasures.receipts()

    def close(self) -> None:
        """End in good order."""
        self._copy.close()

    def _erase(self, erasure: Erasure) -> Receipt:
        removed = self._journal.erase(erasure)
        ended, today = [], day_of(self._clock())
        for day in sorted(self._journal.keys.days() & set(erasure.days) - set(self._journal.days())):
            if day < today:     # today's may get more
                self._journal.keys.drop(day)
                ended.append(day_name(day))
        self._log_full = not self._journal.empty_log()
        receipt = Receipt(
            id=erasure.id, at=erasure.at, person=erasure.person, reason=erasure.reason, what=erasure.what,
            sightings=sum(last - first + 1 for _, _, first, last in erasure.records), links=removed.links,
            gaps=len(erasure.gaps), decisions=removed.decisions,
            received_from=erasure.oldest, received_to=erasure.newest, days_ended=ended,
            log_emptied=not self._log_full, version=__version__, previous=self._erasures.head(),
            later=[why for why in (self._elsewhere(), self._copy.trouble) if why])
        self._erasures.receipt(receipt)
        _log.info("erasure %s: %d sightings and %d links are erased", erasure.id, removed.sightings, removed.links)
        self._copy.keep_up()
        self._look()
        return receipt

    def _tell(self, removed: Removed, now: float) -> None:
        self._removed += removed.sightings
        self.undecided += removed.decisions
        self._unsaid += removed
        if self._unsaid and not 0 <= now - self._said_at < _SAID_S:
            _log.info("retention of %g h: let go of %d sightings, %d links, %d gaps and %d decisions",
                      self._retention_h, self._unsaid.sightings, self._unsaid.links, self._unsaid.gaps,
                      self._unsaid.decisions)
            self._unsaid, self._said_at = Removed(), now

    def _look(self) -> None:
        oldest = self._journal.oldest()
        trouble = self._copy.trouble
        if self._log_full:
            trouble = trouble or ("the journal's log may still hold what was let go, for another program, as a backup, "
                                  "reads it, or the disk is full; it is emptied when that ends")
        if lost := sorted(set(self._journal.days()) - self._journal.keys.days()):
            days = ", ".join(map(day_name, lost))
            trouble = (f"{self._journal.keys.folder}: expected the keys of {days}, found none; what is stored now will "
                       "not open when the collector is started again: put them back")
        newest, now = self._journal.newest(), self._clock()
        if newest is not None and newest > now + DAY_S:
            trouble = trouble or (f"the newest sighting was received on {day_name(day_of(newest))}, and today is "
                                  f"{day_name(day_of(now))}: this machine's clock ran ahead then, or is behind now; "
                                  "what came while it ran ahead is kept until that day: correct the clock, or erase it")
        ends = self._retention_h < float("inf")
        self.view = UpkeepView(self._retention_h if ends else None, oldest,
                               oldest + self._retention_h * 3600 if ends and oldest is not None else None,
                               self._removed, trouble)
