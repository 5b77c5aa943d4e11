"""What the pages ask beyond single sightings and people: the site at a glance, and what thresholds do."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from cmnas_edge.calibration import CalibratedOn, Histogram, Pair, Scale, Threshold
from cmnas_edge.collector.matching.identity import Rule
from cmnas_edge.collector.views import Camera
from cmnas_edge.embedding import Modality

__all__ = ["BINS", "CalibrationShown", "DriftShown", "Drifted", "Holds", "LearnedWay", "Moved", "MovedAsked",
           "MovedLink", "PairShown", "Site", "Traffic", "Transit"]

BINS = 30       # of `Traffic.counts`


class Traffic(Struct, frozen=True, kw_only=True):
    """How many appearances began before one camera, in thirty equal stretches up to ``Site.until``."""

    device: str
    camera: str
    counts: Annotated[list[int], Meta(min_length=BINS, max_length=BINS)]


class Transit(Struct, frozen=True, kw_only=True):
    """How people get from one camera to another, as far as links say, which are probable themselves.

    ``count`` transits of the hot window, ``recent_count`` of them within the stretch of `Traffic`;
    half of them took at most ``median_s``, and eight of ten from ``soonest_s`` to ``latest_s``.
    """

    from_device: str
    from_camera: str
    to_device: str
    to_camera: str
    count: int
    recent_count: int
    median_s: float
    soonest_s: float
    latest_s: float


class LearnedWay(Struct, frozen=True, kw_only=True):
    """What has been learned of the way between two cameras, and how far that already decides who is whom.

    Learned from ``count`` transits, of two appearances each that look like one person by themselves or that somebody
    confirmed; ``*_s`` as in `Transit`, and below 0 where both cameras see one place. A link along a way gets the share
    ``weight`` of what its time says for it; one that took less than ``impossible_s`` is impossible (null: none is yet).
    """

    from_device: str
    from_camera: str
    to_device: str
    to_camera: str
    count: int
    median_s: float
    soonest_s: float
    latest_s: float
    weight: float
    impossible_s: float | None


class Site(Struct, frozen=True, kw_only=True):
    """The cameras, the ways between them, and how much goes on.

    ``until`` ends the stretch of ``span_s`` that traffic is counted in: our clock, or the end of
    recorded footage, whose clock is its own. Transits that took longer than ``longest_s`` are
    not counted: people stay, and come back. Of what is ``learned``, the ways most often taken are told.
    """

    cameras: list[Camera]
    traffic: list[Traffic]
    transits: list[Transit]
    learned: list[LearnedWay]
    until: float
    span_s: float
    longest_s: float
    now: float


class PairShown(Struct, frozen=True, kw_only=True):
    """One pair of modalities: its threshold, what its scores are worth, and whether it only suggests.

    ``scale`` is null where the bundle's calibration holds thresholds alone.
    """

    pair: Pair
    threshold: Threshold
    scale: Scale | None
    calibrated_on: CalibratedOn
    only_suggests: bool


class CalibrationShown(Struct, frozen=True, kw_only=True):
    """The calibration that is in effect."""

    fingerprint: str
    calibrated_on: CalibratedOn
    prior: float | None
    pairs: list[PairShown]


Holds = Literal["yes", "no", "too few"]


class Drifted(Struct, frozen=True, kw_only=True):
    """Scores of this site of which the truth is known, against those that the calibration was made on.

    ``count`` pairs of tracklets, of ``people`` people. The share ``wrong`` of them lies on the wrong side of the
    threshold (null: there are none); the calibration said ``wrong_then``. ``holds``: "no" where it is at least twice
    that, "too few" where that could not be seen yet. ``shift`` is how much the median has risen, ``index`` the
    population stability index, which ``by_chance`` it reaches in one of twenty looks at scores that have not moved;
    null where the calibration holds thresholds alone. ``as_alike``: share of strangers as alike as one person.
    """

    pair: Pair
    of: Literal["strangers", "one person"]
    count: int
    people: int
    wrong: float | None
    wrong_then: float
    holds: Holds
    as_alike: float
    then_count: int | None
    shift: float | None
    index: float | None
    by_chance: float | None
    moved: Literal["little", "some", "much", "too few"] | None
    scores: Histogram


class DriftShown(Struct, frozen=True, kw_only=True):
    """What this site knows for certain, held against the calibration in effect.

    Strangers are who stood before one camera at one time, and whom somebody said are two; one person is who was
    confirmed or merged. ``contradicted`` groups of them were before one camera twice at one time, and are left out.
    """

    tracklets: int
    people: int
    contradicted: int
    parts: list[Drifted]


class MovedAsked(Struct, frozen=True, forbid_unknown_fields=True):
    """Which links another threshold of a pair would change; at most ``limit`` are listed."""

    pair: Pair
    score: Annotated[float, Meta(ge=-1, le=1)]
    limit: Annotated[int, Meta(ge=0, le=100)] = 12


class MovedLink(Struct, frozen=True, kw_only=True):
    """A tracklet whose link would change; ``id`` and ``against`` are opening sightings of tracklets."""

    id: int
    identity: int
    against: int | None
    against_identity: int | None
    device: str
    camera: str
    modality: Modality
    seen_from: float
    seen_at: float
    rule: Rule
    score: float
    threshold: float


class Moved(Struct, frozen=True, kw_only=True):
    """Links of the hot window that another threshold would change, nearest to it first.

    ``would_part`` of them hold now and would not; ``would_join`` do not and would. Each is
    looked at by itself: what follows from a changed link is not in it.
    """

    pair: Pair
    score: float
    would_part: int
    would_join: int
    links: list[MovedLink]
