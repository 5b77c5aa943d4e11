"""What is over or erased is gone: from every row, every file and memory, and it does not come back."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
import numpy as np
import pytest
from msgspec import structs

from cmnas_edge.collector.matching.identity import Link
from cmnas_edge.collector.store.erasures import Erasures, Selection, verified
from cmnas_edge.collector.store.journal import Arrival, Decision, Journal
from cmnas_edge.collector.store.keys import DAY_S, Locked, day_name
from cmnas_edge.collector.store.upkeep import PASS_S, Upkeep
from cmnas_edge.embedding import pack
from cmnas_edge.errors import ConfigError, Unaccounted
from cmnas_edge.sighting import Gap, Sighting
from tests.collector.house import House
from tests.collector.people import DIMENSION, FINGERPRINT, SPOOL, People

HOUR = 3600.0


def sealed_of(journal: Journal) -> dict[int, bytes]:
    """The bytes that stand for each sighting's vector."""
    reader = sqlite3.connect(journal.path)
    found = dict(reader.execute("SELECT id, vector FROM sighting"))
    reader.close()
    return found


def holders(folder: Path, wanted: bytes) -> list[str]:
    """The files that hold these bytes."""
    return [path.name for path in folder.rglob("*") if path.is_file() and wanted in path.read_bytes()]


def rows(journal: Journal, table: str) -> list[tuple[object, ...]]:
    reader = sqlite3.connect(journal.path)
    found = reader.execute(f"SELECT * FROM {table}").fetchall()    # noqa: S608  of this test's
    reader.close()
    return found


def test_rows_go_when_their_time_is_over_and_the_files_hold_nothing_of_them(tmp_path: Path) -> None:
    people, now = People(), [100 * DAY_S]
    journal = Journal(tmp_path)
    upkeep = Upkeep(journal, retention_h=24, clock=lambda: now[0])
    for hour in range(30):
        journal.append([Arrival("gate", [people.sighting(hour, at=1000 + 10 * hour),
                                         Gap(SPOOL, 500 + hour, 500 + hour, 1)], now[0] + hour * HOUR)],
                       [Link(hour + 1, hour + 1, hour + 1, "opened")])
    before = sealed_of(journal)
    plain = [vector for _, vector in journal.sightings(FINGERPRINT, DIMENSION, since=0, most=100)]
    now[0] += 30 * HOUR + 1     # those received until hour 6 are over
    upkeep.start()
    assert sorted(sealed_of(journal)) == list(range(8, 31))
    for number, data in before.items():
        assert bool(holders(tmp_path, data)) == (number > 7), number
        assert holders(tmp_path, data[12:40]) == holders(tmp_path, data)
        assert not holders(tmp_path, pack(plain[number - 1][None], "fp16")[0][:24])
    assert [link.sighting for link in journal.links(1)] == list(range(8, 31))
    assert [gap.first - 500 for gap in journal.gaps()] == list(range(7, 30))
    assert upkeep.view.oldest_received_at == 100 * DAY_S + 7 * HOUR
    assert upkeep.view.next_expiry_at == upkeep.view.oldest_received_at + 24 * HOUR
    assert upkeep.view.removed_count == 7
    assert journal.count() == 23
    journal.close()


def test_a_day_that_is_over_loses_its_key_and_no_earlier(tmp_path: Path) -> None:
    people, now = People(), [100 * DAY_S + HOUR]
    journal = Journal(tmp_path)
    upkeep = Upkeep(journal, retention_h=24, clock=lambda: now[0])
    journal.append([Arrival("gate", [people.sighting(1, at=10)], now[0])])
    (copied,) = sealed_of(journal).values()     # as a backup would hold it
    beside = journal._db.execute("SELECT device, spool, sequence, packing FROM sighting").fetchone()
    now[0] = 101 * DAY_S + 2 * HOUR
    upkeep.step(now[0])
    assert journal.count() == 0
    assert journal.keys.days() == {100}
    for hours in (21.9, 22.0):
        assert journal.keys.days() == {100}
        upkeep.step(101 * DAY_S + 2 * HOUR + hours * HOUR)
    assert journal.keys.days() == set()
    assert not list((tmp_path / "keys").glob("day-*"))
    with pytest.raises(Locked, match="is gone"):
        journal.keys.open(100, copied, b"cmnas vector 2\0" + "\0".join(map(str, beside)).encode())
    journal.close()


