"""The hot window's vectors on a Milvus server, for a site that one machine's memory does not hold.

The journal is the truth, and this a copy of it. A thread brings there what was added, erased and let go, in this
order and over and over until it is done: writing a row twice, or erasing it twice, changes nothing. What is not there
yet, or has not been there long enough that every search there sees it, is kept in memory too and searched beside it;
so a sighting is found from the moment it is added. At the start what is there is held against what the journal
says, row by row: what is missing or different is written, what is too much is erased.
"""

from __future__ import annotations

import logging
import threading
import time
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from itertools import islice

from cmnas_edge.collector.matching import index
from cmnas_edge.collector.matching.vectors import F16, F32, Camera, Filter, Hit
from cmnas_edge.collector.store.milvus_collection import MAX_HITS, MilvusCollection, MilvusRow, Server
from cmnas_edge.collector.store.milvus_view import MilvusView
from cmnas_edge.embedding import Modality
from cmnas_edge.errors import CmnasError, LinkDown
from cmnas_edge.log import Repeats

__all__ = ["MilvusStore"]

_log = logging.getLogger("cmnas.collector")
_AT_ONCE = 500      # rows of one request: 1 MiB of 512 entries; Milvus takes 64
_SEEN_S = 10.0      # after so long every search sees a write: Milvus' bounded staleness is 5 s
_END_S = 5.0
_AGAIN_S, _LEAST_OFTEN = 2.0, 15     # tried again after 2 s, 4 s, ... 30 s


