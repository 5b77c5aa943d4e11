"""Every route of the API: what may be asked, by whom, what it returns, and whether the question is noted.

`ROUTES` is the one list of it: the app serves from it, and the OpenAPI document (`cmnas_edge.collector.web.document`)
is made of it and of the structs that stand in it, so neither can say what the other does not do.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from cmnas_edge.collector import overviews, views
from cmnas_edge.collector.access.audit_log import Kind
from cmnas_edge.collector.access.roles import Role
from cmnas_edge.collector.store.erasures import Receipt
from cmnas_edge.collector.web.administration import AccountList, DeviceList, Done, Named
from cmnas_edge.collector.web.exports import Table

__all__ = ["ROUTES", "Route"]


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
    Route("GET", "/v1/identities/{identity}/suggestions", "suggestions", views.SuggestionsAsked, views.SuggestionList,
          "operator", audit="search"),
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
