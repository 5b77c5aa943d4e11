"""What the hot window holds, in memory: sightings, index, identities, cameras.

One thread adds (`cmnas_edge.collector.intake`); any may read. It is rebuilt from the journal
at start: what was linked keeps its identity, what was stored but not yet linked is linked now.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice, takewhile

import msgspec
import numpy as np
import numpy.typing as npt

from cmnas_edge.calibration import Pair
from cmnas_edge.collector import views
from cmnas_edge.collector.cameras import Cameras
from cmnas_edge.collector.changes import Changes
from cmnas_edge.collector.matching import deciding
from cmnas_edge.collector.matching.identity import Identities, Link
from cmnas_edge.collector.matching.index import Index
from cmnas_edge.collector.matching.match import Model, match
from cmnas_edge.collector.matching.tracklet import Tracklet
from cmnas_edge.collector.matching.transit import Leg
from cmnas_edge.collector.matching.vectors import Filter, VectorStore
from cmnas_edge.collector.roster import Roster
from cmnas_edge.collector.store.journal import Decision, Journal, JournalGap, Record
from cmnas_edge.collector.store.milvus import MilvusStore
from cmnas_edge.embedding import MODALITIES, Modality, unit
from cmnas_edge.errors import Transient

__all__ = ["Gallery", "rebuild"]

F32 = npt.NDArray[np.float32]


class Gallery:
    """The hot window. One thread writes, any number reads; a read sees no half decision."""

    def __init__(self, model: Model, *, last_identity: int = 0) -> None:
        self.model = model
        self.version = 0    # moves with every change
        self._lock = threading.Lock()
        self._index: VectorStore = Index(model.dimension)
        self.elsewhere: MilvusStore | None = None   # what keeps the vectors, if not this memory
        self._identities = Identities(model.dimension, model.calibration, last=last_identity)
        self._records: dict[int, tuple[Record, Link, Tracklet]] = {}   # by id, counting up
        self._decided: dict[int, Link] = {}                            # by the tracklet's opening sighting
        self._decisions: dict[int, Decision] = {}
        self._changes = Changes()
        self._cameras = Cameras()
        self._roster: tuple[Identities, int, Roster] | None = None      # as of which identities and version

    def add(self, record: Record, vector: F32) -> list[Link]:
        """Take a stored sighting, decide who it shows, and return the decisions in order."""
        with self._lock:
            links = self._decide(record, vector)
            self._keep(record, vector, links[0])
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
            for record, vector in sightings:
                if record.id in own:
                    opened_by = own[record.id].opened_by
                    self._identities.restore(record, vector, self._decided[opened_by].identity, opened_by=opened_by)
            for record, vector in sightings:
                if record.id not in own:
                    made = self._decide(record, vector)
                    own[record.id] = made[0]
                    fresh.extend(made)
            for record, vector in sightings:
                self._keep(record, vector, own[record.id])
        return fresh

    def move(self, elsewhere: MilvusStore | None) -> None:
        """Have all vectors kept elsewhere, which holds these and no others from then on; None: they stay in memory."""
        with self._lock:
            if elsewhere is not None:
                assert isinstance(self._index, Index)
                elsewhere.adopt(self._index)
                self._index = self.elsewhere = elsewhere

    def become(self, other: Gallery) -> None:
        """Hold of what it holds what another holds, too, which nobody else uses; and that as the other does.

        So what was erased from the journal, which the other was made of, leaves memory and every index.
        """
        with self._lock:
            before, version = self._records, self.version
            self._index.delete([number for number in before if number not in other._records])
            newest, vectors = next(reversed(before), 0), other._index.view()
            for number, (record, *_) in other._records.items():
                if number > newest:     # it was stored, and waited to be decided about
                    vector = vectors.vector(number)
                    assert vector is not None
                    self._put(record, vector)
            own = ("_lock", "_index", "elsewhere")
            vars(self).update({name: held for name, held in vars(other).items() if name not in own})
            self.version = version + 1
            # What has left the window stays out of it, as it is in no index any more.
            self._records = {number: held for number, held in self._records.items()
                             if number in before or number > newest}

    def decide(self, asked: views.DecisionAsked, person: str, now: float,
               store: Callable[[Decision, Iterable[Link]], int]) -> views.Decided:
        """Do what a person decided, once ``store`` has it; it returns the decision's number.

        Raises:
            Unanswerable: It cannot be; the message is for the one who asked. Nothing was stored.
        """
        with self._lock:
            try:
                plan = self._planned(asked)
            except deciding.Impossible as error:
                raise views.Unanswerable(409, str(error)) from None
            number = store(Decision(now, person, asked.kind, asked.reason, plan.body), plan.links)
            deciding.carry_out(self._identities, plan, number)
            self._decided.update({link.opened_by: link for link in plan.links})
            decision = Decision(now, person, asked.kind, asked.reason, plan.body, number)
            self._decisions[number] = decision
            self.version += 1
            return self._told(decision)

    def hold(self, decisions: Iterable[Decision]) -> None:
        """Take what was decided before, in order; call once, before `restore`."""
        with self._lock:
            for decision in decisions:
                self._decisions[decision.id] = decision
                deciding.hold(self._identities.held, decision.id, decision.kind, decision.body)

    def keep_decided(self, numbers: Collection[int]) -> None:
        """Forget what people decided but for these, as the journal has."""
        with self._lock:
            self._decisions = {number: held for number, held in self._decisions.items() if number in numbers}
            self.version += 1

    def made(self) -> list[Decision]:
        """What people decided, as the journal has it, the oldest first."""
        with self._lock:
            return list(self._decisions.values())

    def decisions(self, limit: int) -> views.DecisionList:
        """List what people decided, the newest first."""
        with self._lock:
            return views.DecisionList([self._told(self._decisions[number])
                                       for number in sorted(self._decisions, reverse=True)[:limit]])

    def suggestions(self, identity: int) -> views.SuggestionList:
        """Say who else an identity may be, most probable first.

        Raises:
            Unanswerable: There is none of that number.
        """
        with self._lock:
            if not self._identities.members(identity):
                raise views.Unanswerable(404, f"identity: none of number {identity} in the hot window; it may be part "
                                              "of another by now")
            known = bool(self.model.calibration.scales)
            return views.SuggestionList([
                views.Suggestion(one.identity, one.score, one.threshold, one.pair, one.against,
                                 one.probability if known else None) for one in self._identities.suggest(identity)])

    def changes(self, asked: views.ChangesAsked) -> views.ChangeList:
        """List what changed by itself, the newest first."""
        with self._lock:
            return views.ChangeList([msgspec.structs.replace(change, identity=self._identity_now(change))
                                     for change in self._changes.newest(asked.limit, asked.identity)])

    def repair(self, limit: int, now: float) -> list[Link]:
        """Look again at so many identities, in turn, and join those that are one by now; return what changed."""
        with self._lock:
            links = _dated(self._identities.repair(limit), now)
            if links:
                self._changes.note(links, self._decided)
                self._decided.update({link.opened_by: link for link in links})
                self.version += 1
            return links

    def _planned(self, asked: views.DecisionAsked) -> deciding.Plan:
        if asked.kind == "merge":
            return deciding.merge(self._identities, asked.identities)
        if asked.kind == "cannot_link":
            return deciding.cannot_link(self._identities, asked.identities)
        if asked.kind == "undo":
            made = self._decisions.get(asked.undoes or 0)
            if made is None or made.kind == "undo" or any(
                    one.kind == "undo" and one.body["undoes"] == made.id for one in self._decisions.values()):
                raise deciding.Impossible(f"undo: expected a decision that stands, found {asked.undoes}; see the list")
            return deciding.undo(self._identities, made.id, made.body)
        if len(asked.identities) != 1:
            raise deciding.Impossible(f"{asked.kind}: expected one identity, found {len(asked.identities)}; name one")
        if asked.kind == "split":
            return deciding.split(self._identities, asked.identities[0], asked.tracklets)
        return deciding.confirm(self._identities, asked.identities[0])

    def _told(self, decision: Decision) -> views.Decided:
        return views.Decided(
            id=decision.id, made_at=decision.made_at, person=decision.person, kind=decision.kind,
            reason=decision.reason, tracklets=decision.body["tracklets"],
            moved=[views.Move(*one) for one in decision.body["moved"]], undoes=decision.body.get("undoes"),
            undone=any(one.kind == "undo" and one.body["undoes"] == decision.id for one in self._decisions.values()))

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
            self.version += self._cameras.expire(since) > 0
            if not gone:
                return 0
            for number in gone:
                del self._records[number]
            floor = next(iter(self._records), gone[-1] + 1)
            self._index.drop_before(floor)
            for tracklet in self._identities.expire(floor):
                del self._decided[tracklet.opened_by]
            self._changes.keep(self._decided)
            self.version += 1
            return len(gone)

    def sightings(self, *, since: int = 0, limit: int = 100, camera: str | None = None,
                  modality: Modality | None = None, newest: bool = False) -> views.SightingList:
        """List sightings by id: those after ``since``, or the newest."""
        with self._lock:
            numbers = reversed(self._records) if newest else iter(self._records)
            found: list[views.Sighting] = []
            last, more = max(since, 0), False
            for number in numbers:
                if number <= since:
                    if newest:
                        break
                    continue
                record, link, tracklet = self._records[number]
                if (camera is None or _is_camera(record, camera)) and modality in (None, record.modality):
                    if len(found) == limit:
                        more = True
                        break
                    found.append(self._sighting(record, link, tracklet))
                last = max(last, number)
        return views.SightingList(found[::-1] if newest else found, last, more)

    def identities(self, asked: views.IdentitiesAsked | None = None, *, limit: int = 100) -> views.IdentityList:
        """List identities, last seen first."""
        roster = self.roster()
        page = roster.page(asked or views.IdentitiesAsked(limit=limit))
        with self._lock:
            shown = [self._identity(identity) for identity in page.identities if self._identities.members(identity)]
        return views.IdentityList(shown, roster.total, roster.across, self.model.calibrated_on, page.found,
                                  page.seen_from, page.seen_to)

    def roster(self) -> Roster:
        """Everybody as arrays, as of now."""
        with self._lock:
            known, key = self._roster, (self._identities, self.version)
            if known is not None and known[0] is key[0] and known[1] == key[1]:
                return known[2]
            tracklets, cameras = self._identities.table()
        roster = Roster(tracklets, cameras)
        with self._lock:
            self._roster = (*key, roster)
        return roster

    def decided(self, pair: Pair) -> list[tuple[Link, Tracklet, Tracklet | None]]:
        """What was decided last about each tracklet by a score of this pair, and the tracklet it was held against."""
        with self._lock:
            return [(link, tracklet, self._identities.tracklet(link.against or 0)) for link in self._decided.values()
                    if link.pair == pair and (tracklet := self._identities.tracklet(link.opened_by)) is not None]

    def timeline(self, identity: int) -> views.Timeline | None:
        """One identity with its sightings, or None when there is none of that number."""
        with self._lock:
            members = self._identities.members(identity)
            if not members:
                return None
            kept = [self._records[s] for t in members for s in t.sightings if s in self._records]
            kept.sort(key=lambda item: (item[0].seen_at, item[0].id))
            return views.Timeline(self._identity(identity), [self._sighting(*item) for item in kept])

    def cameras(self, now: float) -> views.CameraList:
        """Every camera heard within the window, and the gaps reported in it."""
        with self._lock:
            return self._cameras.view(now)

    def heard(self) -> list[tuple[str, str, float]]:
        """Device, camera, and when it was last heard, of every camera of the window."""
        with self._lock:
            return self._cameras.heard()

    def legs(self) -> list[tuple[tuple[str, str], tuple[str, str], Leg]]:
        """What has been learned of the ways between cameras; see `Identities.legs`."""
        with self._lock:
            return self._identities.legs()

    def traits(self) -> npt.NDArray[np.void]:
        """What decides about each tracklet; see `Tracklets.traits`."""
        with self._lock:
            return self._identities.table()[0]

    def means(self, opened_by: Sequence[int]) -> tuple[list[bool], F32]:
        """Which of some tracklets are here, and the mean vectors of those, shape ``(n, d)``."""
        with self._lock:
            return self._identities.means(opened_by)

    def counts(self) -> tuple[int, int]:
        """Sightings and identities of the hot window."""
        with self._lock:
            return len(self._records), len(self._identities)

    def search(self, query: views.Query) -> views.MatchList:
        """Find the sightings nearest to a stored one or to a vector.

        Raises:
            Unanswerable: It names both or neither, a sighting that is not here, or a vector of
                another length or without direction; or what keeps the vectors is away. The message
                is for the one who asks.
        """
        if (query.sighting is None) == (query.vector is None):
            raise views.Unanswerable(400, "search: expected either sighting or vector, found both or neither")
        if query.transform >= 2**64:
            raise views.Unanswerable(400, "search: expected a transform below 2**64, found a larger one")
        with self._lock:
            view = self._index.view()
            exclude, transform, modality = set(query.exclude), query.transform, query.vector_modality
            if query.sighting is not None:
                if (known := self._records.get(query.sighting)) is None:
                    raise views.Unanswerable(404, f"search: no sighting {query.sighting} in the hot window")
                record, _, tracklet = known
                transform, modality = record.transform, record.modality
                exclude.add(record.id)
                if query.other_identities:
                    exclude.update(s for t in self._identities.members(tracklet.identity) for s in t.sightings)
            wanted = None if query.cameras is None else frozenset(
                key for key in self._cameras if {key[1], "/".join(key)} & set(query.cameras))
        if query.vector is not None:
            if len(query.vector) != self.model.dimension:
                raise views.Unanswerable(400, f"search: expected a vector of {self.model.dimension} entries, "
                                              f"found {len(query.vector)}")
            try:
                vector = unit(np.array([query.vector], np.float64))[0]
            except ValueError:      # entries so small that their squares vanish are zeros, too
                raise views.Unanswerable(400, "search: expected a vector with a direction, found zeros") from None
        keep = Filter(cameras=wanted, modality=query.modality, exclude=frozenset(exclude), transform=transform,
                      seen_from=-np.inf if query.seen_from is None else query.seen_from,
                      seen_to=np.inf if query.seen_to is None else query.seen_to)
        try:
            if query.sighting is not None:
                if (stored := view.vector(query.sighting)) is None:     # it left just now
                    raise views.Unanswerable(404, f"search: no sighting {query.sighting} in the hot window")
                vector = stored
            found = match(view, vector, modality, k=query.k, keep=keep, calibration=self.model.calibration)
        except Transient as error:      # where vectors are kept elsewhere, that may be away
            raise views.Unanswerable(503, str(error)) from None
        with self._lock:
            return views.MatchList([
                views.Match(self._sighting(*self._records[m.id]), m.score, m.threshold, m.pair, m.above,
                            judged.probability, judged.verdict, self.model.calibration.only_suggests(m.pair))
                for m in found if m.id in self._records
                for judged in [self.model.calibration.judge(m.pair, m.score)]])

    def _decide(self, record: Record, vector: F32) -> list[Link]:
        links = self._identities.add(record, vector)
        if len(links) > 1:      # the first one places it, and changes nobody else
            links = _dated(links, record.received_at)
            self._changes.note(links, self._decided)
        self._decided.update({link.opened_by: link for link in links if link.rule != "tracklet"})
        return links

    def _keep(self, record: Record, vector: F32, link: Link) -> None:
        tracklet = self._identities.tracklet(link.opened_by)
        assert tracklet is not None
        self._records[record.id] = (record, link, tracklet)
        self._put(record, vector)
        self._cameras.note(record)
        self.version += 1

    def _put(self, record: Record, vector: F32) -> None:
        self._index.add(record.id, vector, camera=(record.device, record.camera), modality=record.modality,
                        seen_from=record.seen_from, seen_at=record.seen_at, transform=record.transform)

    def _identity_now(self, change: views.Change) -> int:
        there = (self._identities.tracklet(one) for one in change.tracklets)
        return next((one.identity for one in there if one is not None), change.became)

    def _identity(self, identity: int) -> views.Identity:
        members = sorted(self._identities.members(identity), key=lambda t: (t.seen_from, t.opened_by))
        return views.Identity(
            identity=identity, seen_from=members[0].seen_from, seen_at=max(t.seen_at for t in members),
            modalities=[m for m in MODALITIES if any(t.modality == m for t in members)],
            cameras=sorted({f"{t.device}/{t.camera}" for t in members}),
            sighting_count=sum(len(t.sightings) for t in members),
            tracklets=[self._tracklet(t, self._decided[t.opened_by]) for t in members])

    def _sighting(self, record: Record, link: Link, tracklet: Tracklet) -> views.Sighting:
        return views.Sighting(
            id=record.id, device=record.device, camera=record.camera, seen_from=record.seen_from,
            seen_at=record.seen_at, received_at=record.received_at, modality=record.modality,
            tracklet=record.tracklet, identity=tracklet.identity, rule=link.rule, score=link.score,
            threshold=link.threshold, pair=link.pair, against=link.against, probability=link.probability,
            suggestion=self._only_suggested(link), quality=record.quality,
            view_count=record.view_count, box_width=record.box_width, box_height=record.box_height,
            engine=record.engine, precision=record.precision)

    def _tracklet(self, tracklet: Tracklet, link: Link) -> views.Tracklet:
        return views.Tracklet(
            id=tracklet.opened_by, device=tracklet.device, camera=tracklet.camera, number=tracklet.key[3],
            modality=tracklet.modality, seen_from=tracklet.seen_from, seen_at=tracklet.seen_at,
            sighting_count=len(tracklet.sightings), rule=link.rule, score=link.score, threshold=link.threshold,
            pair=link.pair, against=link.against, probability=link.probability,
            suggestion=self._only_suggested(link))

    def _only_suggested(self, link: Link) -> bool:
        """Whether what a link puts together is a suggestion, which stays, labelled, until a person confirms it."""
        return (link.rule in ("joined", "merged") and link.pair is not None
                and self.model.calibration.only_suggests(link.pair)
                and not self._identities.held.together(link.opened_by, link.against or 0))


def rebuild(journal: Journal, model: Model, *, since: float, limit: int, elsewhere: MilvusStore | None = None
            ) -> tuple[Gallery, list[Link]]:
    """Read the hot window back from the journal.

    Args:
        journal: Open, and used by nobody else meanwhile.
        model: The bundle; sightings of another fingerprint are passed over.
        since: Only tracklets still seen since then, in the collector's epoch seconds.
        limit: At most about so many sightings.
        elsewhere: What shall keep the vectors, and holds those of the window from then on; None: memory.

    Returns:
        The gallery, and links decided just now for sightings that were stored but not yet
        linked when the last collector ended: they are to be written.
    """
    gallery = Gallery(model, last_identity=journal.last_identity())
    gallery.hold(journal.decisions())
    sightings = list(journal.sightings(model.fingerprint, model.dimension, since=since, most=limit))
    fresh = gallery.restore(sightings, journal.links(sightings[0][0].id) if sightings else ())
    gallery.note_gaps(journal.gaps(since))
    gallery.move(elsewhere)
    return gallery, fresh


def _dated(links: list[Link], now: float) -> list[Link]:
    """Links that change what was, with when they did."""
    return [msgspec.structs.replace(link, made_at=now) if link.rule in ("merged", "parted") else link for link in links]


def _is_camera(record: Record, name: str) -> bool:
    return name in (record.camera, f"{record.device}/{record.camera}")
