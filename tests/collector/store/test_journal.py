"""What was acknowledged is in the journal, once, in order, and stays there."""

from __future__ import annotations

import contextlib
import resource
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from cmnas_edge.collector.matching.identity import Link
from cmnas_edge.collector.store.journal import Arrival, Decision, Journal, Record
from cmnas_edge.embedding import unit
from cmnas_edge.errors import ConfigError, DiskFull, Transient
from cmnas_edge.sighting import Gap
from tests.collector.people import DIMENSION, FINGERPRINT, SPOOL, People


def stored(journal: Journal) -> list[Record]:
    return [record for record, _ in journal.sightings(FINGERPRINT, DIMENSION, since=0, most=10_000)]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deliveries=st.lists(st.lists(st.integers(1, 50), min_size=1, max_size=40), max_size=6))
def test_records_delivered_any_number_of_times_in_any_order_are_stored_once(
        deliveries: list[list[int]], tmp_path_factory: pytest.TempPathFactory) -> None:
    people = People()
    sightings = {n: people.sighting(n, at=10.0 * n, sequence=n) for n in range(1, 51)}
    journal = Journal(tmp_path_factory.mktemp("journal"))
    seen: set[int] = set()
    for numbers in deliveries:
        (ids,) = journal.append([Arrival("gate", [sightings[n] for n in numbers], 5.0)])
        for number, given_id in zip(numbers, ids, strict=True):
            assert (given_id is None) == (number in seen)
            seen.add(number)
    assert sorted(record.sequence for record in stored(journal)) == sorted(seen)
    journal.close()


def test_everything_but_the_device_and_time_comes_back_as_it_was_sent(tmp_path: Path) -> None:
    people = People()
    sent = people.sighting(1, at=100.25, camera="a.b", modality="infrared", tracklet=2**64 - 1, sequence=2**63 - 1)
    journal = Journal(tmp_path)
    journal.append([Arrival("gate", [sent], 7.5)])
    journal.close()
    journal = Journal(tmp_path)
    ((record, vector),) = journal.sightings(FINGERPRINT, DIMENSION, since=0, most=10)
    assert (record.device, record.received_at) == ("gate", 7.5)
    for name in ("camera", "seen_from", "seen_at", "modality", "tracklet", "view_count", "quality", "box_width",
                 "box_height", "engine", "precision", "transform", "spool", "sequence"):
        assert getattr(record, name) == getattr(sent, name), name
    assert (vector == sent.vector.astype(np.float16)).all()
    journal.close()


def test_vectors_of_two_packings_and_lengths_in_one_batch_stay_each_its_own(tmp_path: Path) -> None:
    rng, journal = np.random.default_rng(0), Journal(tmp_path)
    sent = [structs.replace(People().sighting(1, at=1, sequence=n), packing=packing, fingerprint=bytes([size]) * 32,
                                vector=unit(rng.standard_normal((1, size), np.float32))[0])
            for n, (packing, size) in enumerate([("fp16", 64), ("int8", 64), ("fp16", 128), ("fp16", 128),
                                                 ("int8", 64)])]
    journal.append([Arrival("gate", [sent[0], Gap(SPOOL, 90, 91, 2), *sent[1:]], 1.0)])
    for size in (64, 128):
        found = list(journal.sightings(bytes([size]) * 32, size, since=0, most=10))
        meant = [each for each in sent if len(each.vector) == size]
        assert [record.sequence for record, _ in found] == [each.sequence for each in meant]
        for (_, vector), each in zip(found, meant, strict=True):
            assert np.abs(vector - each.vector).max() < 0.01
    journal.close()


def test_two_devices_may_use_one_spool_name_and_one_number(tmp_path: Path) -> None:
    people = People()
    journal = Journal(tmp_path)
    for device in ("gate", "yard"):
        assert journal.append([Arrival(device, [people.sighting(1, at=1, device=device, sequence=1)], 1.0)]) != [[None]]
    assert len(stored(journal)) == 2
    journal.close()


