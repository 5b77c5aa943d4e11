"""The read API: JSON for the dashboard and for programs on this machine.

`ROUTES` is the one list of it: the app serves from it, and the OpenAPI document (`cmnas_edge.collector.web.document`)
is made of it and of the structs that stand in it, so neither can say what the other does not do.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from cmnas_edge import __version__
from cmnas_edge.collector import glance, overviews, views
from cmnas_edge.collector.access.audit_log import AuditLog, Kind
from cmnas_edge.collector.access.people import People
from cmnas_edge.collector.access.roles import Caller, Role
from cmnas_edge.collector.access.sessions import Sessions
from cmnas_edge.collector.drifts import Drifts
from cmnas_edge.collector.gallery import Gallery
from cmnas_edge.collector.intake import Intake
from cmnas_edge.collector.receiving.body import BODY_S, read_body
from cmnas_edge.collector.receiving.devices import Devices
from cmnas_edge.collector.store.erasures import Receipt, Selection
from cmnas_edge.collector.web.administration import AccountList, Administration, DeviceList, Done, Named
from cmnas_edge.collector.web.condition import Condition
from cmnas_edge.collector.web.exports import Table, csv_lines
from cmnas_edge.errors import CmnasError

__all__ = ["MAX_QUERY_BYTES", "ROUTES", "Api", "Route"]

MAX_QUERY_BYTES = 256 * 1024


class Route(NamedTuple):
    """One thing to ask: method, path, the `Api` method that answers, what it takes and returns.

    ``role`` is the least that somebody has to be (`cmnas_edge.collector.access.roles`). What is
    no GET is taken to change something unless it says ``asks_only``. With ``audit`` every question is
    in the audit log, as that kind, before it is answered: all of it but vectors, and its ``reason``.
    """

    method: str
    path: str
    name: str
    asks: type[msgspec.Struct]
    returns: type[msgspec.Struct] | type[Table]
    role: Role
    audit: Kind | None = None
    asks_only: bool = False

    @property
    def changes(self) -> bool:
        """Whether it may change what is stored; nobody may who has not logged in."""
        return self.method != "GET" and not self.asks_only


ROUTES = (
    Route("GET", "/v1/session", "session", views.Nothing, views.Session, "viewer"),
    Route("GET", "/v1/health", "health", views.Nothing, views.Health, "viewer"),
    Route("GET", "/v1/cameras", "cameras", views.Nothing, views.CameraList, "viewer"),
    Route("GET", "/v1/sightings", "sightings", views.SightingsAsked, views.SightingList, "viewer"),
    Route("GET", "/v1/identities", "identities", views.IdentitiesAsked, views.IdentityList, "viewer"),
    Route("GET", "/v1/identities/{identity}", "identity", views.IdentityAsked, views.Timeline, "viewer"),
    Route("GET", "/v1/identities/{identity}/suggestions", "suggestions", views.IdentityAsked, views.SuggestionList,
          "viewer"),
    Route("GET", "/v1/decisions", "decisions", views.DecisionsAsked, views.DecisionList, "viewer"),
    Route("GET", "/v1/changes", "changes", views.ChangesAsked, views.ChangeList, "viewer"),
    Route("POST", "/v1/decisions", "decide", views.DecisionAsked, views.Decided, "operator", audit="decision"),
    Route("GET", "/v1/site", "site", views.Nothing, overviews.Site, "viewer"),
    Route("GET", "/v1/calibration", "calibration", views.Nothing, overviews.CalibrationShown, "viewer"),
    Route("GET", "/v1/calibration/moved", "moved", overviews.MovedAsked, overviews.Moved, "viewer"),
    Route("GET", "/v1/calibration/drift", "drift", views.Nothing, overviews.DriftShown, "viewer"),
    Route("POST", "/v1/search", "search", views.Query, views.MatchList, "operator", audit="search",
          asks_only=True),
    Route("GET", "/v1/accounts", "accounts", views.Nothing, AccountList, "admin"),
    Route("POST", "/v1/accounts/end-sessions", "end_sessions", Named, Done, "admin", audit="people"),
    Route("GET", "/v1/devices", "devices", views.Nothing, DeviceList, "admin"),
    Route("POST", "/v1/devices/revoke", "revoke", Named, Done, "admin", audit="devices"),
    Route("GET", "/v1/sightings.csv", "export", views.ExportAsked, Table, "privacy", audit="export"),
    Route("GET", "/v1/audit-log", "audit_log", views.AuditAsked, views.AuditPage, "privacy", audit="audit log"),
    Route("GET", "/v1/erasures", "receipts", views.Nothing, views.ReceiptList, "privacy", audit="audit log"),
    Route("POST", "/v1/erasures", "erase", views.ErasureAsked, Receipt, "privacy", audit="erasure"),
)


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
        clock: Epoch seconds.
    """

    def __init__(self, gallery: Gallery, intake: Intake, devices: Devices, audit_log: AuditLog, *,
                 people: People, sessions: Sessions, hot_window_h: float, reasons: Collection[str] = (),
                 broker: Callable[[], str] = lambda: "",
                 index: Callable[[], str] = lambda: "",
                 clock: Callable[[], float] = time.time) -> None:
        super().__init__(people, sessions, devices)
        self._gallery = gallery
        self._drifts = Drifts(gallery)
        self._intake = intake
        self._audit_log = audit_log
        self._reasons = reasons
        self._hot_window_h = hot_window_h
        self._broker = broker
        self._index = index
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
            dimension=model.dimension, calibrated_on=model.calibrated_on,
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
            raise views.Unanswerable(404, f"identity: none of number {asked.identity} in the hot window{part}")
        return timeline

    def suggestions(self, asked: views.IdentityAsked) -> views.SuggestionList:
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
        return views.AuditPage(self._audit_log.page(before=asked.before, limit=asked.limit))

    def session(self, asked: views.Nothing, *, caller: Caller) -> views.Session:
        """Say who is logged in, and which of these routes they may use."""
        del asked
        return views.Session(name=caller.name, role=caller.role, ends_at=caller.ends_at or None,
                             may=[route.name for route in ROUTES if caller.may(route.role, changes=route.changes)],
                             reasons=sorted(self._reasons))

    async def serve(self, route: Route, request: Request) -> Response:
        """Answer one request; the work is done on a thread of its own."""
        caller: Caller = request.state.caller
        try:
            if not caller.may(route.role, changes=route.changes):
                raise views.Unanswerable(403, _forbidden(route, caller))
            asked = await _asked(route, request)
            headers = {"Cache-Control": "no-store"}
            if route.returns is views.IdentityList:
                headers["ETag"] = self.tag()
                if request.headers.get("if-none-match") == headers["ETag"]:
                    return Response(status_code=304, headers=headers)
            answer = await run_in_threadpool(self._answer, route, asked, caller,
                                             request.client.host if request.client else "")
        except views.Unanswerable as error:
            return _json(views.Problem(str(error)), error.status)
        except CmnasError as error:
            return _json(views.Problem(str(error)), 503)
        if isinstance(answer, Table):
            headers["Content-Disposition"] = f'attachment; filename="{answer.name}"'
            return StreamingResponse(answer.pieces, media_type="text/csv", headers=headers)
        return _json(answer, headers=headers)

    def _answer(self, route: Route, asked: msgspec.Struct, caller: Caller, origin: str) -> msgspec.Struct | Table:
        if route.audit is not None:
            reason = " ".join(str(getattr(asked, "reason", "")).split())
            if route.audit in self._reasons and not reason:
                raise views.Unanswerable(400, f"{route.name}: expected a reason, found none; say why")
            self._audit_log.add(route.audit, who=caller.name, role=caller.role, origin=origin, reason=reason,
                                asked={"route": route.name, **_noted(asked)})
        method = getattr(self, route.name)
        given = {"person": caller.name, "caller": caller}
        answer: msgspec.Struct | Table = method(asked, **{name: given[name] for name in _wants(method.__func__)})
        return answer