def test_a_pass_does_some_of_it_at_a_time_and_then_waits(tmp_path: Path) -> None:
    people = People()
    journal = Journal(tmp_path)
    upkeep = Upkeep(journal, retention_h=1)
    for _ in range(3):
        journal.append([Arrival("gate", [people.sighting(1, at=1) for _ in range(1500)], 0.0)])
    assert [upkeep.step(2 * HOUR), upkeep.step(2 * HOUR), upkeep.step(2 * HOUR)] == [True, True, False]
    assert journal.count() == 0
    journal.append([Arrival("gate", [people.sighting(1, at=1)], 0.0)])
    assert not upkeep.step(2 * HOUR + PASS_S / 2)
    assert journal.count() == 1
    assert not upkeep.step(2 * HOUR + PASS_S)
    assert journal.count() == 0
    journal.close()


def test_a_record_that_is_gone_is_not_stored_again_when_it_is_sent_again(tmp_path: Path) -> None:
    people = People()
    sent = [people.sighting(n, at=10 * n) for n in range(5)]
    journal = Journal(tmp_path)
    assert journal.append([Arrival("gate", sent, 0.0)]) == [[1, 2, 3, 4, 5]]
    Upkeep(journal, retention_h=1).step(2 * HOUR)
    for _ in range(2):
        late = people.sighting(9, at=99)
        assert journal.append([Arrival("gate", [*sent, late], 2 * HOUR)])[0][:5] == [None] * 5
        assert rows(journal, "gone") == [("gate", SPOOL, 1, 5)]
        journal.close()
        journal = Journal(tmp_path)
    # Numbers of sightings and people are given once, though the highest is gone.
    journal.append([], [Link(7, 7, 40, "opened")])
    Upkeep(journal, retention_h=1).step(9 * HOUR)
    assert journal.count() == 0
    journal.close()
    journal = Journal(tmp_path)
    assert journal.last_identity() == 40
    assert journal.append([Arrival("gate", [people.sighting(1, at=1)], 9 * HOUR)]) == [[8]]
    journal.close()


def test_a_tracklet_that_is_still_seen_keeps_its_identity_though_what_opened_it_is_over(tmp_path: Path) -> None:
    people = People()
    house = House(tmp_path / "data", now=1500.0)
    house.send(people.sighting(1, at=1000, tracklet=1, lasting=5),
               people.sighting(2, at=1000, tracklet=2, camera="south"))
    house.now += HOUR
    house.send(people.sighting(1, at=1006, tracklet=1))
    house.settle()
    (identity,) = {s.identity for s in house.gallery.sightings().sightings if s.id in (1, 3)}
    house.close()
    journal = Journal(tmp_path / "data")
    Upkeep(journal, retention_h=1, clock=lambda: 1600 + HOUR).start()
    assert [(link.sighting, link.rule) for link in journal.links(3)] == [(1, "opened"), (3, "tracklet")]
    journal.close()
    for _ in range(2):
        house = House(tmp_path / "data", now=1600 + HOUR)
        assert [(s.id, s.identity) for s in house.gallery.sightings().sightings] == [(3, identity)]
        house.close()
    house = House(tmp_path / "data", now=1600 + HOUR)
    house.send(people.sighting(5, at=3000))
    house.settle()
    assert [(s.id, s.identity) for s in house.gallery.sightings().sightings] == [(3, 1), (4, 3)]    # 2 is given once
    house.close()


