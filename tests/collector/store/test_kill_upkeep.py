"""Killed at any moment of a migration, a backup, an erasure or retention, what is on the disk is whole.

A few times each in ``make test``, 50 in ``make prove``.
"""

from __future__ import annotations

import multiprocessing
import random
import shutil
import sqlite3
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from cmnas_edge.collector.matching.identity import Link
from cmnas_edge.collector.store.backup import back_up
from cmnas_edge.collector.store.erasures import Erasures, Selection, verified
from cmnas_edge.collector.store.journal import Arrival, Journal
from cmnas_edge.collector.store.keys import DAY_S
from cmnas_edge.collector.store.restoring import restore
from cmnas_edge.collector.store.upkeep import Upkeep
from tests.collector.people import DIMENSION, FINGERPRINT, People
from tests.collector.store.test_schema import OLD
from tests.collector.store.test_upkeep import sealed_of
from tests.proof import KILLS

DAYS, EACH = range(100, 104), 500
NOW = 104.0 * DAY_S
HOURS = 36.0            # of retention: two days are over whole, and half of the third
CUTOFF = NOW - HOURS * 3600


def fill(data: Path) -> None:
    """Two thousand sightings of four days, every tenth of a person who will be erased."""
    people, journal, number = People(), Journal(data), 0
    for day in DAYS:
        for part in range(5):
            at = day * DAY_S + part * DAY_S / 5
            batch = [people.sighting(n % 10, at=at + n) for n in range(EACH // 5)]
            links = []
            for each in batch:
                number += 1
                links.append(Link(number, number, 1 + (each.sequence - 1) % 10, "opened"))
            journal.append([Arrival("gate", batch, at)])
            journal.append([], links)
    journal.close()


def migrate(folder: Path) -> None:
    Journal(folder / "data").close()


def copy(folder: Path) -> None:
    back_up(folder / "data", folder / "backup", folder / "data" / "keys")


def erase(folder: Path) -> None:
    journal = Journal(folder / "data")
    upkeep = Upkeep(journal, retention_h=1000, clock=lambda: NOW)
    upkeep.begin(Selection(identity=3), "grace", "")
    upkeep.finish()
    journal.close()


def retain(folder: Path) -> None:
    journal = Journal(folder / "data")
    Upkeep(journal, retention_h=HOURS, clock=lambda: NOW).start()
    journal.close()


def renew(folder: Path) -> None:
    restore(folder / "backup", folder / "new", folder / "data" / "keys", retention_h=HOURS, clock=lambda: NOW)


def rows(data: Path) -> dict[int, tuple[int, float]]:
    reader = sqlite3.connect(data / "journal.sqlite")
    found = {number: (sequence, at) for number, sequence, at in reader.execute(
        "SELECT id, sequence, received_at FROM sighting")}
    reader.close()
    return found


def killed_at_random(kind: Callable[[Path], None], began: Path, folder: Path, check: Callable[[Path, bool], None],
                     seed: int) -> None:
    """Run it to its end once, then again and again on the same beginning, killed at a random moment each time."""
    context, rng = multiprocessing.get_context("forkserver"), random.Random(seed)
    context.set_forkserver_preload([__name__, "tests.collector.store.test_kill_upkeep"])

    def begin(name: str) -> BaseProcess:
        shutil.copytree(began, folder / name)
        process = context.Process(target=kind, args=(folder / name,))
        process.start()
        return process

    begin("warm").join(60)      # the server has imported what it needs
    at = time.monotonic()
    whole = begin("whole")
    whole.join(60)
    lasts = time.monotonic() - at
    assert whole.exitcode == 0
    check(folder / "whole", True)
    for number in range(KILLS):
        process = begin(str(number))
        process.join(rng.uniform(0, 1.1 * lasts))
        process.kill()
        process.join(60)
        check(folder / str(number), process.exitcode == 0)
        shutil.rmtree(folder / str(number))


@pytest.fixture
def full(tmp_path: Path) -> Path:
    fill(tmp_path / "began" / "data")
    return tmp_path / "began"


def holds(data: Path, pieces: list[bytes]) -> bool:
    files = [path.read_bytes() for path in data.rglob("*") if path.is_file()]
    return any(piece in file for file in files for piece in pieces)


def sealed_in(data: Path) -> dict[int, bytes]:
    journal = Journal(data)
    found = sealed_of(journal)
    journal.close()
    return found


@pytest.mark.prove
def test_a_migration_leaves_the_old_journal_or_the_new_one_and_no_vector_open(tmp_path: Path) -> None:
    data = tmp_path / "began" / "data"
    data.mkdir(parents=True)
    shutil.copy(OLD, data / "journal.sqlite")
    db = sqlite3.connect(data / "journal.sqlite")
    for spool in range(400):
        db.execute("INSERT INTO sighting SELECT NULL, device, printf('%016x', ?), sequence, received_at, camera, "
                   "seen_from, seen_at, modality, tracklet, view_count, quality, box_width, box_height, engine, "
                   "precision, transform, fingerprint, packing, vector FROM sighting WHERE id <= 3", (spool,))
    db.commit()
    plain = [vector for vector, in db.execute("SELECT vector FROM sighting WHERE id <= 3")]
    (count,) = db.execute("SELECT count(*) FROM sighting").fetchone()
    db.close()

    def check(folder: Path, ended: bool) -> None:
        if not ended:
            version = sqlite3.connect(folder / "data" / "journal.sqlite")
            assert version.execute("SELECT count(*) FROM sighting").fetchone() == (count,)
            version.close()
        journal = Journal(folder / "data")
        assert len(list(journal.sightings(bytes(range(32)), 64, since=0, most=10**6))) == count
        journal.close()
        assert not holds(folder / "data", [vector[8:40] for vector in plain])

    killed_at_random(migrate, data.parent, tmp_path, check, 1)


@pytest.mark.prove
def test_a_backup_is_whole_or_not_there_and_the_next_one_is(full: Path, tmp_path: Path) -> None:
    def check(folder: Path, ended: bool) -> None:
        assert (folder / "backup").exists() or not ended
        if (folder / "backup").exists():
            assert restore(folder / "backup", folder / "new", folder / "data" / "keys", retention_h=1000,
                           clock=lambda: NOW).kept == len(DAYS) * EACH
        else:
            copy(folder)
        assert len(rows(folder / "data")) == len(DAYS) * EACH
        assert not (folder / ".backup.partial").exists()

    killed_at_random(copy, full, tmp_path, check, 2)


@pytest.mark.prove
def test_an_erasure_is_whole_or_was_never_begun_and_has_one_receipt(full: Path, tmp_path: Path) -> None:
    sealed = sealed_in(full / "data")
    theirs = {number for number, (sequence, _) in rows(full / "data").items() if (sequence - 1) % 10 == 2}
    assert len(theirs) == len(DAYS) * EACH // 10

    def check(folder: Path, ended: bool) -> None:
        journal = Journal(folder / "data")
        Upkeep(journal, retention_h=1000, clock=lambda: NOW).start()
        begun = len(Erasures(journal.keys.folder).receipts())
        assert begun == 1 or (begun == 0 and not ended)
        assert journal.keys.dropped() == set()
        assert set(rows(folder / "data")) == set(sealed) - (theirs if begun else set())
        assert len(list(journal.sightings(FINGERPRINT, DIMENSION, since=0, most=10**6))) == len(rows(folder / "data"))
        journal.close()
        assert holds(folder / "data", [sealed[number] for number in theirs]) == (not begun)
        if begun:
            assert verified(folder / "data" / "keys")

    killed_at_random(erase, full, tmp_path, check, 3)


@pytest.mark.prove
def test_retention_keeps_what_is_not_over_and_the_next_start_nothing_else(full: Path, tmp_path: Path) -> None:
    sealed, before = sealed_in(full / "data"), rows(full / "data")
    over = {number for number, (_, at) in before.items() if at < CUTOFF}
    assert 0 < len(over) < len(before)

    def check(folder: Path, ended: bool) -> None:
        left = set(rows(folder / "data"))
        assert left >= set(before) - over
        if ended:
            assert left == set(before) - over
        retain(folder)
        assert set(rows(folder / "data")) == set(before) - over
        journal = Journal(folder / "data")
        assert (journal.keys.dropped(), journal.keys.days()) == ({100, 101}, {102, 103})
        assert len(list(journal.sightings(FINGERPRINT, DIMENSION, since=0, most=10**6))) == len(before) - len(over)
        links = {link.sighting for link in journal.links(1)}
        assert links == set(before) - over
        journal.close()
        assert not holds(folder / "data", [sealed[number] for number in over])

    killed_at_random(retain, full, tmp_path, check, 4)


@pytest.mark.prove
def test_a_restore_is_whole_or_not_there_and_shows_nothing_that_is_over(full: Path, tmp_path: Path) -> None:
    copy(full)
    over = {number for number, (_, at) in rows(full / "data").items() if at < CUTOFF}

    def check(folder: Path, ended: bool) -> None:
        assert (folder / "new" / "journal.sqlite").exists() or not ended
        if not (folder / "new" / "journal.sqlite").exists():
            renew(folder)
        assert len(rows(folder / "new")) == len(DAYS) * EACH - len(over)
        assert not over & set(rows(folder / "new"))

    killed_at_random(renew, full, tmp_path, check, 5)
