"""What the API says, as structs: the JSON, and the schemas of its OpenAPI document.

Vectors appear in none of them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from cmnas_edge.calibration import CalibratedOn, Pair, Verdict
from cmnas_edge.collector.access.audit_log import Entry as Noted
from cmnas_edge.collector.matching.identity import Rule
from cmnas_edge.collector.store.erasures import Receipt, Selection
from cmnas_edge.collector.store.records import DecisionKind
from cmnas_edge.collector.store.upkeep import UpkeepView
from cmnas_edge.embedding import Modality
from cmnas_edge.sighting import MAX_DIMENSION, EngineName, Precision

__all__ = ["AuditAsked", "AuditPage", "Camera", "CameraList", "Change", "ChangeList", "ChangesAsked", "Decided",
           "DecisionAsked", "DecisionList", "DecisionsAsked", "ErasureAsked", "ExportAsked", "Gap", "Health",
           "IdentitiesAsked", "Identity", "IdentityAsked", "IdentityList", "Judgement", "Match", "MatchList", "Move",
           "Nothing", "Problem", "Query", "Session", "Sighting", "SightingList", "SightingsAsked", "Suggestion",
           "SuggestionList", "Timeline", "Tracklet", "Unanswerable"]



class Unanswerable(Exception):
    """A question that cannot be answered, with the HTTP status that says why."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


Reason = Annotated[str, Meta(max_length=500)]
Limit = Annotated[int, Meta(ge=1, le=1000)]


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """A question without parameters."""


class SightingsAsked(Struct, frozen=True, forbid_unknown_fields=True):
    """Which sightings: ids above ``since``; of one camera (``name`` or ``device/name``) or modality."""

    since: Annotated[int, Meta(ge=0)] = 0
    camera: str | None = None
    modality: Modality | None = None
    newest: bool = False
    limit: Limit = 100


class IdentitiesAsked(Struct, frozen=True, forbid_unknown_fields=True):
    """Which identities: those with an appearance that fits, from the one at ``offset`` on.

    It ended at ``seen_since`` or later and began at ``seen_until`` or before, in epoch seconds of the
    footage; before ``camera`` (``name`` or ``device/name``); by ``modality``. ``across``: only who was seen in both.
    """

    seen_since: float | None = None
    limit: Limit = 100
    offset: Annotated[int, Meta(ge=0)] = 0
    seen_until: float | None = None
    camera: str | None = None
    modality: Modality | None = None
    across: bool = False


class IdentityAsked(Struct, frozen=True, forbid_unknown_fields=True):
    """Which identity."""

    identity: Annotated[int, Meta(ge=1)]


class Problem(Struct, frozen=True):
    """Why a request was not answered, in one sentence."""

    error: str


class Sighting(Struct, frozen=True, kw_only=True):
    """One person in front of one camera for a while.

    ``rule``, ``score``, ``threshold``, ``pair`` and ``against`` say how this sighting came to
    its tracklet's identity, ``probability`` how probably rightly (null: nobody found out), and
    ``suggestion`` that it is no more than one: drawn people's threshold across modalities decided
    it. ``identity`` is the one its tracklet has now. Times are epoch
    seconds: ``seen_*`` of the footage, ``received_at`` of the collector's clock.
    """

    id: int
    device: str
    camera: str
    seen_from: float
    seen_at: float
    received_at: float
    modality: Modality
    tracklet: int
    identity: int
    rule: Rule
    score: float | None
    threshold: float | None
    pair: Pair | None
    against: int | None
    probability: float | None
    suggestion: bool
    quality: float
    view_count: int
    box_width: int
    box_height: int
    engine: EngineName
    precision: Precision


class SightingList(Struct, frozen=True):
    """Sightings by id; ask again with ``since = last`` for those stored after these."""

    sightings: list[Sighting]
    last: int
    more: bool


class Camera(Struct, frozen=True, kw_only=True):
    """One camera, as far as its sightings tell. Nobody in view and a dead camera look alike.

    ``lag_s`` is how long its last sighting took to arrive, negative where its clock is ahead of ours; null for
    recorded footage, whose clock is its own. ``lost_count`` counts what its device's full spool dropped.
    """

    device: str
    camera: str
    state: Literal["live", "quiet"]
    modality: Modality
    modalities: list[Modality]
    last_seen_at: float
    last_received_at: float
    lag_s: float | None
    recorded: bool
    sighting_count: int
    lost_count: int
    engine: EngineName
    precision: Precision


