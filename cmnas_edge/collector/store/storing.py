"""What a request brought, as rows of the journal, within a transaction of the caller's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import msgspec
import numpy as np

from cmnas_edge.collector.store.gone import gone_of
from cmnas_edge.collector.store.keys import Keys
from cmnas_edge.collector.store.records import FIELDS, Arrival, Record
from cmnas_edge.collector.store.schema import beside
from cmnas_edge.embedding import pack
from cmnas_edge.sighting import Gap, Sighting

__all__ = ["Taken", "take"]


class Taken(NamedTuple):
    """What became of an arrival.

    Attributes:
        stored: Per item: the new id of a sighting, 0 for a gap, None for a sighting that was stored before, be it
            here or gone.
        last: The highest id of a sighting given so far.
        is_foreign: Whether a number came that another record has already.
    """

    stored: list[int | None]
    last: int
    is_foreign: bool


def take(db: sqlite3.Connection, keys: Keys, arrival: Arrival, last: int) -> Taken:
    """Store what is new of an arrival.

    Args:
        db: The journal.
        keys: Seal the vectors.
        arrival: What came.
        last: The highest id given so far; no id is given twice.
    """
    day, vectors, numbers = keys.day_for(arrival.received_at), _packed(arrival.items), _numbers(arrival)
    held = _held(db, arrival.device, numbers)
    gone = {spool: gone_of(db, arrival.device, spool, asked) for spool, asked in numbers.items()}
    stored: list[int | None] = []
    rows: list[tuple[object, ...]] = []
    is_foreign = False
    for item in arrival.items:
        if isinstance(item, Gap):
            _note(db, arrival, item)
            stored.append(0)
            continue
        vector, name, seen = next(vectors), (item.spool, item.sequence), (item.seen_at, item.camera)
        is_foreign |= held.get(name, seen) != seen
        if name in held or item.sequence in gone[item.spool]:
            stored.append(None)     # its acknowledgement was lost
            continue
        held[name] = seen
        last += 1
        stored.append(last)
        sealed = keys.seal(day, vector, beside(arrival.device, *name, item.packing))
        # Numbers beyond SQLite's 63 bits stand as text.
        record = msgspec.structs.asdict(Record.of(last, arrival, item))
        record |= {"tracklet": str(item.tracklet), "transform": str(item.transform)}
        rows.append((*record.values(), item.packing, sealed, day))
    db.executemany(f"INSERT INTO sighting ({FIELDS}, fingerprint, packing, vector, day) "  # noqa: S608  no input in it
                   "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    return Taken(stored, last, is_foreign)


def _numbers(arrival: Arrival) -> dict[str, list[int]]:
    """The numbers of its sightings, by spool."""
    numbers: dict[str, list[int]] = {}
    for item in arrival.items:
        if isinstance(item, Sighting):
            numbers.setdefault(item.spool, []).append(item.sequence)
    return numbers


def _held(db: sqlite3.Connection, device: str, numbers: dict[str, list[int]]
          ) -> dict[tuple[str, int], tuple[float, str]]:
    """Which sightings are stored already, by spool and number: when and by which camera those were seen."""
    held: dict[tuple[str, int], tuple[float, str]] = {}
    for spool, asked in numbers.items():
        marks = ", ".join("?" * len(asked))
        held.update(((spool, number), (seen_at, camera)) for number, seen_at, camera in db.execute(
            "SELECT sequence, seen_at, camera FROM sighting WHERE device = ? AND spool = ? "  # noqa: S608  no input in it
            f"AND sequence IN ({marks})", (device, spool, *asked)))
    return held


def _note(db: sqlite3.Connection, arrival: Arrival, gap: Gap) -> None:
    # A gap that grows before it is acknowledged is sent again, longer.
    db.execute("INSERT INTO gap VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (device, spool, first) DO UPDATE "
               "SET last = max(last, excluded.last), count = max(count, excluded.count)",
               (arrival.device, gap.spool, gap.first, gap.last, gap.count, arrival.received_at))


def _packed(items: Sequence[Sighting | Gap]) -> Iterator[bytes]:
    """Pack the vectors of sightings again as they came, in their order; a batch mostly comes in one packing."""
    sightings = [item for item in items if isinstance(item, Sighting)]
    for (packing, _), some in groupby(sightings, key=lambda item: (item.packing, len(item.vector))):
        yield from pack(np.stack([item.vector for item in some]), packing)
