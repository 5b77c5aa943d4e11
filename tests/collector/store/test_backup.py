"""A backup is the journal of one moment, whole, and holds no key; a restore serves only what may be kept."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from pathlib import Path

import pytest

from cmnas_edge.collector.access.audit_log import AuditLog
from cmnas_edge.collector.store.backup import back_up
from cmnas_edge.collector.store.erasures import Erasures, Selection
from cmnas_edge.collector.store.journal import Arrival, Journal
from cmnas_edge.collector.store.keycopy import KeyCopy
from cmnas_edge.collector.store.keys import DAY_S, day_name
from cmnas_edge.collector.store.restoring import restore
from cmnas_edge.collector.store.upkeep import Upkeep
from cmnas_edge.errors import CmnasError, ConfigError, DiskFull
from tests.collector.house import House
from tests.collector.people import DIMENSION, FINGERPRINT, People
from tests.collector.store.test_journal import small_disk
from tests.collector.store.test_upkeep import holders, sealed_of

HOUR = 3600.0


def filled(folder: Path, days: range = range(100, 103), *, each: int = 4) -> Journal:
    people = People()
    journal = Journal(folder)
    for day in days:
        journal.append([Arrival("gate", [people.sighting(n, at=10 * n) for n in range(each)], day * DAY_S + HOUR)])
    return journal


def vectors(journal: Journal) -> dict[int, bytes]:
    return {record.sequence: vector.tobytes()
            for record, vector in journal.sightings(FINGERPRINT, DIMENSION, since=0, most=10**6)}


def test_what_is_restored_is_what_was_there_and_the_backup_holds_no_key(tmp_path: Path) -> None:
    journal = filled(tmp_path / "data")
    meant, keys = vectors(journal), tmp_path / "data" / "keys"
    for name in ("devices.json", "audit.log"):
        (tmp_path / "data" / name).write_text(f"of {name}\n")
    told = []
    made = back_up(tmp_path / "data", tmp_path / "backup", keys, progress=lambda *at: told.append(at),
                   clock=lambda: 103 * DAY_S)
    journal.close()
    assert (made.sightings, made.days) == (12, [day_name(day) for day in range(100, 103)])
    assert told[-1][0] == told[-1][1] > 0
    assert {path.name for path in (tmp_path / "backup").iterdir()} == {
        "journal.sqlite", "devices.json", "audit.log", "backup.json"}
    for secret in keys.glob("*.key"):
        assert not holders(tmp_path / "backup", secret.read_bytes().split()[1])
    done = restore(tmp_path / "backup", tmp_path / "new", keys, retention_h=1000, clock=lambda: 103 * DAY_S)
    assert (done.sightings, done.ended, done.over, done.kept, done.made_at) == (12, 0, 0, 12, 103 * DAY_S)
    journal = Journal(tmp_path / "new", keys=keys)
    assert vectors(journal) == meant
    assert {path.name for path in (tmp_path / "new").iterdir()} >= {"devices.json", "audit.log", "journal.sqlite"}
    assert not (tmp_path / "new" / ".restoring").exists()
    journal.close()


def test_a_backup_made_while_sightings_come_is_of_one_moment(tmp_path: Path) -> None:
    people, house = People(), House(tmp_path / "data", now=9000.0)
    ends = threading.Event()

    def come() -> None:
        while not ends.is_set():
            house.intake.offer(Arrival("gate", [people.sighting(n, at=8000.0 + n) for n in range(40)],
                                       house.now)).result(30)

    device = threading.Thread(target=come)
    come_first = house.intake.offer(Arrival("gate", [people.sighting(n, at=8000.0 + n) for n in range(40)], house.now))
    come_first.result(30)
    device.start()
    made, counts = [], []
    for number in range(3):
        counts.append(house.intake.stored_count)
        made.append(back_up(tmp_path / "data", tmp_path / str(number), tmp_path / "data" / "keys").sightings)
        counts.append(house.intake.stored_count)
    ends.set()
    device.join(30)
    for number, count in enumerate(made):
        assert counts[2 * number] <= count
        assert count % 40 == 0      # no batch by half
        copy = sqlite3.connect(tmp_path / str(number) / "journal.sqlite")
        assert copy.execute("SELECT count(*), max(id) FROM sighting").fetchone() == (count, count)
        copy.close()
    assert made == sorted(made)
    house.close()


def test_what_was_erased_or_ended_since_a_backup_is_not_restored_and_not_in_any_file(tmp_path: Path) -> None:
    data, now = tmp_path / "data", [103 * DAY_S]
    journal = filled(data)
    before, keys = sealed_of(journal), data / "keys"
    back_up(data, tmp_path / "backup", keys)
    assert holders(tmp_path / "backup", before[1])
    upkeep = Upkeep(journal, retention_h=1000, clock=lambda: now[0])
    upkeep.begin(Selection(device="gate", seen_to=0.0), "grace", "")   # the first of each day
    assert upkeep.finish()[0].sightings == 3
    journal.keys.drop(100)
    journal.close()
    for path in data.glob("journal.*"):
        path.rename(tmp_path / path.name)
    # The second day is past retention, and what is left of it goes by its hour.
    done = restore(tmp_path / "backup", data, keys, retention_h=24, clock=lambda: 102 * DAY_S + 2 * HOUR)
    assert (done.sightings, done.ended, done.over, done.kept) == (12, 6, 3, 3)
    journal = Journal(data)
    for number, data_of in before.items():
        assert bool(holders(data, data_of)) == (number in (10, 11, 12)), number
    assert sorted(vectors(journal)) == [10, 11, 12]
    assert len(Erasures(keys).receipts()) == 1
    journal.close()


def test_a_lost_machine_is_begun_again_from_backup_copy_of_the_keys_and_master_key(tmp_path: Path) -> None:
    journal = filled(tmp_path / "data")
    meant = vectors(journal)
    copy = KeyCopy(journal.keys, tmp_path / "nas" / "keys")
    copy.keep_up()
    copy.close(30)
    back_up(tmp_path / "data", tmp_path / "nas" / "backup", tmp_path / "data" / "keys")
    master = journal.keys.master_path.read_bytes()
    journal.close()
    (tmp_path / "data").rename(tmp_path / "lost")

    def begin(**given: Path) -> int:
        return restore(tmp_path / "nas" / "backup", tmp_path / "data", tmp_path / "data" / "keys", retention_h=1000,
                       clock=lambda: 103 * DAY_S, **given).kept

    with pytest.raises(ConfigError, match=r"expected the keys of 1970-04-11, 1970-04-12, 1970-04-13, found none"):
        begin()
    assert not (tmp_path / "data" / "journal.sqlite").exists()
    assert not (tmp_path / "data" / "keys").exists()    # nor keys that would open nothing
    with pytest.raises(ConfigError, match=r"expected the master key of the keys in .*, found none; put it back"):
        begin(keys_copy=tmp_path / "nas" / "keys")
    (tmp_path / "data" / "keys" / "master.key").write_bytes(master)
    (tmp_path / "data" / "keys" / "master.key").chmod(0o600)
    assert begin(keys_copy=tmp_path / "nas" / "keys") == 12
    journal = Journal(tmp_path / "data")
    assert vectors(journal) == meant
    journal.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_what_root_restores_and_erases_belongs_to_whom_the_folder_does(tmp_path: Path) -> None:
    journal = filled(tmp_path / "data")
    (tmp_path / "data" / "devices.json").write_text("[]\n")
    back_up(tmp_path / "data", tmp_path / "backup", tmp_path / "data" / "keys")
    KeyCopy(journal.keys, tmp_path / "copy")._run(tmp_path / "copy")
    master = journal.keys.master_path.rename(tmp_path / "master.key")
    journal.close()
    new = tmp_path / "new"
    new.mkdir()
    os.chown(new, 4711, 4711)
    restore(tmp_path / "backup", new, new / "keys", retention_h=1000, master_key=master, keys_copy=tmp_path / "copy",
            clock=lambda: 103 * DAY_S)
    journal = Journal(new, master_key=master)
    upkeep = Upkeep(journal, retention_h=36, keys_copy=tmp_path / "copy", clock=lambda: 104 * DAY_S)
    upkeep.begin(Selection(device="gate", seen_to=0.0), "root", "")
    upkeep.start()
    journal.append([Arrival("gate", [People().sighting(1, at=1, sequence=99)], 105 * DAY_S)])
    made = {path.name for path in new.rglob("*")}
    assert made >= {"journal.sqlite", "devices.json", "keys", "dropped", "erased.jsonl", "receipts.jsonl",
                    "journal.lock", "journal.sqlite-wal", "day-1970-04-16.key"}
    assert {path.stat().st_uid for path in new.rglob("*")} == {4711}
    journal.close()


def test_an_audit_log_of_several_files_comes_back_whole_or_beside_one_begun_since_not_at_all(tmp_path: Path) -> None:
    filled(tmp_path / "data").close()
    log = AuditLog(tmp_path / "data", file_bytes=300)
    for number in range(6):
        log.add("search", who="anna", asked={"k": number})
    keys = tmp_path / "data" / "keys"
    back_up(tmp_path / "data", tmp_path / "backup", keys, clock=lambda: 103 * DAY_S)
    restore(tmp_path / "backup", tmp_path / "new", keys, retention_h=1000, clock=lambda: 103 * DAY_S)
    assert AuditLog(tmp_path / "new").check() == log.check()
    begun = AuditLog(tmp_path / "used")
    begun.add("people", who="root", asked={"do": "add"})
    restore(tmp_path / "backup", tmp_path / "used", keys, retention_h=1000, clock=lambda: 103 * DAY_S)
    found = AuditLog(tmp_path / "used").check()
    assert (found.last, found.faults) == (1, [])


def test_a_restore_into_a_used_folder_and_a_backup_over_something_change_nothing(tmp_path: Path) -> None:
    journal = filled(tmp_path / "data")
    keys = tmp_path / "data" / "keys"
    back_up(tmp_path / "data", tmp_path / "backup", keys)
    journal.close()
    before = (tmp_path / "data" / "journal.sqlite").read_bytes()
    with pytest.raises(ConfigError, match="a backup is restored into a new folder"):
        restore(tmp_path / "backup", tmp_path / "data", keys, retention_h=1)
    assert (tmp_path / "data" / "journal.sqlite").read_bytes() == before
    manifest = (tmp_path / "backup" / "backup.json").read_bytes()
    with pytest.raises(ConfigError, match="a backup is not replaced"):
        back_up(tmp_path / "data", tmp_path / "backup", keys)
    assert (tmp_path / "backup" / "backup.json").read_bytes() == manifest
    (tmp_path / "data" / "journal.sqlite").rename(tmp_path / "away.sqlite")
    other = Journal(tmp_path / "data")      # a collector begins there at the same time
    (tmp_path / "data" / "journal.sqlite").rename(tmp_path / "its.sqlite")
    with pytest.raises(ConfigError, match="another backup, restore or collector is at work there"):
        restore(tmp_path / "backup", tmp_path / "data", keys, retention_h=1)
    other.close()
    assert not (tmp_path / "data" / "journal.sqlite").exists()
    with pytest.raises(ConfigError, match="expected a collector's journal, found none"):
        back_up(tmp_path / "nothing", tmp_path / "other", keys)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("damage", ["bit", "missing", "path", "manifest", "none"])
def test_a_damaged_backup_is_one_clear_sentence_and_restores_nothing(tmp_path: Path, damage: str) -> None:
    filled(tmp_path / "data").close()
    keys, backup = tmp_path / "data" / "keys", tmp_path / "backup"
    back_up(tmp_path / "data", backup, keys)
    journal = bytearray((backup / "journal.sqlite").read_bytes())
    manifest = json.loads((backup / "backup.json").read_text())
    if damage == "bit":
        journal[5000] ^= 1
        (backup / "journal.sqlite").write_bytes(journal)
    elif damage == "missing":
        (backup / "journal.sqlite").unlink()
    elif damage == "path":
        manifest["files"]["../../etc/passwd"] = "0" * 64
        (backup / "backup.json").write_text(json.dumps(manifest))
    elif damage == "manifest":
        (backup / "backup.json").write_text("[]")
    else:
        backup.rename(tmp_path / "elsewhere")
    with pytest.raises(ConfigError) as caught:
        restore(backup, tmp_path / "new", keys, retention_h=1000)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new" / "journal.sqlite").exists()


def test_a_copy_that_is_not_what_was_read_is_no_backup(tmp_path: Path) -> None:
    journal = filled(tmp_path / "data")
    journal._db.execute("UPDATE sighting SET vector = zeroblob(156) WHERE id = 5")
    with pytest.raises(CmnasError, match="expected vectors of 1970-04-12 that open, found one that does not"):
        back_up(tmp_path / "data", tmp_path / "backup", tmp_path / "data" / "keys")
    assert not (tmp_path / "backup").exists()
    journal.close()


def test_a_full_disk_leaves_no_backup_and_room_makes_one(tmp_path: Path) -> None:
    journal = filled(tmp_path / "data", each=300)
    with small_disk(100), pytest.raises((DiskFull, CmnasError)):
        back_up(tmp_path / "data", tmp_path / "backup", tmp_path / "data" / "keys")
    assert not (tmp_path / "backup").exists()
    assert back_up(tmp_path / "data", tmp_path / "backup", tmp_path / "data" / "keys").sightings == 900
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    journal.close()