class Gap(Struct, frozen=True):
    """Sightings that a device's full spool dropped before they could be sent."""

    device: str
    spool: str
    first: int
    last: int
    count: int
    received_at: float


class CameraList(Struct, frozen=True):
    """The cameras heard within the hot window, the gaps reported in it (a device's newest), and our clock."""

    cameras: list[Camera]
    gaps: list[Gap]
    now: float


class Tracklet(Struct, frozen=True, kw_only=True):
    """What one camera saw of one person in one go. ``id`` is that of its first sighting.

    ``rule``, ``score``, ``threshold``, ``pair``, ``probability`` and ``against`` (the ``id`` of the
    nearest tracklet) are what last decided its identity; ``suggestion``: no more than that, as
    drawn people's threshold across modalities decided.
    """

    id: int
    device: str
    camera: str
    number: int
    modality: Modality
    seen_from: float
    seen_at: float
    sighting_count: int
    rule: Rule
    score: float | None
    threshold: float | None
    pair: Pair | None
    against: int | None
    probability: float | None
    suggestion: bool


class Identity(Struct, frozen=True, kw_only=True):
    """Probably one person: tracklets joined by similarity, never a proof."""

    identity: int
    seen_from: float
    seen_at: float
    modalities: list[Modality]
    cameras: list[str]
    sighting_count: int
    tracklets: list[Tracklet]


class IdentityList(Struct, frozen=True):
    """Identities, last seen first.

    ``total`` counts those of the hot window and ``across`` those of them seen in both modalities;
    ``found`` those that fit what was asked, who were seen ``seen_from`` to ``seen_to``.
    """

    identities: list[Identity]
    total: int
    across: int
    calibrated_on: CalibratedOn
    found: int
    seen_from: float | None
    seen_to: float | None


class Timeline(Struct, frozen=True):
    """One identity, and its sightings in the order of the footage."""

    identity: Identity
    sightings: list[Sighting]


Id = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Entry = Annotated[float, Meta(ge=-2, le=2)]


