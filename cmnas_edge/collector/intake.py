"""The one thread through which every sighting goes: commit, answer, then match.

Requests that wait together share a commit. They are answered as soon as it has reached the
disk; who the sightings show is decided after that, and the decisions are written with the
next commit, or at once when nothing waits. A crash in between loses no sighting, and their
decisions are made again at start.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from cmnas_edge.collector.gallery import Gallery
from cmnas_edge.collector.matching.identity import Link
from cmnas_edge.collector.store.journal import Arrival, Journal, JournalGap, Record
from cmnas_edge.errors import CmnasError, Transient
from cmnas_edge.log import Repeats
from cmnas_edge.sighting import Gap

__all__ = ["Intake", "Stored"]

Stored = list[int | None]   # per item: a sighting's new id, 0 for a gap, None for a duplicate
_log = logging.getLogger("cmnas.collector")
_WAITING = 256              # requests; more are told to come back
_TOGETHER = 32              # requests that share a commit
_EXPIRY_S = 10.0


class Intake:
    """Stores what arrives, once, and answers only what is on the disk."""

    def __init__(self, journal: Journal, gallery: Gallery, *, hot_window_s: float, hot_limit: int,
                 unwritten: list[Link] | None = None, on_failure: Callable[[], None] = lambda: None,
                 clock: Callable[[], float] = time.time) -> None:
        self.failure: BaseException | None = None
        self.full = ""      # why nothing can be stored for now
        self.stored_count = journal.count()
        self._journal = journal
        self._gallery = gallery
        self._hot_window_s = hot_window_s
        self._hot_limit = hot_limit
        self._unwritten = list(unwritten or ())
        self._on_failure = on_failure
        self._clock = clock
        self._repeats = Repeats()
        self._queue: queue.Queue[tuple[Arrival, Future[Stored]] | None] = queue.Queue(_WAITING)
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

    def offer(self, arrival: Arrival) -> Future[Stored]:
        """Hand over what a request brought.

        Returns:
            A future of what became of it. It fails with `DiskFull` when there is no room.

        Raises:
            Transient: Too many requests wait already, or the intake has failed.
        """
        if self.failure is not None:
            raise Transient("collector: stopping after an error; try again")
        future: Future[Stored] = Future()
        future.set_running_or_notify_cancel()   # a device that hangs up cannot cancel a commit
        try:
            self._queue.put_nowait((arrival, future))
        except queue.Full:
            raise Transient(f"collector: {_WAITING} requests wait already; try again") from None
        return future

    def _run(self) -> None:
        waiting: list[tuple[Arrival, Future[Stored]]] = []
        try:
            while self._take(waiting):
                if waiting or self._unwritten:
                    self._store(waiting)
                waiting = []
                if self._clock() - self._expired_at > _EXPIRY_S:
                    self._expire()
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

    def _take(self, waiting: list[tuple[Arrival, Future[Stored]]]) -> bool:
        """Wait for the first request and take those behind it; False at the end."""
        try:
            item = self._queue.get(timeout=_EXPIRY_S)
            while item is not None:
                waiting.append(item)
                if len(waiting) == _TOGETHER:
                    return True
                item = self._queue.get_nowait()
        except queue.Empty:
            return True
        if waiting:
            self._queue.put(None)   # the end comes round again after these
        return bool(waiting)

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
        for (_, future), stored in zip(waiting, ids, strict=True):
            future.set_result(stored)
        for arrival, stored in zip(arrivals, ids, strict=True):
            self._match(arrival, stored)
        if self._queue.empty():
            self._write_links()

    def _write_links(self) -> None:
        if not self._unwritten:
            return
        try:
            self._journal.append([], self._unwritten)
            self._unwritten = []
        except CmnasError as error:
            self._refuse(error)     # kept, and written with the next commit that works

    def _match(self, arrival: Arrival, stored: Stored) -> None:
        gaps = []
        for item, number in zip(arrival.items, stored, strict=True):
            if isinstance(item, Gap):
                gaps.append(JournalGap(arrival.device, item.spool, item.first, item.last, item.count,
                                       arrival.received_at))
            elif number is not None:
                self.stored_count += 1
                self._unwritten.extend(self._gallery.add(Record(
                    number, arrival.device, item.spool, item.sequence, arrival.received_at, item.camera,
                    item.seen_from, item.seen_at, item.modality, item.tracklet, item.view_count, item.quality,
                    item.box_width, item.box_height, item.engine, item.precision, item.transform), item.vector))
        if gaps:
            self._gallery.note_gaps(gaps)

    def _refuse(self, error: CmnasError) -> None:
        self.full = str(error)
        held = self._repeats.admit(type(error).__name__)
        if held is not None:
            level = logging.WARNING if isinstance(error, Transient) else logging.ERROR
            _log.log(level, "%s; cameras keep what they have%s", error,
                     f" (said {held} more times)" if held else "")

    def _expire(self) -> None:
        self._expired_at = self._clock()
        self._gallery.expire(self._expired_at - self._hot_window_s, self._hot_limit)