def test_what_people_decided_leaves_memory_when_it_leaves_the_journal(tmp_path: Path) -> None:
    people, house = People(), House(tmp_path / "data", retention_h=2.0)
    for n in range(2):
        house.send(people.sighting(n, at=1000 + 10 * n))
        house.settle()
        asked = {"kind": "confirm", "identities": [n + 1], "reason": "because"}
        done = house.ask("POST", "/v1/decisions", json=asked, headers=house.cookie("operator"))
        assert done.status_code == 200, done.text
        house.now += HOUR
    assert len(house.gallery.decisions(9).decisions) == 2
    house.now += 0.5 * HOUR
    for _ in range(2):
        house.settle()
    assert [d.id for d in house.gallery.decisions(9).decisions] == [2]
    assert [d.id for d in house.journal.decisions()] == [2]
    house.close()


def test_decisions_about_what_is_gone_are_gone_and_others_forget_that_part(tmp_path: Path) -> None:
    people = People()
    journal = Journal(tmp_path)
    journal.append([Arrival("gate", [people.sighting(n, at=10 * n) for n in range(4)], 0.0)],
                   [Link(n, n, n, "opened") for n in range(1, 5)])
    for about in ([1, 2], [2, 3], [3, 4]):
        journal.decide(Decision(5.0, "ada", "merge", "why", {"tracklets": about, "moved": [[n, n, 1] for n in about]}))
    journal.decide(Decision(5.0, "ada", "undo", "", {"tracklets": [2], "moved": [], "undoes": 2}))
    journal.decide(Decision(5.0, "ada", "undo", "", {"tracklets": [1], "moved": [], "undoes": 1}))
    journal.decide(Decision(5.0, "ada", "cannot_link", "", {"tracklets": [2, 4], "moved": [], "sides": [[2], [4]]}))
    assert journal.remove([1, 2]).decisions == 2
    assert [(d.id, d.body) for d in journal.decisions()] == [
        (2, {"tracklets": [3], "moved": [[3, 3, 1]]}), (3, {"tracklets": [3, 4], "moved": [[3, 3, 1], [4, 4, 1]]}),
        (4, {"tracklets": [], "moved": [], "undoes": 2}),       # without it the second would hold again
        (6, {"tracklets": [4], "moved": [], "sides": [[], [4]]})]
    assert journal.forget(6.0).decisions == 0
    assert journal.remove([3]).decisions == 2
    assert [d.id for d in journal.decisions()] == [3, 6]
    journal.remove([4])
    assert list(journal.decisions()) == []
    journal.close()


def test_a_tracklet_that_is_gone_is_kept_alive_by_no_link_that_a_later_sighting_brought_about(tmp_path: Path) -> None:
    people = People()
    journal = Journal(tmp_path)
    links = [Link(1, 1, 1, "opened"), Link(2, 2, 2, "opened"), Link(3, 3, 3, "opened"),
             Link(3, 1, 1, "merged"), Link(3, 3, 1, "merged"), Link(1, 2, 1, "merged")]
    journal.append([Arrival("gate", [people.sighting(n, at=10 * n) for n in range(3)], 0.0)], links)
    journal.remove([1])
    # Of the first nothing is left; what it brought about for the second is how that one is known.
    assert list(journal.links(1)) == [link for link in links if link.opened_by != 1]
    journal.close()


def test_of_a_tracklet_that_is_left_only_what_decides_about_it_outlives_its_first_sightings(tmp_path: Path) -> None:
    people = People()
    journal = Journal(tmp_path)
    links = [Link(1, 1, 1, "opened", 0.1), Link(2, 1, 1, "tracklet", 0.9), Link(3, 1, 1, "tracklet", 0.8)]
    journal.append([Arrival("gate", [people.sighting(1, at=n, tracklet=1) for n in range(3)], 0.0)], links)
    journal.remove([1, 2])
    assert list(journal.links(3)) == [links[0], links[2]]
    journal.close()


