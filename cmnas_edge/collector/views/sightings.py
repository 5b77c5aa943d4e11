"""Sightings and the cameras that made them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from cmnas_edge.calibration import Pair
from cmnas_edge.collector.matching.identity import Rule
from cmnas_edge.collector.views.questions import Limit, Reason
from cmnas_edge.embedding import Modality
from cmnas_edge.sighting import EngineName, Precision

__all__ = ["Camera", "CameraList", "ExportAsked", "Gap", "Sighting", "SightingList", "SightingsAsked"]


class SightingsAsked(Struct, frozen=True, forbid_unknown_fields=True):
    """Which sightings: ids above ``since``; of one camera (``name`` or ``device/name``) or modality."""

    since: Annotated[int, Meta(ge=0)] = 0
    camera: str | None = None
    modality: Modality | None = None
    newest: bool = False
    limit: Limit = 100


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


class Sighting(Struct, frozen=True, kw_only=True):
    """One person in front of one camera for a while.

    ``rule``, ``score``, ``threshold``, ``pair`` and ``against`` say how this sighting came to
    its tracklet's identity, ``probability`` how probably rightly (null: nobody found out), and
    ``suggestion`` that it is no more than one: drawn people's threshold across modalities decided
    it. ``identity`` is the one its tracklet has now. Times are epoch
    seconds: ``seen_*`` of the footage, ``received_at`` of the collector's clock. ``fingerprint`` is of the bundle that
    made its vector, by which it was linked: while two are in use a tracklet is told of by both, in two sightings of the
    same times.
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
    fingerprint: str


class SightingList(Struct, frozen=True):
    """Sightings by id; ask again with ``since = last`` for those stored after these."""

    sightings: list[Sighting]
    last: int
    more: bool


class Camera(Struct, frozen=True, kw_only=True):
    """One camera, as far as its sightings tell. Nobody in view and a dead camera look alike.

    ``lag_s`` is how long its last sighting took to arrive, negative where its clock is ahead of ours; null for
    recorded footage, whose clock is its own. ``lost_count`` counts what its device's full spool dropped.
    ``sighting_count`` are its sightings of the hot window; what two bundles told of at once is one.
    ``fingerprints`` are of the bundles by which it told of people in the ten minutes before it was last heard.
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
    fingerprints: list[str] = []


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
