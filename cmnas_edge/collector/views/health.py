"""Whether the collector does its work."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from cmnas_edge.calibration import CalibratedOn, Pair
from cmnas_edge.collector.store.upkeep import UpkeepView

__all__ = ["BundleAccepted", "BundleLeft", "Health", "Judgement", "KeptBack"]


class Judgement(Struct, frozen=True):
    """From which cosine on two vectors count as the same person, and how often strangers do."""

    score: float
    false_match_rate: float


class BundleAccepted(Struct, frozen=True, kw_only=True):
    """A bundle whose sightings are taken, of a ``network``; ``camera_count`` cameras lately told of people by it.

    ``sighting_count`` of the hot window are by it, the last received at ``heard_at``: null where none is.
    """

    name: str
    network: str
    fingerprint: str
    dimension: int
    calibrated_on: CalibratedOn
    camera_count: int
    sighting_count: int
    heard_at: float | None


class BundleLeft(Struct, frozen=True, kw_only=True):
    """A bundle that is accepted no more: ``sighting_count`` stored ones of the hot window are by it, and not shown."""

    fingerprint: str
    sighting_count: int
    heard_at: float


class KeptBack(Struct, frozen=True, kw_only=True):
    """A device that was last told at ``at`` to keep some of what it sees, since it cannot be taken for now, and why."""

    device: str
    at: float
    reason: str


class Health(Struct, frozen=True, kw_only=True):
    """Whether the collector stores what it is sent, and with which bundle.

    ``full``: nothing can be stored for now; ``refusing``: no device can be recognised;
    ``message`` says why. ``taken_count`` sightings were stored since ``started_at``. ``behind_count`` sightings
    are stored and not matched yet, the oldest of them for ``behind_s`` seconds. ``retention`` tells what is let
    go of, and when next. ``broker`` says why no batch comes by a broker for now; it is empty while they do, or
    none is set. ``index`` says why nothing can be searched for where vectors are kept elsewhere; empty: it can.
    Cameras keep what they have.
    ``kept_back``: devices that in the last ten minutes kept what is of another bundle, key or time than is taken.
    ``bundles`` are all that are accepted, the leading one first, of which ``fingerprint``, ``dimension`` and
    ``thresholds`` are; ``bundles_left`` those that are not and of which something is stored within the hot window, as
    of a minute ago at most.
    """

    status: Literal["ok", "full", "refusing"]
    message: str
    version: str
    now: float
    started_at: float
    fingerprint: str
    dimension: int
    calibrated_on: CalibratedOn
    bundles: list[BundleAccepted] = []
    bundles_left: list[BundleLeft] = []
    kept_back: list[KeptBack] = []
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
