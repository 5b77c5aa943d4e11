"""What stands in the journal, as structs: what came, what was lost on the way, what people decided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from cmnas_edge.embedding import Modality
from cmnas_edge.sighting import EngineName, Gap, Precision, Sighting

__all__ = ["FIELDS", "LINK_FIELDS", "Arrival", "Decision", "DecisionKind", "JournalGap", "Record", "record"]

FIELDS = ("id, device, spool, sequence, received_at, camera, seen_from, seen_at, modality, tracklet, view_count, "
          "quality, box_width, box_height, engine, precision, transform")
LINK_FIELDS = ("sighting, opened_by, identity, rule, score, threshold, pair, against, probability, fingerprint, "
               "made_at")
DecisionKind = Literal["confirm", "split", "merge", "undo", "cannot_link"]


class Arrival(msgspec.Struct, frozen=True):
    """What one request brought: legal records of one device, and when."""

    device: str
    items: list[Sighting | Gap]
    received_at: float


class Record(msgspec.Struct, frozen=True, array_like=True):
    """A sighting as stored, without its vector. ``id`` counts up in the order of storing."""

    id: int
    device: str
    spool: str
    sequence: int
    received_at: float
    camera: str
    seen_from: float
    seen_at: float
    modality: Modality
    tracklet: int
    view_count: int
    quality: float
    box_width: int
    box_height: int
    engine: EngineName
    precision: Precision
    transform: int
    fingerprint: bytes

    @classmethod
    def of(cls, number: int, arrival: Arrival, item: Sighting) -> Record:
        """Tell of a sighting as stored under an id."""
        return cls(number, arrival.device, item.spool, item.sequence, arrival.received_at, item.camera, item.seen_from,
                   item.seen_at, item.modality, item.tracklet, item.view_count, item.quality, item.box_width,
                   item.box_height, item.engine, item.precision, item.transform, item.fingerprint)


class JournalGap(msgspec.Struct, frozen=True):
    """Records a device's spool had to drop before they could be sent."""

    device: str
    spool: str
    first: int
    last: int
    count: int
    received_at: float


class Decision(msgspec.Struct, frozen=True):
    """What a person decided about identities.

    ``body`` is what the kind needs, as JSON. What it names under ``"tracklets"``, by the ids of the
    sightings that opened them, is what it is about: a tracklet that is gone goes from there, and from
    ``"moved"`` and ``"sides"``, and the decision with the last of them; but what stands under ``"undoes"`` keeps the
    one that undoes it.
    ``id`` counts up; 0 until it is stored.
    """

    made_at: float
    person: str
    kind: DecisionKind
    reason: str
    body: dict[str, Any]
    id: int = 0


def record(fields: Sequence[object]) -> Record:
    """Make a record of a row of `FIELDS` and the fingerprint; numbers beyond SQLite's 63 bits stand there as text."""
    row = list(fields)
    row[9], row[16] = int(str(row[9])), int(str(row[16]))
    return Record(*row)  # type: ignore[arg-type]