def test_a_gap_sent_again_is_counted_once_and_a_longer_one_replaces_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for last, count in ((5, 5), (5, 5), (9, 8)):
        journal.append([Arrival("gate", [Gap(SPOOL, 1, last, count)], 1.0)])
    journal.append([Arrival("gate", [Gap(SPOOL, 20, 21, 2)], 2.0)])
    assert [(gap.first, gap.last, gap.count) for gap in journal.gaps()] == [(1, 9, 8), (20, 21, 2)]
    journal.close()


def test_only_the_owner_may_read_any_of_its_files(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "data")
    journal.append([Arrival("gate", [People().sighting(1, at=1)], 1.0)])
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").rglob("*") if path.is_file()}
    assert {"journal.sqlite", "journal.sqlite-wal", "master.key", "day-1970-01-01.key"} <= modes.keys()
    assert set(modes.values()) == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data", tmp_path / "data" / "keys")} == {0o700}
    journal.close()


@contextlib.contextmanager
def small_disk(kib: int) -> Iterator[None]:
    """No file may grow beyond this: to a program, a disk that refuses to write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (kib * 1024, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("limit_mib", [0, 1])
def test_a_journal_that_may_not_grow_stores_nothing_of_a_batch_and_goes_on_once_it_may(
        tmp_path: Path, limit_mib: int) -> None:
    people = People()
    journal, kept, said = Journal(tmp_path, limit_mib=limit_mib), 0, ""
    with contextlib.nullcontext() if limit_mib else small_disk(500):
        while not said:
            try:
                journal.append([Arrival("gate", [people.sighting(1, at=1) for _ in range(64)], 1.0)])
            except DiskFull as full:
                said = str(full)
            else:
                kept += 64
    assert "journal.sqlite: no room for more sightings" in said
    assert kept > 64
    assert len(stored(journal)) == kept
    journal.close()
    journal = Journal(tmp_path)
    journal.append([Arrival("gate", [people.sighting(1, at=1)], 1.0)])
    assert len(stored(journal)) == kept + 1
    journal.close()


def test_a_batch_that_fails_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    people = People()
    journal = Journal(tmp_path)
    broken = structs.replace(people.sighting(1, at=1), quality=None)    # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        journal.append([Arrival("gate", [people.sighting(1, at=1), broken], 1.0)], [Link(1, 1, 1, "opened")])
    assert (journal.count(), journal.last_identity()) == (0, 0)
    journal.append([Arrival("gate", [people.sighting(1, at=1)], 1.0)])
    assert journal.count() == 1
    journal.close()


def test_a_journal_that_another_program_holds_is_used_again_once_it_lets_go(tmp_path: Path) -> None:
    people = People()
    journal = Journal(tmp_path, patience_s=0.01)
    other = sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Transient, match="another program holds the journal"):
        journal.append([Arrival("gate", [people.sighting(1, at=1)], 1.0)])
    other.execute("ROLLBACK")
    other.close()
    assert journal.append([Arrival("gate", [people.sighting(1, at=1)], 1.0)]) == [[1]]
    journal.close()


def test_a_camera_has_its_answer_before_it_gives_up_though_the_journal_is_held(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    (milliseconds,) = journal._db.execute("PRAGMA busy_timeout").fetchone()
    assert milliseconds <= 2000     # a camera waits 10 s, for its batch and for one before it
    journal.close()


def test_a_second_collector_on_one_journal_is_refused_and_may_follow_the_first(tmp_path: Path) -> None:
    first = Journal(tmp_path)
    with pytest.raises(ConfigError, match="in use by another collector"):
        Journal(tmp_path)
    first.close()
    Journal(tmp_path).close()


@pytest.mark.parametrize("damage", ["random", "cut", "middle", "other", "newer"])
def test_a_damaged_or_foreign_journal_is_one_clear_sentence(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "journal.sqlite"
    journal = Journal(tmp_path)
    people = People()
    journal.append([Arrival("gate", [people.sighting(1, at=1) for _ in range(200)], 1.0)])
    journal.close()
    data = bytearray(path.read_bytes())
    if damage == "random":
        path.write_bytes(b"no database at all" * 100)
    elif damage == "cut":
        path.write_bytes(data[:len(data) // 2 // 4096 * 4096])
    elif damage == "middle":
        data[8192:40960] = bytes(40960 - 8192)
        path.write_bytes(data)
    elif damage == "other":
        path.unlink()
        other = sqlite3.connect(path)
        other.execute("CREATE TABLE mine (x)")
        other.close()
    else:
        newer = sqlite3.connect(path)
        newer.execute("PRAGMA user_version=99")
        newer.close()
    with pytest.raises(ConfigError) as caught:
        Journal(tmp_path)
    said = str(caught.value)
    assert "journal.sqlite" in said
    assert "\n" not in said
    path.unlink()
    Journal(tmp_path).close()   # and the lock was let go


def test_a_folder_that_cannot_be_made_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="expected a folder to write the journal in"):
        Journal(tmp_path / "file" / "data")


def test_a_tracklet_still_seen_comes_with_its_first_sightings_and_one_gone_does_not_come(tmp_path: Path) -> None:
    people = People()
    journal = Journal(tmp_path)
    for at, tracklet in ((0, 1), (0, 2), (10, 1), (20, 1)):
        journal.append([Arrival("gate", [people.sighting(tracklet, at=at, tracklet=tracklet)], float(at))])
    links = [Link(1, 1, 1, "opened"), Link(2, 2, 2, "opened"), Link(3, 1, 1, "tracklet"), Link(4, 1, 1, "tracklet")]
    journal.append([], links)
    hot = [record.id for record, _ in journal.sightings(FINGERPRINT, DIMENSION, since=15.0, most=100)]
    assert hot == [1, 3, 4]
    assert list(journal.links(1)) == links
    assert journal.last_identity() == 2
    assert list(journal.sightings(bytes(32), DIMENSION, since=0, most=100)) == []
    journal.close()


def test_links_and_decisions_come_back_as_they_were_made(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append([Arrival("gate", [People().sighting(1, at=1), People(1).sighting(2, at=9, sequence=9)], 1.0)],
                   [Link(1, 1, 1, "opened"),
                    Link(2, 2, 2, "opened", 0.5, 0.75, "visible-visible", 1, 0.25, FINGERPRINT)])
    merge = Decision(5.0, "ada", "merge", "same coat", {"tracklets": [1, 2], "into": 1})
    numbers = [journal.decide(merge, [Link(2, 2, 1, "merged")]),
               journal.decide(Decision(6.0, "ada", "undo", "", {"decision": 1}), [Link(2, 2, 2, "parted")])]
    journal.close()
    journal = Journal(tmp_path)
    assert [decision.id for decision in journal.decisions()] == numbers == [1, 2]
    assert next(journal.decisions()) == msgspec.structs.replace(merge, id=1)
    assert [decision.kind for decision in journal.decisions(since=1)] == ["undo"]
    links = list(journal.links(1))
    assert [link.rule for link in links] == ["opened", "opened", "merged", "parted"]
    assert (links[1].probability, links[1].fingerprint) == (0.25, FINGERPRINT)
    journal.close()


def test_two_devices_of_one_cards_image_are_told_of_and_a_record_that_comes_again_is_not(
        tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal, people = Journal(tmp_path), People()
    one, other = people.sighting(1, at=10, sequence=1), people.sighting(2, at=90, camera="south", sequence=1)
    for _ in range(2):
        journal.append([Arrival("gate", [one], 100.0)])
    assert "another record" not in caplog.text
    assert journal.append([Arrival("gate", [other], 100.0)]) == [[None]]
    assert caplog.text.count("gate: sends another record under a number that is stored already") == 1
    journal.close()
