"""Taking sightings out of the journal: with their links, with what people decided about them, and for good.

What goes is overwritten in the file (``secure_delete``); the log beside it is emptied by
`Journal.empty_log`. The numbers of the records stay, so that one that is sent again, since its
acknowledgement was lost, is not stored again; and so do the highest numbers given to sightings
and identities, which nobody is given twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from cmnas_edge.collector.store.ranges import Ranges

__all__ = ["Removed", "forget_decisions", "remove"]


class Removed(msgspec.Struct):
    """How many rows went."""

    sightings: int = 0
    links: int = 0
    gaps: int = 0
    decisions: int = 0

    def __bool__(self) -> bool:
        """Whether any did."""
        return bool(self.sightings or self.links or self.gaps or self.decisions)

    def __iadd__(self, other: Removed) -> Removed:
        """Count on."""
        self.sightings += other.sightings
        self.links += other.links
        self.gaps += other.gaps
        self.decisions += other.decisions
        return self


def remove(db: sqlite3.Connection, ids: Sequence[int], marks: Mapping[str, int]) -> tuple[Removed, Ranges]:
    """Take sightings out, within a transaction of the caller's.

    A tracklet that keeps some of its sightings keeps what was decided about it, since that is
    how the others are known; the scores of those that go, go with them.

    Args:
        db: The journal.
        ids: Of the sightings.
        marks: The highest numbers given so far, of ``sighting`` and ``identity``.

    Returns:
        What went, and the records that are gone.
    """
    db.execute("CREATE TEMP TABLE IF NOT EXISTS going (id INTEGER PRIMARY KEY)")
    db.execute("CREATE TEMP TABLE IF NOT EXISTS ended (id INTEGER PRIMARY KEY)")
    db.execute("DELETE FROM going")
    db.execute("DELETE FROM ended")
    db.executemany("INSERT OR IGNORE INTO going VALUES (?)", ((number,) for number in ids))
    gone = Ranges((device, spool, sequence, sequence) for device, spool, sequence in db.execute(
        "SELECT device, spool, sequence FROM sighting WHERE id IN (SELECT id FROM going) "
        "ORDER BY device, spool, sequence"))
    db.executemany("INSERT INTO mark VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
                   marks.items())
    sightings = db.execute("DELETE FROM sighting WHERE id IN (SELECT id FROM going)").rowcount
    # Tracklets that have none left. The first link of a sighting says which tracklet it belongs to.
    db.execute(
        "INSERT INTO ended SELECT DISTINCT touched.opened_by FROM link touched "
        "WHERE touched.sighting IN (SELECT id FROM going) AND NOT EXISTS ("
        "SELECT 1 FROM link own JOIN sighting s ON s.id = own.sighting WHERE own.opened_by = touched.opened_by "
        "AND own.id = (SELECT min(id) FROM link WHERE sighting = own.sighting))")
    links = db.execute("DELETE FROM link WHERE opened_by IN (SELECT id FROM ended) "
                       "OR (sighting IN (SELECT id FROM going) AND rule = 'tracklet')").rowcount
    return Removed(sightings, links, 0, _undecide(db)), gone


def forget_decisions(db: sqlite3.Connection, before: float) -> int:
    """Take out decisions made before a time that name no tracklet that is left; return how many."""
    ended = set()
    for number, body in db.execute("SELECT id, body FROM decision WHERE made_at < ?", (before,)).fetchall():
        about = _said(body).get("tracklets", [])
        if not any(db.execute("SELECT 1 FROM link WHERE opened_by = ?", (tracklet,)).fetchone() for tracklet in about):
            ended.add(number)
    return _drop(db, ended)


def _undecide(db: sqlite3.Connection) -> int:
    """Take tracklets that ended out of decisions, and decisions out that are about nothing else."""
    gone = {number for number, in db.execute("SELECT id FROM ended")}
    ended = set()
    for number, body in db.execute("SELECT id, body FROM decision").fetchall() if gone else ():
        said = _said(body)
        about = said.get("tracklets", [])
        if gone.isdisjoint(about):
            continue
        said["tracklets"] = [tracklet for tracklet in about if tracklet not in gone]
        if "moved" in said:
            said["moved"] = [move for move in said["moved"] if move[0] not in gone]
        if "sides" in said:
            said["sides"] = [[tracklet for tracklet in side if tracklet not in gone] for side in said["sides"]]
        db.execute("UPDATE decision SET body = ? WHERE id = ?", (msgspec.json.encode(said).decode(), number))
        if not said["tracklets"]:
            ended.add(number)
    return _drop(db, ended)


def _drop(db: sqlite3.Connection, ended: set[int]) -> int:
    """Take decisions out, but for what undoes one that stays: without it that one would hold again."""
    bodies = {number: _said(body) for number, body in db.execute("SELECT id, body FROM decision")} if ended else {}
    stay = bodies.keys() - ended
    empty = ended | {number for number, said in bodies.items() if not said.get("tracklets", True)}
    going = {number for number in empty if bodies[number].get("undoes") not in stay}
    db.executemany("DELETE FROM decision WHERE id = ?", ((number,) for number in going))
    return len(going)


def _said(body: str) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(body)
    return found