class Query(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to search for: a stored sighting, or a vector and the bundle that made it.

    ``bundle`` is a fingerprint as `Health` lists them, or its first 8 digits or more; empty: the leading one's. Vectors
    are compared with those of the same bundle alone. It is empty with a sighting, which is searched by its own.
    A camera is named ``camera``, or ``device/camera`` where two devices use one name.
    """

    sighting: Id | None = None
    vector: Annotated[list[Entry], Meta(min_length=1, max_length=MAX_DIMENSION)] | None = None
    vector_modality: Modality = "visible"
    bundle: Annotated[str, Meta(pattern=r"^[0-9a-f]{0,64}\Z", description="up to 64 hexadecimal digits")] = ""
    transform: Annotated[int, Meta(ge=0)] = 0   # below 2**64, which msgspec cannot say
    k: Annotated[int, Meta(ge=1, le=200)] = 20
    cameras: Annotated[list[str], Meta(max_length=1000)] | None = None
    seen_from: float | None = None
    seen_to: float | None = None
    modality: Modality | None = None
    exclude: Annotated[list[Id], Meta(max_length=1000)] = []
    other_identities: bool = False
    reason: Reason = ""


class Match(Struct, frozen=True):
    """A sighting found; ``above``: its score reaches the threshold of its pair.

    ``probability`` that both show one person; null where the calibration knows none. ``only_suggests``: a score of
    this pair decides nothing yet, whatever it is.
    """

    sighting: Sighting
    score: float
    threshold: float
    pair: Pair
    above: bool
    probability: float | None
    verdict: Verdict
    only_suggests: bool


class MatchList(Struct, frozen=True):
    """What a search found, most probable first: by score on the scale that all pairs of modalities share.

    ``fingerprint`` is the bundle's by which it was searched.
    """

    matches: list[Match]
    fingerprint: str


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


class ExportAsked(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which sightings of the hot window to take away: those that fit all that is given; and why.

    ``seen_from`` and ``seen_to`` are epoch seconds of the footage, ``camera`` is a ``name`` or ``device/name``.
    """

    identity: Annotated[int, Meta(ge=1)] | None = None
    camera: str | None = None
    modality: Modality | None = None
    seen_from: float | None = None
    seen_to: float | None = None
    reason: Reason = ""


class AuditAsked(Struct, frozen=True, forbid_unknown_fields=True):
    """Which entries of the audit log: the newest, or those of a lower number than ``before``."""

    before: Annotated[int, Meta(ge=1)] | None = None
    limit: Limit = 100


class AuditPage(Struct, frozen=True):
    """Entries, the newest first; ask again with ``before`` the last one's number for those before it."""

    entries: list[Noted]


class DecisionAsked(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a person decides, and why.

    ``confirm`` and ``split`` are about one identity, ``cannot_link`` about two, ``merge`` about two or more. ``split``
    names the ``tracklets`` that are somebody else; ``undo`` the decision that it ``undoes``.
    """

    kind: DecisionKind
    reason: Annotated[str, Meta(min_length=1, max_length=1000)]
    identities: Annotated[list[Id], Meta(max_length=50)] = []
    tracklets: Annotated[list[Id], Meta(max_length=1000)] = []
    undoes: Id | None = None


class DecisionsAsked(Struct, frozen=True, forbid_unknown_fields=True):
    """How many decisions, the newest first."""

    limit: Limit = 100


class Move(Struct, frozen=True):
    """A tracklet that a decision gave another identity."""

    tracklet: int
    was: int
    became: int


class Decided(Struct, frozen=True, kw_only=True):
    """A decision as it stands; ``undone`` if another took it back.

    ``identities`` are the numbers that the tracklets it is about have now.
    """

    id: int
    made_at: float
    person: str
    kind: DecisionKind
    reason: str
    tracklets: list[int]
    identities: list[int]
    moved: list[Move]
    undoes: int | None
    undone: bool


class DecisionList(Struct, frozen=True):
    """What people decided, the newest first."""

    decisions: list[Decided]


class ChangesAsked(Struct, frozen=True, forbid_unknown_fields=True):
    """How many changes, the newest first; ``identity``: only those that this number took part in."""

    limit: Limit = 100
    identity: Annotated[int, Meta(ge=1)] | None = None


class Change(Struct, frozen=True, kw_only=True):
    """What changed by itself: ``tracklets`` of identity ``was`` are of identity ``became`` since.

    ``merged``: two identities are probably one. ``parted``: the tracklet was in view together with another of its
    identity, and so is somebody else. ``score`` and the rest say why they are thought to be whom they became, as in
    `Tracklet`. ``identity`` is the number they have now. ``at`` is the collector's clock; null for changes that an
    earlier release made.
    """

    at: float | None
    kind: Literal["merged", "parted"]
    was: int
    became: int
    tracklets: list[int]
    score: float | None
    threshold: float | None
    pair: Pair | None
    probability: float | None
    against: int | None
    identity: int


class ChangeList(Struct, frozen=True):
    """What changed by itself, the newest first."""

    changes: list[Change]


class Suggestion(Struct, frozen=True):
    """Who else an identity may be: ``score`` of all tracklets, the ``threshold`` it needed, how probable.

    ``against`` is the tracklet there that is nearest. ``probability`` is null where the calibration knows none.
    """

    identity: int
    score: float
    threshold: float
    pair: Pair
    against: int
    probability: float | None


class SuggestionList(Struct, frozen=True):
    """Who else an identity may be, most probable first."""

    suggestions: list[Suggestion]


class Judgement(Struct, frozen=True):
    """From which cosine on two vectors count as the same person, and how often strangers do."""

    score: float
    false_match_rate: float


class Health(Struct, frozen=True, kw_only=True):
    """Whether the collector stores what it is sent, and with which bundle.

    ``full``: nothing can be stored for now; ``refusing``: no device can be recognised;
    ``message`` says why. ``taken_count`` sightings were stored since ``started_at``. ``behind_count`` sightings
    are stored and not matched yet, the oldest of them for ``behind_s`` seconds. ``retention`` tells what is let
    go of, and when next. ``broker`` says why no batch comes by a broker for now; it is empty while they do, or
    none is set. ``index`` says why nothing can be searched for where vectors are kept elsewhere; empty: it can.
    Cameras keep what they have.
    """

    status: Literal["ok", "full", "refusing"]
    message: str
    version: str
    now: float
    started_at: float
    fingerprint: str
    dimension: int
    calibrated_on: CalibratedOn
    thresholds: dict[Pair, Judgement]
    stored_count: int
    taken_count: int
    hot_count: int
    behind_count: int
    behind_s: float
    hot_window_h: float
    identity_count: int
    device_count: int
    broker: str
    index: str
    retention: UpkeepView
    journal_bytes: int
    free_bytes: int