def walk(house: House, people: People) -> list[Sighting]:
    """Three people, each by three cameras of two devices."""
    sent = []
    for person in range(3):
        for number, (device, camera) in enumerate((("gate", "north"), ("gate", "south"), ("yard", "north"))):
            each = people.sighting(person, at=1000 + 300 * person + 60 * number, device=device, camera=camera)
            house.send(each, device=device)
            sent.append(each)
    house.send(Gap(SPOOL, 900, 905, 6), device="yard")
    house.settle()
    return sent


@pytest.mark.parametrize("what", [
    {"identity": 2}, {"device": "gate", "camera": "south"}, {"device": "yard"}, {"seen_from": 1290, "seen_to": 1400},
    {"device": "gate", "identity": 1}], ids="-".join)
def test_what_is_erased_is_in_no_row_no_file_and_no_answer_any_more(
        tmp_path: Path, what: dict[str, object]) -> None:
    chosen = msgspec.convert(what, Selection)
    people, house = People(), House(tmp_path / "data", now=9000.0, hot_window_s=1e6)
    sent = walk(house, people)
    listed = house.gallery.sightings(limit=100).sightings
    assert [s.identity for s in listed] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    before = sealed_of(house.journal)
    gone = {s.id for s in listed if (chosen.identity in (None, s.identity) and chosen.device in (None, s.device)
                                     and chosen.camera in (None, s.camera)
                                     and (chosen.seen_from is None or s.seen_at >= chosen.seen_from)
                                     and (chosen.seen_to is None or s.seen_from <= chosen.seen_to))}
    assert 0 < len(gone) < 9
    receipt = house.intake.erase(chosen, "grace", "asked for on paper").result(30)
    assert (receipt.sightings, receipt.person, receipt.log_emptied) == (len(gone), "grace", True)
    assert receipt.gaps == (1 if what == {"device": "yard"} else 0)
    for number, data in before.items():
        assert bool(holders(tmp_path, data)) == (number not in gone)
        assert bool(holders(tmp_path, data[12:28])) == (number not in gone)
    assert {row[0] for row in rows(house.journal, "sighting")} == set(before) - gone
    assert not {row[1] for row in rows(house.journal, "link")} & gone
    assert {s.id for s in house.gallery.sightings(limit=100).sightings} == set(before) - gone
    assert house.gallery.counts()[0] == house.intake.stored_count == 9 - len(gone)
    view = house.gallery._stores.of(FINGERPRINT).view()
    assert all(view.vector(number) is None for number in gone)
    # Sent again, it is not stored again; and a start shows what is shown now.
    for device in ("gate", "yard"):
        answers = house.send(*[s for s in sent if s.device == device], device=device)
        assert {a.result for a in answers} == {"duplicate"}
    now = house.gallery.identities(limit=100)
    house.close()
    again = House(tmp_path / "data", now=9000.0, hot_window_s=1e6)
    assert again.gallery.identities(limit=100) == now
    again.send(people.sighting(0, at=9000))
    again.settle()
    assert again.gallery.sightings(newest=True, limit=1).sightings[0].id == 10
    again.close()


def test_a_restored_journal_is_held_to_what_was_erased_and_dropped_since(tmp_path: Path) -> None:
    data, now = tmp_path / "data", 100 * DAY_S + HOUR
    people, house = People(), House(tmp_path / "data", now=now)
    sent = walk(house, people)
    house.close()
    backup = (data / "journal.sqlite").read_bytes()
    house = House(data, now=now)
    house.send(late := people.sighting(7, at=5000))     # stored, and erased, after the backup
    house.settle()
    house.intake.erase(Selection(identity=2), "grace", "").result(30)
    house.intake.erase(Selection(seen_from=4000), "grace", "").result(30)
    house.close()
    (data / "journal.sqlite").write_bytes(backup)       # by hand, without a word
    for stale in data.glob("journal.sqlite-*"):
        stale.unlink()
    house = House(data, now=now)
    assert [s.identity for s in house.gallery.sightings(limit=100).sightings] == [1, 1, 1, 3, 3, 3]
    assert {a.result for a in house.send(*[s for s in sent if s.device == "gate"], late)} == {"duplicate"}
    assert not house.intake.upkeep.unfinished
    house.journal.keys.drop(100)
    house.close()
    (data / "journal.sqlite").write_bytes(backup)
    house = House(data, now=now)
    assert house.gallery.counts() == (0, 0)
    assert house.journal.count() == 0
    house.close()


