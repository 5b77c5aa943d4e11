"""The one thread through which every sighting goes: commit, answer, then match.

Requests that wait together share a commit. They are answered as soon as it has reached the
disk; who the sightings show is decided behind that, in slices between commits, and the decisions
are written with the next commit, or at once when nothing waits. So a device that comes back with
a day's sightings is answered as fast as the disk takes them, however long deciding about them
lasts. A crash in between loses no sighting, and their decisions are made again at start. What
people decide or erase is done here, too, in its turn (`Intake.ask`), and so is letting go of what
is over (`cmnas_edge.collector.store.upkeep`).
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from cmnas_edge.collector.behind import Behind, Rush
from cmnas_edge.collector.gallery import Gallery, rebuild
from cmnas_edge.collector.matching.identity import Link
from cmnas_edge.collector.store.erasures import Receipt, Selection
from cmnas_edge.collector.store.journal import Arrival, Journal, JournalGap, Record
from cmnas_edge.collector.store.upkeep import Upkeep
from cmnas_edge.collector.views import Decided, DecisionAsked, Unanswerable
from cmnas_edge.errors import CmnasError, Transient
from cmnas_edge.log import Repeats
from cmnas_edge.sighting import Gap

__all__ = ["Intake", "Stored"]

T = TypeVar("T")
Stored = list[int | None]   # per item: a sighting's new id, 0 for a gap, None for a duplicate
_log = logging.getLogger("cmnas.collector")
_WAITING = 256              # requests; more are told to come back
_TOGETHER = 32              # requests that share a commit
_EXPIRY_S = 10.0
_REPAIRED = 50              # identities that are looked at again then; some 50 ms
_LAST_S = 5.0               # of deciding at the end; what is left is decided about at the next start
_SLICE_S = 0.01             # of deciding, before it looks for other work
_RUSH = 3000                # sightings in the last second or so: more than can be decided about, so storing comes first
_PAUSE_S = 0.03             # of deciding in a rush, between two slices; whoever takes requests has the interpreter
_PATIENCE_S = 1.0           # of deciding before what is asked, which mostly is about what was sent just before
_UNWRITTEN = 4096           # links; more are written though sightings still wait to be decided about
_Item = tuple[Arrival | Callable[[], Any], Future[Any]]


class Intake:
    """Stores what arrives, once, and answers only what is on the disk."""

    def __init__(self, journal: Journal, gallery: Gallery, *, hot_window_s: float, hot_limit: int,
                 unwritten: list[Link] | None = None, upkeep: Upkeep | None = None,
                 on_failure: Callable[[], None] = lambda: None, on_turn: Callable[[], object] = lambda: None,
                 clock: Callable[[], float] = time.time) -> None:
        self.upkeep = upkeep or Upkeep(journal, retention_h=float("inf"), clock=clock)
        self.failure: BaseException | None = None
        self.full = ""      # why nothing can be stored for now
        self.stored_count = journal.count()
        self.taken_count = 0    # stored since the start
        self._journal = journal
        self._gallery = gallery
        self._hot_window_s = hot_window_s
        self._hot_limit = hot_limit
        self._unwritten = list(unwritten or ())
        self._on_failure = on_failure
        self._on_turn = on_turn     # about every `_EXPIRY_S`, while this thread works
        self._clock = clock
        self._repeats = Repeats()
        self._queue: queue.Queue[_Item | None] = queue.Queue(_WAITING)
        self._behind = Behind(journal, gallery.dimensions)
        self._rush = Rush(_RUSH)
        self._decided_at = 0.0
        self._more = False      # to let go of, at once
        self._expired_at = clock()
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Store what was offered, and end. Call once, after the last `offer`."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
            self.upkeep.close()

    @property
    def behind_count(self) -> int:
        """Sightings that are stored, and not yet matched."""
        return len(self._behind)

    def lag_s(self) -> float:
        """How long the oldest of them has waited; 0 when none does."""
        return self._behind.lag_s(self._clock())

    def space(self) -> tuple[int, int]:
        """Bytes that the journal takes, and bytes that are free beside it."""
        return self._journal.space()

    def offer(self, arrival: Arrival) -> Future[Stored]:
        """Hand over what a request brought.

        Returns:
            A future of what became of it. It fails with `DiskFull` when there is no room.

        Raises:
            Transient: Too many requests wait already, or the intake has failed.
        """
        return self._put(arrival)

    def ask(self, work: Callable[[], T]) -> Future[T]:
        """Have something done by the thread that writes, after what was offered before it.

        When it is begun, every decision made so far stands in the journal, so that what it reads and
        changes there and in the gallery is one and the same. Only where very many sightings wait are some
        that were offered before it not decided about yet.

        Args:
            work: What to do, quickly: nothing is stored meanwhile. It may raise `CmnasError` or
                `Unanswerable`, for the one who asked; anything else is a bug and ends the process.

        Raises:
            Transient: Too many requests wait already, or the intake has failed.
        """
        return self._put(work)

    def erase(self, what: Selection, person: str, reason: str) -> Future[Receipt]:
        """Erase what fits: journal, memory and every index; see `Upkeep.erase`."""
        def work() -> Receipt:
            self.upkeep.begin(what, person, reason)
            return self._finish_erasures()[-1]

        return self.ask(work)

    def decide(self, asked: DecisionAsked, person: str) -> Future[Decided]:
        """Store what a person decided about identities, and do it; see `Gallery.decide`."""
        return self.ask(lambda: self._gallery.decide(asked, person, self._clock(), self._journal.decide))

    def _finish_erasures(self) -> list[Receipt]:
        try:
            return self.upkeep.finish()
        finally:
            # What is left is read again, as a start would: nothing in memory remembers the rest.
            fresh, self._unwritten = rebuild(self._journal, self._gallery.model, also=self._gallery.also,
                                             since=self._clock() - self._hot_window_s, limit=self._hot_limit)
            self._gallery.become(fresh)
            self._behind.clear()    # decided about just now
            self.stored_count = self._journal.count()

    def _put(self, item: Arrival | Callable[[], Any]) -> Future[Any]:
        if self.failure is not None:
            raise Transient("collector: stopping after an error; try again")
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()   # a device that hangs up cannot cancel a commit
        try:
            self._queue.put_nowait((item, future))
        except queue.Full:
            raise Transient(f"collector: {_WAITING} requests wait already; try again") from None
        return future

    def _run(self) -> None:
        waiting: list[_Item] = []
        try:
            while self._take(waiting):
                work = waiting.pop() if waiting and callable(waiting[-1][0]) else None
                if waiting:
                    self._store([(item, future) for item, future in waiting if isinstance(item, Arrival)])
                waiting = [work] if work is not None else []
                if work is not None:
                    self._do(*work)
                waiting = []
                self._decide()
                if self._more or not 0 <= self._clock() - self._expired_at <= _EXPIRY_S:     # set back, too
                    self._expire()
            self._decide(_LAST_S)
            self._write_links()
        except BaseException as error:  # our own bug: answer nobody, end the process
            _log.critical("intake failed: %s", error, exc_info=error)
            self.failure = error
            self._on_failure()
            while not self._queue.empty():
                if (item := self._queue.get_nowait()) is not None:
                    waiting.append(item)
            for _, future in waiting:
                if not future.done():
                    future.set_exception(Transient("collector: stopping after an error; try again"))

    def _take(self, waiting: list[_Item]) -> bool:
        """Wait for the first request and take those behind it, up to one that is to be done; False at the end."""
        try:
            item = self._queue.get(block=bool(patience_s := self._patience_s()), timeout=patience_s)
            while item is not None:
                waiting.append(item)
                if len(waiting) == _TOGETHER or callable(item[0]):
                    return True
                item = self._queue.get_nowait()
        except queue.Empty:
            return True
        if waiting:
            self._queue.put(None)   # the end comes round again after these
        return bool(waiting)

    def _patience_s(self) -> float:
        """How long a request is waited for before other work."""
        if not (self._more or len(self._behind)):
            return _EXPIRY_S
        return _PAUSE_S if self._rush.is_on else 0.0

    def _store(self, waiting: list[tuple[Arrival, Future[Stored]]]) -> None:
        arrivals = [arrival for arrival, _ in waiting]
        try:
            ids = self._journal.append(arrivals, self._unwritten)
        except CmnasError as error:
            self._refuse(error)
            for _, future in waiting:
                future.set_exception(error)
            return
        self.full = ""
        self._unwritten = []
        self._rush.note(sum(map(len, ids)))
        for (arrival, future), stored in zip(waiting, ids, strict=True):
            self._note(arrival, stored)     # first: who was answered sees it counted
            future.set_result(stored)

    def _decide(self, at_most_s: float = _SLICE_S) -> None:
        """Match what waits for it, the oldest first, for a while."""
        began, expired = time.monotonic(), self._clock() - self._hot_window_s
        if at_most_s == _SLICE_S and self._rush.is_on and began - self._decided_at < _PAUSE_S:
            return
        while (taken := self._behind.pop()) is not None:
            record, vector = taken
            if record.received_at >= expired:
                self._unwritten.extend(self._gallery.add(record, vector))
            if time.monotonic() - began > at_most_s:
                break
            time.sleep(0)   # whoever takes requests has the interpreter as soon as it asks, not 5 ms later
        self._decided_at = time.monotonic()
        if len(self._unwritten) > _UNWRITTEN or (self._queue.empty() and not len(self._behind)):
            self._write_links()

    def _do(self, work: Any, future: Future[Any]) -> None:
        try:
            self._decide(_PATIENCE_S)
            self._write_links(must=True)
            future.set_result(work())
        except (CmnasError, Unanswerable) as error:
            future.set_exception(error)

    def _write_links(self, *, must: bool = False) -> None:
        if not self._unwritten:
            return
        try:
            self._journal.append([], self._unwritten)
            self._unwritten = []
        except CmnasError as error:
            self._refuse(error)     # kept, and written with the next commit that works
            if must:
                raise

    def _note(self, arrival: Arrival, stored: Stored) -> None:
        gaps = []
        for item, number in zip(arrival.items, stored, strict=True):
            if isinstance(item, Gap):
                gaps.append(JournalGap(arrival.device, item.spool, item.first, item.last, item.count,
                                       arrival.received_at))
            elif number is not None:
                self.stored_count += 1
                self.taken_count += 1
                self._behind.add(Record.of(number, arrival, item), item.vector)
        if gaps:
            self._gallery.note_gaps(gaps)

    def _refuse(self, error: CmnasError, means: str = "cameras keep what they have") -> None:
        self.full = str(error)
        held = self._repeats.admit(type(error).__name__)
        if held is not None:
            level = logging.WARNING if isinstance(error, Transient) else logging.ERROR
            _log.log(level, "%s; %s%s", error, means,
                     f" (said {held} more times)" if held else "")

    def _expire(self) -> None:
        self._expired_at = self._clock()
        self._on_turn()
        self._gallery.expire(self._expired_at - self._hot_window_s, self._hot_limit)
        self._unwritten += self._gallery.repair(_REPAIRED, self._expired_at)
        self._write_links()
        if self._unwritten:     # a link written after its sighting went would stand for ever
            self._more = False  # not at once, but when it is looked at again
            return
        removed, undecided = self.upkeep.view.removed_count, self.upkeep.undecided
        try:
            if self.upkeep.unfinished:
                self._finish_erasures()
            self._more = self.upkeep.step(self._expired_at)
            self.stored_count -= self.upkeep.view.removed_count - removed
            if self.upkeep.undecided != undecided:
                self._gallery.keep_decided({decision.id for decision in self._journal.decisions()})
        except CmnasError as error:
            self._more = False
            self._refuse(error, "what is over is let go of as soon as that is mended")
