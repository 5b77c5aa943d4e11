"""Probable people, by their tracklets."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from cmnas_edge.calibration import CalibratedOn, Pair
from cmnas_edge.collector.matching.identity import Rule
from cmnas_edge.collector.views.questions import Limit, Reason
from cmnas_edge.collector.views.sightings import Sighting
from cmnas_edge.embedding import Modality

__all__ = ["IdentitiesAsked", "Identity", "IdentityAsked", "IdentityList", "Suggestion", "SuggestionList",
           "SuggestionsAsked", "Timeline", "Tracklet"]


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


class SuggestionsAsked(Struct, frozen=True, forbid_unknown_fields=True):
    """Of which identity to look for others that it may be, and why."""

    identity: Annotated[int, Meta(ge=1)]
    reason: Reason = ""


class Tracklet(Struct, frozen=True, kw_only=True):
    """What one camera saw of one person in one go. ``id`` is that of its first sighting.

    ``rule``, ``score``, ``threshold``, ``pair``, ``probability`` and ``against`` (the ``id`` of the
    nearest tracklet) are what last decided its identity, and ``bundle`` the fingerprint of the bundle whose vectors
    and calibration did: null where a person decided, and of decisions that an earlier release made. ``suggestion``: no
    more than that, as drawn people's threshold across modalities decided.
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
    bundle: str | None
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


class Suggestion(Struct, frozen=True):
    """Who else an identity may be: ``score`` of all tracklets, the ``threshold`` it needed, how probable.

    ``against`` is the tracklet there that is nearest. ``probability`` is null where the calibration knows none, and
    ``bundle`` the fingerprint of the bundle that says all this.
    """

    identity: int
    score: float
    threshold: float
    pair: Pair
    against: int
    probability: float | None
    bundle: str


class SuggestionList(Struct, frozen=True):
    """Who else an identity may be, most probable first."""

    suggestions: list[Suggestion]
