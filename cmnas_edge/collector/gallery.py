"""What is asked of the hot window: lists, timelines, searches; and its beginning.

One thread adds (`cmnas_edge.collector.intake`); any may read. It is rebuilt from the journal at start: what was linked
keeps its identity, what was stored but not yet linked is linked now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from cmnas_edge.calibration import Pair
from cmnas_edge.collector import views
from cmnas_edge.collector.changes import Change
from cmnas_edge.collector.matching.identity import Link
from cmnas_edge.collector.matching.match import Model
from cmnas_edge.collector.matching.tracklet import Tracklet
from cmnas_edge.collector.matching.transit import Leg
from cmnas_edge.collector.roster import Roster
from cmnas_edge.collector.searching import probe_of
from cmnas_edge.collector.store.journal import Decision, Journal, Record
from cmnas_edge.collector.store.milvus import MilvusStore
from cmnas_edge.collector.window import Window
from cmnas_edge.embedding import Modality

__all__ = ["Gallery", "rebuild"]

F32 = npt.NDArray[np.float32]


class Gallery(Window):
    """The hot window, to be asked."""

    def made(self) -> list[Decision]:
        """What people decided, as the journal has it, the oldest first."""
        with self._lock:
            return self._decisions.made()

    def decisions(self, limit: int) -> views.DecisionList:
        """List what people decided, the newest first."""
        with self._lock:
            return self._decisions.listed(limit, self._identities)

    def suggestions(self, identity: int) -> views.SuggestionList:
        """Say who else an identity may be, most probable first.

        Raises:
            Unanswerable: There is none of that number.
        """
        with self._lock:
            if not self._identities.members(identity):
                raise views.Unanswerable(404, "identity: expected one of the hot window, found none of number "
                                              f"{identity}; it may be part of another by now")
            models = list(self.models.values())
            return views.SuggestionList([
                views.Suggestion(one.identity, one.score, one.threshold, one.pair, one.against,
                                 one.probability if models[one.bundle].calibration.scales else None,
                                 models[one.bundle].fingerprint.hex())
                for one in self._identities.suggest(identity)])

    def changes(self, asked: views.ChangesAsked) -> views.ChangeList:
        """List what changed by itself, the newest first."""
        with self._lock:
            return views.ChangeList([self._telling.change(change, self._identity_now(change))
                                     for change in self._changes.newest(asked.limit, asked.identity)])

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
                    found.append(self._telling.sighting(record, link, tracklet))
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
        """What was decided last about each tracklet by a score of this pair, and the tracklet it was held against.

        By the leading bundle: scores of two are not of one kind.
        """
        with self._lock:
            return [(link, tracklet, self._identities.tracklet(link.against or 0)) for link in self._decided.values()
                    if link.pair == pair and link.fingerprint in (None, self.model.fingerprint)
                    and (tracklet := self._identities.tracklet(link.opened_by)) is not None]

    def timeline(self, identity: int) -> views.Timeline | None:
        """One identity with its sightings, or None when there is none of that number."""
        with self._lock:
            members = self._identities.members(identity)
            if not members:
                return None
            kept = [self._records[s] for t in members for s in t.sightings if s in self._records]
            kept.sort(key=lambda item: (item[0].seen_at, item[0].id))
            return views.Timeline(self._identity(identity), [self._telling.sighting(*item) for item in kept])

    def cameras(self, now: float) -> views.CameraList:
        """Every camera heard within the window, and the gaps reported in it."""
        with self._lock:
            return self._cameras.view(now)

    def bundles(self) -> list[views.BundleAccepted]:
        """The bundles that are accepted, the leading one first, and how many cameras lately told of people by each."""
        with self._lock:
            return [views.BundleAccepted(
                name=model.name, network=model.backbone, fingerprint=one.hex(), dimension=model.dimension,
                calibrated_on=model.calibrated_on, camera_count=self._cameras.count_by(one),
                sighting_count=self._cameras.held_by(one), heard_at=self._cameras.heard_by(one))
                for one, model in self.models.items()]

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
        """Which of some tracklets are here, and their mean vectors by the leading bundle, shape ``(n, d)``."""
        with self._lock:
            return self._identities.means(opened_by)

    def counts(self) -> tuple[int, int]:
        """Sightings and identities of the hot window."""
        with self._lock:
            return len(self._records), len(self._identities)

    def search(self, query: views.Query) -> views.MatchList:
        """Find the sightings nearest to a stored one or to a vector, among those of its bundle.

        Raises:
            Unanswerable: It makes no sense, is about what is not here, or what keeps the vectors is away. The message
                is for the one who asks.
        """
        with self._lock:
            known = self._records.get(query.sighting or 0)
            own = set() if known is None else {known[0].id}
            if known is not None and query.other_identities:
                own.update(s for t in self._identities.members(known[2].identity) for s in t.sightings)
            probe = probe_of(query, self.models, None if known is None else known[0], own, self._cameras)
            view = self._stores.of(probe.model.fingerprint).view()
        found, calibration = probe.found(view, query.k), probe.model.calibration
        with self._lock:
            return views.MatchList([
                views.Match(self._telling.sighting(*self._records[m.id]), m.score, m.threshold, m.pair, m.above,
                            judged.probability, judged.verdict, calibration.only_suggests(m.pair))
                for m in found if m.id in self._records
                for judged in [calibration.judge(m.pair, m.score)]], probe.model.fingerprint.hex())

    def _identity_now(self, change: Change) -> int:
        there = (self._identities.tracklet(one) for one in change.tracklets)
        return next((one.identity for one in there if one is not None), change.link.identity)

    def _identity(self, identity: int) -> views.Identity:
        return self._telling.identity(identity, self._identities.members(identity), self._decided)


def rebuild(journal: Journal, model: Model, *, since: float, limit: int, also: Sequence[Model] = (),
            elsewhere: Mapping[bytes, MilvusStore] | None = None) -> tuple[Gallery, list[Link]]:
    """Read the hot window back from the journal.

    Args:
        journal: Open, and used by nobody else meanwhile.
        model: The bundle that leads; sightings of none that is accepted are passed over.
        since: Only tracklets still seen since then, in the collector's epoch seconds.
        limit: At most about so many sightings.
        also: Further bundles that are accepted.
        elsewhere: What shall keep the vectors, by fingerprint, and holds those of the window from then on; None: memory
            does.

    Returns:
        The gallery, and links decided just now for sightings that were stored but not yet
        linked when the last collector ended: they are to be written.
    """
    gallery = Gallery(model, also=also, last_identity=journal.last_identity())
    gallery.hold(journal.decisions())
    sightings = list(journal.sightings_of(gallery.dimensions, since=since, most=limit))
    fresh = gallery.restore(sightings, journal.links(sightings[0][0].id) if sightings else ())
    gallery.note_gaps(journal.gaps(since))
    gallery.move(elsewhere or {})
    return gallery, fresh


def _is_camera(record: Record, name: str) -> bool:
    return name in (record.camera, f"{record.device}/{record.camera}")