def test_an_erasure_cut_short_is_finished_at_the_next_start_and_receipted_once(tmp_path: Path) -> None:
    house = House(tmp_path / "data")
    walk(house, People())
    house.close()
    journal = Journal(tmp_path / "data")
    Upkeep(journal, retention_h=1e6, clock=lambda: 2000.0).begin(Selection(identity=1), "grace", "")
    journal.close()             # as if it ended here, before anything was taken out
    for _ in range(2):
        journal = Journal(tmp_path / "data")
        assert journal.count() == 6     # before anybody could ask
        upkeep = Upkeep(journal, retention_h=1e6, clock=lambda: 2000.0)
        upkeep.start()
        assert [r.sightings for r in Erasures(journal.keys.folder).receipts()] == [3]
        journal.close()


def test_erasing_all_of_a_day_that_is_over_ends_its_key_and_todays_goes_on(tmp_path: Path) -> None:
    people, now = People(), [100 * DAY_S]
    journal = Journal(tmp_path)
    upkeep = Upkeep(journal, retention_h=1000, clock=lambda: now[0])
    for day in (98, 99, 100):
        journal.append([Arrival("gate", [people.sighting(1, at=10 * day)], day * DAY_S)])
    upkeep.begin(Selection(device="gate", seen_to=985.0), "grace", "")
    upkeep.begin(Selection(device="gate"), "grace", "")
    first, second = upkeep.finish()
    assert (first.days_ended, second.days_ended) == ([day_name(98)], [day_name(99)])
    assert journal.keys.days() == {100}
    journal.close()


