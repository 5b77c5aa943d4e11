"""What the hot window holds, in memory: sightings, vectors, identities, cameras; and how it comes and goes.

The vectors of each bundle that is accepted lie apart; identities are of all. What is asked of it is
`cmnas_edge.collector.gallery`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice, takewhile

import msgspec
import numpy as np
import numpy.typing as npt

from cmnas_edge.collector import views
from cmnas_edge.collector.cameras import Cameras
from cmnas_edge.collector.changes import Changes
from cmnas_edge.collector.decisions import Decisions, Keep
from cmnas_edge.collector.matching.identity import Identities, Link
from cmnas_edge.collector.matching.index import Index
from cmnas_edge.collector.matching.match import Model
from cmnas_edge.collector.matching.stores import Stores
from cmnas_edge.collector.matching.tracklet import Tracklet
from cmnas_edge.collector.roster import Roster
from cmnas_edge.collector.store.journal import Decision, JournalGap, Record
from cmnas_edge.collector.store.milvus import MilvusStore
from cmnas_edge.collector.telling import Telling

__all__ = ["Window"]

F32 = npt.NDArray[np.float32]
_log = logging.getLogger("cmnas.collector")


class Window:
    """The hot window. One thread writes, any number reads; a read sees no half decision.

    Args:
        model: The bundle that leads.
        also: Further bundles that are accepted.
        last_identity: The highest number given so far.

    Attributes:
        models: All that are accepted, by fingerprint, the leading one first.
        elsewhere: What keeps the vectors of each, if not this memory.
    """

    def __init__(self, model: Model, *, also: Sequence[Model] = (), last_identity: int = 0) -> None:
        self.model = model
        self.also = tuple(also)
        self.models = {one.fingerprint: one for one in (model, *also)}
        self.version = 0    # moves with every change
        self._lock = threading.Lock()
        self._stores = Stores(self.dimensions)
        self.elsewhere: Mapping[bytes, MilvusStore] = {}
        self._identities = Identities(model.dimension, model.calibration, last=last_identity,
                                      also=[(one.dimension, one.calibration) for one in also])
        self._records: dict[int, tuple[Record, Link, Tracklet]] = {}   # by id, counting up
        self._decided: dict[int, Link] = {}                            # by the tracklet's opening sighting
        self._decisions = Decisions()
        self._changes = Changes()
        self._telling = Telling(self.models, self._identities.held)
        self._cameras = Cameras(several=len(self.models) > 1)
        self._roster: tuple[Identities, int, Roster] | None = None      # as of which identities and version

    @property
    def dimensions(self) -> dict[bytes, int]:
        """Entries of a vector of each bundle, by fingerprint."""
        return {fingerprint: model.dimension for fingerprint, model in self.models.items()}

    def add(self, record: Record, vector: F32) -> list[Link]:
        """Take a stored sighting, decide who it shows, and return the decisions in order."""
        with self._lock:
            links = self._decide(record, vector)
            if said := self._keep(record, vector, links[0]):
                _log.info("%s", said)
        return links

    def restore(self, sightings: Sequence[tuple[Record, F32]], links: Iterable[Link]) -> list[Link]:
        """Take stored sightings and the links that were made of them; call once, at the start.

        A sighting without a link may stand anywhere among those that have one: a collector
        killed before it decided, with other sightings linked since (of another bundle, or while
        this one was outside the window). Identities that stand come first, so that what is
        decided now sees all of them.

        Returns:
            The decisions made now, in order.
        """
        own: dict[int, Link] = {}
        fresh: list[Link] = []
        with self._lock:
            for link in links:
                self._changes.note([link], self._decided)
                if link.rule != "tracklet":
                    self._decided[link.opened_by] = link
                if link.rule not in ("merged", "parted", "decided"):
                    own[link.sighting] = link
            with self._identities.restoring():
                for record, vector in sightings:
                    if record.id in own:
                        opened_by = own[record.id].opened_by
                        self._identities.restore(record, vector, self._decided[opened_by].identity,
                                                 fingerprint=record.fingerprint, opened_by=opened_by)
            for record, vector in sightings:
                if record.id not in own:
                    made = self._decide(record, vector)
                    own[record.id] = made[0]
                    fresh.extend(made)
            for record, vector in sightings:
                self._keep(record, vector, own[record.id])
        return fresh

    def move(self, elsewhere: Mapping[bytes, MilvusStore]) -> None:
        """Have all vectors kept elsewhere, which holds these and no others from then on; empty: they stay in memory.

        Args:
            elsewhere: What keeps them, by fingerprint, of all bundles that are accepted.
        """
        with self._lock:
            self.elsewhere = elsewhere
            for fingerprint, store in elsewhere.items():
                before = self._stores.replace(fingerprint, store)
                assert isinstance(before, Index)
                store.adopt(before)

    def become(self, other: Window) -> None:
        """Hold of what it holds what another holds, too, which nobody else uses; and that as the other does.

        So what was erased from the journal, which the other was made of, leaves memory and every index.
        """
        with self._lock:
            before, version = self._records, self.version
            self._stores.delete([number for number in before if number not in other._records])
            newest = next(reversed(before), 0)
            vectors = {fingerprint: other._stores.of(fingerprint).view() for fingerprint in other.models}
            for number, (record, *_) in other._records.items():
                if number > newest:     # it was stored, and waited to be decided about
                    vector = vectors[record.fingerprint].vector(number)
                    assert vector is not None
                    self._stores.put(record, vector, record.fingerprint)
            own = ("_lock", "_stores", "elsewhere")
            vars(self).update({name: held for name, held in vars(other).items() if name not in own})
            self.version = version + 1
            # What has left the window stays out of it, as it is in no index any more.
            for number in [number for number in self._records if number not in before and number <= newest]:
                self._cameras.let_go(self._records.pop(number)[0])

    def decide(self, asked: views.DecisionAsked, person: str, now: float, keep: Keep) -> views.Decided:
        """Do what a person decided, once ``keep`` has it.

        Raises:
            Unanswerable: It cannot be; the message is for the one who asked. Nothing was stored.
        """
        with self._lock:
            told, links = self._decisions.make(asked, person, now, self._identities, keep)
            self._decided.update({link.opened_by: link for link in links})
            self.version += 1
            return told

    def hold(self, decisions: Iterable[Decision]) -> None:
        """Take what was decided before, in order; call once, before `restore`."""
        with self._lock:
            self._decisions.take(decisions, self._identities)

    def keep_decided(self, numbers: Collection[int]) -> None:
        """Forget what people decided but for these, as the journal has."""
        with self._lock:
            self._decisions.keep(numbers)
            self.version += 1

    def repair(self, limit: int, now: float) -> list[Link]:
        """Look again at so many identities, in turn, and join those that are one by now; return what changed."""
        with self._lock:
            links = _dated(self._identities.repair(limit), now)
            if links:
                self._changes.note(links, self._decided)
                self._decided.update({link.opened_by: link for link in links})
                self.version += 1
            return links

    def note_gaps(self, gaps: Iterable[JournalGap]) -> None:
        """Take reports of records lost on a device."""
        with self._lock:
            self._cameras.note_gaps(gaps)
            self.version += 1

    def expire(self, since: float, limit: int) -> int:
        """Let go of what was received before ``since``, and of the oldest beyond ``limit``; say how many.

        Whole tracklets go: one that is still seen keeps all its sightings in its mean.
        """
        with self._lock:
            old = sum(1 for _ in takewhile(lambda item: item[0].received_at < since, self._records.values()))
            gone = list(islice(self._records, max(old, len(self._records) - limit, 0)))
            for number in gone:
                self._cameras.let_go(self._records.pop(number)[0])
            self.version += self._cameras.expire(since) > 0
            if not gone:
                return 0
            floor = next(iter(self._records), gone[-1] + 1)
            self._stores.drop_before(floor)
            for tracklet in self._identities.expire(floor):
                del self._decided[tracklet.opened_by]
            self._changes.keep(self._decided)
            self.version += 1
            return len(gone)

    def _decide(self, record: Record, vector: F32) -> list[Link]:
        links = self._identities.add(record, vector, record.fingerprint)
        if len(links) > 1:      # the first one places it, and changes nobody else
            links = _dated(links, record.received_at)
            self._changes.note(links, self._decided)
        self._decided.update({link.opened_by: link for link in links if link.rule != "tracklet"})
        return links

    def _keep(self, record: Record, vector: F32, link: Link) -> str:
        tracklet = self._identities.tracklet(link.opened_by)
        assert tracklet is not None
        self._records[record.id] = (record, link, tracklet)
        self._stores.put(record, vector, record.fingerprint)
        self.version += 1
        return self._cameras.note(record)


def _dated(links: list[Link], now: float) -> list[Link]:
    """Links that change what was, with when they did."""
    return [msgspec.structs.replace(link, made_at=now) if link.rule in ("merged", "parted") else link for link in links]
