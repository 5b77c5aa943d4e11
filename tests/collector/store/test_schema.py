"""A journal of an earlier release becomes one of this, whole or not at all, and its vectors are sealed."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from cmnas_edge.collector.store import schema
from cmnas_edge.collector.store.journal import Journal
from cmnas_edge.collector.store.keys import Keys
from tests.contract.make_batch import sightings
from tests.contract.make_journal import LINKS

OLD = Path(__file__).parents[2] / "contract" / "0.1.0" / "journal.sqlite"
FIRST = bytes(range(32))


def old(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "journal.sqlite"
    path.write_bytes(OLD.read_bytes())
    path.chmod(0o600)
    return path


def vectors(path: Path) -> list[bytes]:
    reader = sqlite3.connect(path)
    found = [vector for vector, in reader.execute("SELECT vector FROM sighting ORDER BY id")]
    reader.close()
    return found


def test_the_vectors_of_an_earlier_release_are_sealed_and_nothing_of_them_stays_readable(tmp_path: Path) -> None:
    path = old(tmp_path)
    plain = vectors(path)
    assert len(plain) == len(sightings())
    assert all(vector in path.read_bytes() for vector in plain)
    journal = Journal(tmp_path)
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert not any(vector[8:40] in file.read_bytes() for vector in plain), file.name
    assert len(list(journal.sightings(FIRST, 64, since=0, most=100))) == len(plain)
    journal.close()
    (version,), = sqlite3.connect(path).execute("PRAGMA user_version")
    assert version == schema.SCHEMA == 3


class Ended(Exception):
    """As if the process were killed here."""


class Ending(sqlite3.Connection):
    """A connection that ends before its so many-eth statement."""

    left = 0

    def execute(self, statement: str, *given: object) -> sqlite3.Cursor:    # type: ignore[override]
        self.left -= 1
        if self.left == 0:
            raise Ended
        return super().execute(statement, *given)   # type: ignore[arg-type]


def test_a_migration_that_ends_anywhere_leaves_the_old_journal_or_the_new_one(tmp_path: Path) -> None:
    found, statements = [], 0
    while not found or found[-1] != "ended by itself":
        statements += 1
        folder = tmp_path / str(statements)
        path = old(folder)
        db = sqlite3.connect(path, isolation_level=None, factory=Ending)
        db.left = statements
        try:
            schema.prepare(db, path, Keys(folder / "keys"))
            found.append("ended by itself")
        except Ended:
            found.append("killed")
        db.close()
        (version,), = sqlite3.connect(path).execute("PRAGMA user_version")
        if version == 1:
            assert vectors(path) == vectors(OLD)
        journal = Journal(folder)
        assert len(list(journal.sightings(FIRST, 64, since=0, most=100))) == len(sightings())
        assert list(journal.links(1)) == LINKS
        journal.close()
    assert statements > 20      # it was ended within the migration, not only around it

def test_a_journal_of_the_schema_before_is_brought_up_and_its_sealed_vectors_stay_as_they_are(tmp_path: Path) -> None:
    old(tmp_path)
    Journal(tmp_path).close()
    path = tmp_path / "journal.sqlite"
    before = vectors(path)
    db = sqlite3.connect(path)
    db.execute("ALTER TABLE link DROP COLUMN made_at")
    db.execute("PRAGMA user_version=2")
    db.commit()
    db.close()
    journal = Journal(tmp_path)
    assert vectors(path) == before
    assert len(list(journal.sightings(FIRST, 64, since=0, most=100))) == len(sightings())
    assert list(journal.links(1)) == LINKS
    journal.close()
    (version,), = sqlite3.connect(path).execute("PRAGMA user_version")
    assert version == schema.SCHEMA