class MilvusStore:
    """The vectors of the hot window. One thread writes; any number read through `view`.

    Args:
        server: Where it is.
        owner: What marks this collector's.
        fingerprint: Of the bundle; each has a collection of its own.
        dimension: Entries of a vector.
        also: Fingerprints of further bundles that are accepted; what there is of others is dropped.
        clock: Seconds that only ever grow.
        seen_s: From when on every search there sees a write.
    """

    def __init__(self, server: Server, *, owner: str, fingerprint: bytes, dimension: int, also: Collection[bytes] = (),
                 clock: Callable[[], float] = time.monotonic, seen_s: float = _SEEN_S, again_s: float = _AGAIN_S
                 ) -> None:
        self.trouble = "index: not connected yet"      # why nothing can be found there; empty: it can
        self._there = MilvusCollection(server, owner=owner, fingerprint=fingerprint, dimension=dimension, also=also)
        self._address = server.address
        self._clock, self._seen_s, self._again_s = clock, seen_s, again_s
        self._changed = threading.Condition()           # guards what follows
        self._ids = array("q")                          # of every sighting, counting up
        self._recent = index.Index(dimension)           # those that a search there may not see yet
        self._highest = self._reused = 0                # of all ids ever; how often one came again
        self._pushed = 0                                # all up to this id are there
        self._known: set[int] = set()                   # beyond it, these are there too
        self._written: deque[tuple[float, int]] = deque()   # when which ids had been written
        self._erase: dict[int, None] = {}               # to erase there, in this order
        self._erased: deque[tuple[float, int]] = deque()    # when what was erased there
        self._doubt = True                              # whether what is there is what was brought
        self._ending = False
        self._repeats = Repeats()
        self._thread = threading.Thread(target=self._run, name="milvus", daemon=True)

    def start(self) -> None:
        """Begin to bring things there; call once the journal's sightings are added."""
        self._thread.start()

    def stop(self) -> None:
        """End; what was not brought there is brought there at the next start."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(_END_S)
        self._there.close()      # whatever it still asks for fails

    def __len__(self) -> int:
        with self._changed:
            return len(self._ids)

    @property
    def backlog(self) -> int:
        """How many sightings are to be written, looked for or erased there yet."""
        with self._changed:
            beyond = len(self._ids) - bisect_left(self._ids, self._pushed + 1)
            return min(beyond, len(self._recent)) + len(self._erase)

    def adopt(self, held: index.Index) -> None:
        """Hold these from now on, and nothing else: what else is there is erased, what is missing there is brought.

        Until that is done everything is found in memory. ``held`` is this store's to change.
        """
        with self._changed:
            self._recent = held
            self._ids = array("q", held.view().ids().tolist())
            self._highest = max(self._highest, self._ids[-1] if self._ids else 0)
            self._start_over()
            self._erase.clear()
            self._doubt = True
            self._changed.notify_all()

    def _start_over(self) -> None:
        """Count nothing that is in memory as brought there."""
        self._reused += 1
        self._pushed = 0
        self._known = set()
        self._written.clear()

    def add(self, sighting: int, vector: F32, *, camera: Camera, modality: Modality, seen_from: float,
            seen_at: float, transform: int = 0) -> None:
        """Add one sighting; see `cmnas_edge.collector.matching.vectors.VectorStore`."""
        with self._changed:
            if self._ids and sighting <= self._ids[-1]:
                raise ValueError(f"expected an id above {self._ids[-1]}, found {sighting}")
            if sighting <= self._highest:       # an id that was erased has come again
                self._reused += 1
                self._pushed = min(self._pushed, sighting - 1)
                self._written = deque((at, min(number, sighting - 1)) for at, number in self._written)
            self._highest = max(self._highest, sighting)
            self._recent.add(sighting, vector, camera=camera, modality=modality, seen_from=seen_from,
                             seen_at=seen_at, transform=transform)
            self._ids.append(sighting)
            self._changed.notify_all()

    def delete(self, sightings: Collection[int]) -> int:
        """Erase these sightings here and, as soon as may be, there; return how many were here."""
        with self._changed:
            gone = {each for each in sightings if self._has(each)}
            self._ids = array("q", (each for each in self._ids if each not in gone))
            self._recent.delete(gone)
            self._forget(gone)
            return len(gone)

    def drop_before(self, sighting: int) -> int:
        """Let go of every sighting with an id below this one; return how many."""
        with self._changed:
            count = bisect_left(self._ids, sighting)
            gone, self._ids = set(self._ids[:count]), self._ids[count:]
            self._recent.drop_before(sighting)
            self._forget(gone)
            return count

    def view(self) -> MilvusView:
        """Return what is here now."""
        with self._changed:
            recent = self._recent.view()
            first, last = (self._ids[0], self._ids[-1]) if self._ids else (0, -1)
            return MilvusView(self, recent, len(self._recent) == len(self._ids), first, last)

    def search(self, queries: F32, k: int, keep: Filter, first: int, last: int) -> list[list[Hit]]:
        """Find there what was written long enough ago.

        Raises:
            LinkDown: It cannot be reached.
        """
        self._ask()
        with self._changed:
            gone = set(self._erase) | {each for _, each in self._erased}
        if k + len(gone) > MAX_HITS:
            raise LinkDown(f"search: {len(gone)} sightings are being erased on {self._address}; ask again in a minute")
        with self._doubted():
            found = self._there.search(queries, k + len(gone), keep, first, last)
        return [[hit for hit in hits if hit.id not in gone][:k] for hits in found]

    def vector(self, sighting: int) -> F32 | None:
        """Read there the vector of a sighting.

        Raises:
            LinkDown: It cannot be reached.
        """
        self._ask()
        with self._changed:
            if not self._has(sighting):
                return None
        with self._doubted():
            return self._there.vector(sighting)

    @contextmanager
    def _doubted(self) -> Iterator[None]:
        """Have what is there looked through again when it does not answer."""
        try:
            yield
        except LinkDown as error:
            with self._changed:
                self._doubt = True
                self._changed.notify_all()
            raise LinkDown(f"search: {error}; sightings are stored meanwhile, ask again later") from None

    def _ask(self) -> None:
        if self.trouble:
            raise LinkDown(f"search: {self.trouble}; sightings are stored meanwhile, ask again later")

    def _has(self, sighting: int) -> bool:
        at = bisect_left(self._ids, sighting)
        return at < len(self._ids) and self._ids[at] == sighting

    def _forget(self, gone: set[int]) -> None:
        if gone:
            self._known -= gone
            self._erase.update(dict.fromkeys(sorted(gone)))
            self._changed.notify_all()

    def _run(self) -> None:
        failures = 0
        while not self._ending:
            try:
                if self._doubt:
                    self._doubt = False
                    self._there.open()
                    self._compare()
                    self._say("")
                self._bring()
                failures = 0
            except CmnasError as error:
                self._doubt = True
                self._say(str(error))
                failures += 1
                with self._changed:
                    self._changed.wait_for(lambda: self._ending, self._again_s * min(failures, _LEAST_OFTEN))
            except BaseException as error:
                self.trouble = "index: stopped after an error; restart the collector"
                _log.critical("index: %s", error, exc_info=error)
                raise

    def _say(self, trouble: str) -> None:
        if self.trouble and not trouble:
            _log.info("index: %s holds %d sightings", self._address, len(self))
        with self._changed:
            self.trouble = trouble
            self._changed.notify_all()
        if trouble and (held := self._repeats.admit(trouble)) is not None:
            _log.warning("%s; sightings are stored, and wait to be brought there%s", trouble,
                         f" (said {held} more times)" if held else "")

    def _compare(self) -> None:
        """Hold what is there against what should be.

        Raises:
            LinkDown: It lost what memory does not hold; the next start fills it from the journal.
        """
        with self._changed:
            reused = self._reused
        there = self._there.digests()
        with self._changed:
            recent, ids = self._recent.view(), set(self._ids)
        same = {row.id for row in map(_row, recent.rows()) if there.get(row.id) == row.digest}
        lost = len((ids - set(recent.ids().tolist())) - there.keys())
        if lost:
            raise LinkDown(f"{self._address}: expected {len(ids)} sightings, found {lost} of them lost; restart the "
                           "collector, which fills it from the journal")
        with self._changed:
            if reused != self._reused:
                self._doubt = True      # some are others by now
                return
            now = set(self._ids)
            self._start_over()
            self._erase.update(dict.fromkeys(sorted(there.keys() - now)))
            self._known = same & now

    def _bring(self) -> None:
        """Take the next step there, or wait until there is one."""
        with self._changed:
            self._settle()
            erase = list(islice(self._erase, MAX_HITS))
            waiting = islice(self._recent.view().rows(self._pushed + 1), 0 if erase else _AT_ONCE)
            rows = list(map(_row, waiting))
            if not erase and not rows:
                self._changed.notify_all()
                if not self._ending and not self._doubt:
                    self._changed.wait(1.0 if self._written or self._erased else None)
                return
            known, reused = self._known, self._reused
        if erase:
            self._there.delete(erase)
        elif fresh := [row for row in rows if row.id not in known]:
            self._there.upsert(fresh)
        with self._changed:
            now = self._clock()
            self._changed.notify_all()
            if erase:
                for each in erase:
                    self._erase.pop(each, None)
                    self._erased.append((now, each))
            elif reused == self._reused:        # else some of them are others by now: once more
                self._pushed = rows[-1].id
                self._known -= {row.id for row in rows}
                self._written.append((now, self._pushed))

    def _settle(self) -> None:
        """Let go of what every search there sees by now."""
        long_ago = self._clock() - self._seen_s
        while self._erased and self._erased[0][0] <= long_ago:
            self._erased.popleft()
        while self._written and self._written[0][0] <= long_ago:
            self._recent.drop_before(self._written.popleft()[1] + 1)


def _row(each: tuple[int, F16, index.Kind, float, float]) -> MilvusRow:
    sighting, vector, (camera, modality, transform), seen_from, seen_at = each
    return MilvusRow(sighting, vector, camera, modality, transform, seen_from, seen_at)