@functools.cache
def _wants(method: Callable[..., Any]) -> tuple[str, ...]:
    """Which of ``person`` and ``caller`` a method takes."""
    return tuple(name for name in ("person", "caller") if name in inspect.signature(method).parameters)


def _noted(asked: msgspec.Struct) -> dict[str, Any]:
    """What is asked, as the audit log keeps it: no vector, only that there was one, and nothing that was left out."""
    told: dict[str, Any] = msgspec.to_builtins(asked)
    if told.get("vector") is not None:
        told["vector"] = f"of {len(told['vector'])} entries"
    left_out = {field.name: field.default for field in msgspec.structs.fields(asked)}
    return {name: value for name, value in told.items()
            if name != "reason" and value is not None and value != [] and value != left_out[name]}


def _forbidden(route: Route, caller: Caller) -> str:
    if not caller.name:
        return (f"{route.name}: expected somebody who is logged in, and nobody is enrolled; enrol somebody with: "
                "cmnas-edge collector person add NAME --role ROLE --config CONFIG.toml")
    return f"{route.name}: expected the role {route.role}, found {caller.role}; ask an admin of this collector"


async def _asked(route: Route, request: Request) -> msgspec.Struct:
    """Read what is asked from the path, the query or the body.

    Raises:
        Unanswerable: It is not what the route takes.
    """
    try:
        if route.method == "POST":
            if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
                raise views.Unanswerable(400, f"{route.name}: expected content-type application/json")
            try:
                body = await read_body(request, MAX_QUERY_BYTES)
            except (asyncio.TimeoutError, ClientDisconnect):    # the same only from Python 3.11
                raise views.Unanswerable(408, f"{route.name}: expected the body within {BODY_S:.0f} s, found it "
                                         "unfinished; send it again") from None
            if body is None:
                raise views.Unanswerable(400, f"{route.name}: expected at most {MAX_QUERY_BYTES} bytes")
            return msgspec.json.decode(body, type=route.asks)
        return msgspec.convert({**request.query_params, **request.path_params}, route.asks, strict=False)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise views.Unanswerable(400, f"{route.name}: {error}") from None


def _json(answer: msgspec.Struct, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(answer), status, headers, media_type="application/json")