def test_receipts_are_a_chain_in_which_none_can_be_changed_or_left_out(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    people = People()
    journal.append([Arrival("gate", [people.sighting(n, at=10 * n) for n in range(3)], 0.0)])
    upkeep = Upkeep(journal, retention_h=1000, clock=lambda: 50.0)
    for number in (1, 2, 3):
        upkeep.begin(Selection(seen_from=10.0 * number), "grace", f"letter {number}")
        upkeep.finish()
    lines = (tmp_path / "keys" / "receipts.jsonl").read_bytes().splitlines(keepends=True)
    assert verified(tmp_path / "keys") == 3
    for number, left in ((2, [lines[0], lines[2]]), (1, lines[1:]), (2, [lines[0], b"{}\n", lines[2]]),
                         (2, [lines[0].replace(b"letter 1", b"letter 4"), *lines[1:]])):
        (tmp_path / "keys" / "receipts.jsonl").write_bytes(b"".join(left))
        with pytest.raises(Unaccounted, match=f"expected receipt {number} to follow"):
            verified(tmp_path / "keys")
    assert b'"sightings":2' in lines[0]     # nothing of what was erased: counts, times, who asked and why
    assert not any(word in b"".join(lines) for word in (SPOOL.encode(), b"gate", b"north"))
    journal.close()


def test_entries_of_the_list_are_forgotten_once_retention_has_passed_over_their_days(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append([Arrival("gate", [People().sighting(1, at=10)], 0.0)])
    upkeep = Upkeep(journal, retention_h=1, clock=lambda: 50.0)
    upkeep.begin(Selection(device="gate"), "grace", "")
    upkeep.finish()
    for now, left in ((HOUR + PASS_S, 1), (DAY_S + HOUR - 1, 1), (DAY_S + HOUR + PASS_S, 0)):
        upkeep.step(now)
        assert len(Erasures(journal.keys.folder).entries) == left
    assert len(Erasures(journal.keys.folder).receipts()) == 1
    journal.close()


@pytest.mark.parametrize(("what", "says"), [
    (Selection(), "expected an identity, a device, a camera or a time, found none"),
    (Selection(camera="north"), "expected the device of the camera"),
    (Selection(seen_from=5.0, seen_to=4.0), "expected a time that ends after it begins"),
    (Selection(device="gate", camera="north", seen_from=4.0, seen_to=4.0), "")])
def test_what_nobody_can_tell_the_meaning_of_is_said_so(what: Selection, says: str) -> None:
    assert says in what.fault()
    assert bool(says) == bool(what.fault())


def test_a_reader_that_holds_the_log_is_told_of_until_it_ends(tmp_path: Path) -> None:
    house = House(tmp_path / "data")
    house.journal._db.execute("PRAGMA busy_timeout=10")
    walk(house, People())
    before = sealed_of(house.journal)
    reader = sqlite3.connect(house.journal.path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM sighting").fetchone()      # as a backup does
    assert not house.intake.erase(Selection(identity=1), "grace", "").result(30).log_emptied
    assert "may still hold" in house.intake.upkeep.view.trouble
    assert holders(tmp_path, before[1])
    reader.execute("COMMIT")
    reader.close()
    house.now += PASS_S + 11
    house.settle()
    house.settle()
    assert house.intake.upkeep.view.trouble == ""
    assert not holders(tmp_path, before[1])
    house.close()


def test_missing_keys_are_one_clear_sentence_and_days_lost_for_good_can_be_given_up(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for day in (5, 6):
        journal.append([Arrival("gate", [People(day).sighting(1, at=day, sequence=day)], day * DAY_S)])
    journal.close()
    (tmp_path / "keys" / "day-1970-01-06.key").unlink()
    with pytest.raises(ConfigError, match=r"expected the keys of 1970-01-06, found none in .*keys; put them back"):
        Journal(tmp_path)
    (tmp_path / "keys" / "dropped").write_text("1970-01-06\n")
    journal = Journal(tmp_path)
    assert [record.sequence for record, _ in journal.sightings(FINGERPRINT, DIMENSION, since=0, most=9)] == [6]
    journal.close()


def test_what_waits_for_its_turn_is_matched_before_and_after_an_erasure(tmp_path: Path) -> None:
    people, house = People(), House(tmp_path / "data")
    futures = []
    for number in range(40):
        each = people.sighting(number % 4, at=100.0 * number, camera="ab"[number % 2])
        futures.append(house.intake.offer(Arrival("gate", [each], house.now)))
        if number % 10 == 9:
            futures.append(house.intake.erase(Selection(seen_to=100.0 * number - 500), "grace", ""))  # type: ignore[arg-type]
    for future in futures:
        future.result(30)
    house.settle()
    assert [s.id for s in house.gallery.sightings(limit=100).sightings] == list(range(36, 41))
    live = house.gallery.identities(limit=100)
    house.close()
    again = House(tmp_path / "data")
    assert again.gallery.identities(limit=100) == live
    again.close()


def test_vectors_of_a_day_are_equal_though_the_clock_steps_back_over_midnight(tmp_path: Path) -> None:
    people = People()
    journal = Journal(tmp_path)
    vectors = []
    for at in (10.5 * DAY_S, 9.5 * DAY_S, 10.6 * DAY_S):
        each = people.sighting(1, at=at)
        vectors.append(each.vector.astype(np.float16))
        journal.append([Arrival("gate", [structs.replace(each)], at)])
    found = [vector for _, vector in journal.sightings(FINGERPRINT, DIMENSION, since=0, most=9)]
    assert all((a == b).all() for a, b in zip(vectors, found, strict=True))
    assert journal.days() == [9, 10]
    journal.close()
