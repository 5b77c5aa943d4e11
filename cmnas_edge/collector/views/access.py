"""Who asks, what was asked, and what was erased."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from cmnas_edge.collector.access.audit_log import Entry as Noted
from cmnas_edge.collector.store.erasures import Receipt, Selection
from cmnas_edge.collector.views.questions import Limit

__all__ = ["AuditAsked", "AuditPage", "ErasureAsked", "ReceiptList", "Session"]


class Session(Struct, frozen=True, kw_only=True):
    """Who asks: ``name`` and ``role`` are empty where nobody is enrolled.

    ``may`` names the routes they may use, as in the document's operations; ``reasons`` the kinds
    of questions that need a reason; ``ends_at`` says when they are logged out at the latest.
    """

    name: str
    role: str
    ends_at: float | None
    may: list[str]
    reasons: list[str]


class ErasureAsked(Selection, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to erase, and why; the reason stands in the receipt and the audit log: name nobody in it."""

    reason: Annotated[str, Meta(max_length=1000)] = ""


class ReceiptList(Struct, frozen=True):
    """What was erased, the oldest first; each receipt carries the SHA-256 of the one before it, as JSON."""

    receipts: list[Receipt]


class AuditAsked(Struct, frozen=True, forbid_unknown_fields=True):
    """Which entries of the audit log: the newest, or those of a lower number than ``before``."""

    before: Annotated[int, Meta(ge=1)] | None = None
    limit: Limit = 100


class AuditPage(Struct, frozen=True):
    """Entries, the newest first; ask again with ``before`` the last one's number for those before it."""

    entries: list[Noted]
