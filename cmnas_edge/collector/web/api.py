"""What the API answers: JSON for the pages and for programs."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence

from cmnas_edge import __version__
from cmnas_edge.collector import glance, overviews, views
from cmnas_edge.collector.access.audit_log import AuditLog
from cmnas_edge.collector.access.people import People
from cmnas_edge.collector.access.roles import Caller
from cmnas_edge.collector.access.sessions import Sessions
from cmnas_edge.collector.drifts import Drifts
from cmnas_edge.collector.gallery import Gallery
from cmnas_edge.collector.intake import Intake
from cmnas_edge.collector.receiving.devices import Devices
from cmnas_edge.collector.store.erasures import Receipt, Selection
from cmnas_edge.collector.web.administration import Administration
from cmnas_edge.collector.web.condition import Condition
from cmnas_edge.collector.web.exports import Table, csv_lines
from cmnas_edge.collector.web.routes import ROUTES
from cmnas_edge.errors import CmnasError

__all__ = ["Api"]


class Api(Administration):
    """Answers the routes: a struct in, a struct out.

    A method raises `views.Unanswerable` for a question that makes no sense or is about what
    is not there; the message is for the one who asked. One that changes something takes ``person``, the name of
    whoever is logged in, as a keyword; one that takes ``caller`` gets who asks.

    Args:
        gallery: What is in the hot window.
        intake: Where sightings are stored.
        devices: Who may send them.
        audit_log: Where questions are noted.
        people: Who is enrolled.
        sessions: Who is logged in.
        hot_window_h: Its length.
        reasons: Kinds of questions that need a reason.
        broker: Says why no batch comes by a broker.
        index: Says why nothing can be searched for.
        left: What is stored within the hot window of bundles that are accepted no more.
        kept: Device, time and reason of those that keep what cannot be taken for now.
        clock: Epoch seconds.

    Attributes:
        noted: The audit log.
        reasons: As given.
        condition: Whether the collector does its work.
    """

    def __init__(self, gallery: Gallery, intake: Intake, devices: Devices, audit_log: AuditLog, *,
                 people: People, sessions: Sessions, hot_window_h: float, reasons: Collection[str] = (),
                 broker: Callable[[], str] = lambda: "",
                 index: Callable[[], str] = lambda: "",
                 kept: Callable[[], Sequence[tuple[str, float, str]]] = lambda: (),
                 left: Callable[[], list[views.BundleLeft]] = list,
                 clock: Callable[[], float] = time.time) -> None:
        super().__init__(people, sessions, devices)
        self._gallery = gallery
        self._drifts = Drifts(gallery)
        self._intake = intake
        self.noted = audit_log
        self.reasons = reasons
        self._hot_window_h = hot_window_h
        self._broker = broker
        self._index = index
        self._kept = kept
        self._left = left
        self._clock = clock
        self._started_at = clock()
        self.condition = Condition(lambda: self.health(views.Nothing()), lambda: intake.failure is None)

    def tag(self) -> str:
        """Changes whenever an answer about sightings or identities may have changed."""
        return f'"{self._started_at:.6f}-{self._gallery.version}"'

    def health(self, asked: views.Nothing) -> views.Health:
        """Say whether sightings are stored, with which bundle, and how many there are."""
        del asked
        model = self._gallery.model
        hot, identities = self._gallery.counts()
        refusing, device_count = "", 0
        taken, free = self._intake.space()
        try:
            device_count = len(self._devices.known())
        except CmnasError as error:
            refusing = str(error)
        return views.Health(
            status="full" if self._intake.full else "refusing" if refusing else "ok",
            message=self._intake.full or refusing, version=__version__,
            now=self._clock(), started_at=self._started_at, fingerprint=model.fingerprint.hex(),
            dimension=model.dimension, calibrated_on=model.calibrated_on, bundles=self._gallery.bundles(),
            bundles_left=self._left(),
            kept_back=[views.KeptBack(device=device, at=at, reason=why) for device, at, why in self._kept()],
            thresholds={name: views.Judgement(t.score, t.false_match_rate) for name, t in model.thresholds.items()},
            stored_count=self._intake.stored_count, taken_count=self._intake.taken_count, hot_count=hot,
            behind_count=self._intake.behind_count, behind_s=self._intake.lag_s(), hot_window_h=self._hot_window_h,
            identity_count=identities, device_count=device_count, broker=self._broker(), index=self._index(),
            retention=self._intake.upkeep.view, journal_bytes=taken, free_bytes=free)

    def cameras(self, asked: views.Nothing) -> views.CameraList:
        """List the cameras, and what their devices lost."""
        del asked
        return self._gallery.cameras(self._clock())

    def sightings(self, asked: views.SightingsAsked) -> views.SightingList:
        """List sightings of the hot window in the order they were stored."""
        return self._gallery.sightings(since=asked.since, limit=asked.limit, camera=asked.camera,
                                       modality=asked.modality, newest=asked.newest)

    def identities(self, asked: views.IdentitiesAsked) -> views.IdentityList:
        """List probable people with their tracklets, last seen first."""
        return self._gallery.identities(asked)

    def identity(self, asked: views.IdentityAsked) -> views.Timeline:
        """Show one probable person's sightings in the order of the footage."""
        timeline = self._gallery.timeline(asked.identity)
        if timeline is None:
            part = next((f"; it became part of {one.identity}" for one in self._gallery.changes(
                views.ChangesAsked(1000, asked.identity)).changes if one.was == asked.identity),
                "; it may be part of another by now")
            raise views.Unanswerable(404, "identity: expected one of the hot window, found none of number "
                                          f"{asked.identity}{part}")
        return timeline

    def suggestions(self, asked: views.SuggestionsAsked) -> views.SuggestionList:
        """Say who else an identity may be."""
        return self._gallery.suggestions(asked.identity)

    def decisions(self, asked: views.DecisionsAsked) -> views.DecisionList:
        """List what people decided about identities."""
        return self._gallery.decisions(asked.limit)

    def changes(self, asked: views.ChangesAsked) -> views.ChangeList:
        """List what changed by itself: identities that became one, and whoever left one."""
        return self._gallery.changes(asked)

    def decide(self, asked: views.DecisionAsked, *, person: str) -> views.Decided:
        """Confirm, merge, split or hold apart identities, or take that back; the journal keeps who and why."""
        return self._intake.decide(asked, person).result()

    def site(self, asked: views.Nothing) -> overviews.Site:
        """Show the cameras, the ways between them and how long those take, and the traffic of an hour."""
        del asked
        return glance.site(self._gallery, self._clock())

    def calibration(self, asked: views.Nothing) -> overviews.CalibrationShown:
        """Show the calibration in effect: per pair its threshold, and the scores it was found from."""
        del asked
        return glance.calibration(self._gallery.model)

    def moved(self, asked: overviews.MovedAsked) -> overviews.Moved:
        """Say which links another threshold of a pair would change."""
        return glance.moved(self._gallery, asked)

    def drift(self, asked: views.Nothing) -> overviews.DriftShown:
        """Hold this site's scores of which the truth is known against those the calibration was made on."""
        del asked
        return self._drifts.look()

    def search(self, asked: views.Query) -> views.MatchList:
        """Find the sightings nearest to a stored one or to a vector."""
        return self._gallery.search(asked)

    def erase(self, asked: views.ErasureAsked, *, person: str) -> Receipt:
        """Erase what fits all that is given, everywhere, and in every backup that is restored."""
        what = Selection(identity=asked.identity, device=asked.device, camera=asked.camera, seen_from=asked.seen_from,
                         seen_to=asked.seen_to)
        if fault := what.fault():
            raise views.Unanswerable(400, fault)
        return self._intake.erase(what, person, asked.reason).result()

    def receipts(self, asked: views.Nothing) -> views.ReceiptList:
        """List what was erased."""
        del asked
        return views.ReceiptList(self._intake.ask(self._intake.upkeep.receipts).result())

    def export(self, asked: views.ExportAsked) -> Table:
        """Give the sightings that fit as CSV, with how each came to its identity, and without vectors."""
        def fitting() -> Iterator[views.Sighting]:
            since, more = 0, True
            while more:
                page = self._gallery.sightings(since=since, limit=1000, camera=asked.camera, modality=asked.modality)
                since, more = page.last, page.more
                yield from (each for each in page.sightings if asked.identity in (None, each.identity)
                            and (asked.seen_from is None or each.seen_at >= asked.seen_from)
                            and (asked.seen_to is None or each.seen_from <= asked.seen_to))

        return Table("sightings.csv", csv_lines(fitting()))

    def audit_log(self, asked: views.AuditAsked) -> views.AuditPage:
        """Show who asked what, the newest first."""
        return views.AuditPage(self.noted.page(before=asked.before, limit=asked.limit))

    def session(self, asked: views.Nothing, *, caller: Caller) -> views.Session:
        """Say who is logged in, and which of these routes they may use."""
        del asked
        return views.Session(name=caller.name, role=caller.role, ends_at=caller.ends_at or None,
                             may=[route.name for route in ROUTES if caller.may(route.role, changes=route.changes)],
                             reasons=sorted(self.reasons))
