"""The intake answers what is on the disk, keeps what it decided, and lets go of what is old."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import pytest
from msgspec import structs

from cmnas_edge.collector.matching.identity import Link
from cmnas_edge.collector.matching.index import F32
from cmnas_edge.collector.store.erasures import Selection
from cmnas_edge.collector.store.journal import Arrival, Record
from cmnas_edge.collector.views import Query
from cmnas_edge.errors import DiskFull, Transient
from cmnas_edge.sighting import Sighting
from cmnas_edge.wire import encode_batch
from tests.collector.house import House
from tests.collector.people import Model, People

people = People()


def listing(house: House) -> list[tuple[int, int, str]]:
    return [(s.id, s.identity, s.rule) for s in house.gallery.sightings(limit=1000).sightings]


def test_a_restart_shows_the_same_people_with_the_same_reasons(tmp_path: Path) -> None:
    house = House(tmp_path / "data")
    walk = [people.sighting(n % 5, at=1000 + 7.0 * n, camera="ab"[n % 2], modality=("visible", "infrared")[n % 3 == 0],
                            tracklet=n // 2) for n in range(40)]
    for at in range(0, 40, 8):
        house.send(*walk[at:at + 8])
    house.settle()
    before, people_before = listing(house), house.gallery.identities(limit=1000)
    house.close()
    again = House(tmp_path / "data")
    assert listing(again) == before
    assert again.gallery.identities(limit=1000) == people_before
    again.close()


def test_sightings_stored_but_not_yet_linked_are_linked_at_the_next_start(tmp_path: Path) -> None:
    house = House(tmp_path / "data")
    house.send(people.sighting(1, at=1000), people.sighting(2, at=1010))
    house.settle()
    # As if killed between the commit and the decisions.
    house.intake.stop()
    house.journal.append([Arrival("gate", [people.sighting(1, at=1050, camera="south"),
                                           people.sighting(3, at=1060, camera="south")], house.now)])
    house.journal.close()
    for _ in range(2):
        again = House(tmp_path / "data")
        again.settle()
        assert listing(again) == [(1, 1, "opened"), (2, 2, "opened"), (3, 1, "joined"), (4, 3, "opened")]
        again.close()


def test_a_stop_that_comes_while_it_decides_leaves_no_decision_unwritten(tmp_path: Path) -> None:
    house = House(tmp_path / "data")
    decide, deciding, stopping = house.gallery.add, threading.Event(), threading.Event()

    def decide_slowly(record: Record, vector: F32) -> list[Link]:
        deciding.set()
        assert stopping.wait(10)
        return decide(record, vector)

    house.gallery.add = decide_slowly  # type: ignore[method-assign]
    house.intake.offer(Arrival("gate", [people.sighting(1, at=1000)], house.now)).result(10)
    assert deciding.wait(10)
    stopper = threading.Thread(target=house.intake.stop)
    stopper.start()
    while stopper.is_alive() and not house.intake._queue.qsize():
        stopper.join(0.001)
    stopping.set()
    stopper.join(10)
    assert [link.rule for link in house.journal.links(0)] == ["opened"]
    house.journal.close()


def kill_before_linking(house: House, *sightings: Sighting) -> None:
    house.intake.stop()
    house.journal.append([Arrival("gate", list(sightings), house.now)])
    house.journal.close()


def test_a_sighting_never_linked_is_linked_though_another_bundle_made_links_since(tmp_path: Path) -> None:
    other = Model(fingerprint=bytes(range(32)))
    house = House(tmp_path / "data")
    house.send(people.sighting(1, at=1000))
    house.settle()
    kill_before_linking(house, people.sighting(1, at=1050, camera="south"))
    swapped = House(tmp_path / "data", model=other)
    swapped.send(structs.replace(people.sighting(2, at=1100), fingerprint=other.fingerprint))
    swapped.settle()
    swapped.close()
    for _ in range(2):
        back = House(tmp_path / "data")
        back.settle()
        assert listing(back) == [(1, 1, "opened"), (2, 1, "joined")]
        back.close()


def test_a_sighting_never_linked_is_linked_when_the_window_is_raised_beyond_it(tmp_path: Path) -> None:
    house = House(tmp_path / "data", hot_window_s=100.0)
    house.send(people.sighting(1, at=1000, tracklet=1))
    house.settle()
    kill_before_linking(house, people.sighting(1, at=1004, tracklet=1), people.sighting(2, at=1004, tracklet=2))
    # Received late, of the same tracklets in the footage, while what began them is outside the window.
    later = House(tmp_path / "data", now=3000.0, hot_window_s=100.0)
    later.send(people.sighting(1, at=1008, tracklet=1), people.sighting(2, at=1008, tracklet=2))
    later.settle()
    assert [row[0] for row in listing(later)] == [4, 5]
    later.close()
    seen = []
    for _ in range(2):
        raised = House(tmp_path / "data", now=3000.0, hot_window_s=10_000.0)
        raised.settle()
        seen.append((listing(raised), raised.gallery.identities()))
        assert [row[0] for row in listing(raised)] == [1, 2, 3, 4, 5]
        assert sum(who.sighting_count for who in raised.gallery.identities().identities) == 5
        raised.now += 20_000
        raised.intake._expired_at = 0
        raised.settle()
        raised.settle()
        assert raised.gallery.counts() == (0, 0)
        raised.close()
    assert seen[0] == seen[1]


def test_what_left_the_window_leaves_memory_whole_tracklets_at_a_time(tmp_path: Path) -> None:
    house = House(tmp_path / "data", hot_window_s=100.0)
    house.send(people.sighting(1, at=1000, tracklet=1), people.sighting(2, at=1000, tracklet=2, camera="south"))
    house.now += 60
    house.send(people.sighting(1, at=1010, tracklet=1))
    house.settle()
    house.now += 60
    house.settle()
    house.settle()
    assert [s.id for s in house.gallery.sightings().sightings] == [3]
    assert house.gallery.counts() == (1, 1)
    timeline = house.gallery.timeline(1)
    assert timeline is not None
    assert timeline.identity.sighting_count == 2
    assert house.gallery.timeline(2) is None
    assert house.journal.count() == 3
    # After a restart the tracklet still seen is whole again, and numbers go on.
    house.close()
    again = House(tmp_path / "data", now=house.now, hot_window_s=100.0)
    assert [s.id for s in again.gallery.sightings().sightings] == [1, 3]
    again.send(people.sighting(5, at=1200))
    again.settle()
    assert again.gallery.sightings().sightings[-1].identity == 3
    again.close()


def test_no_more_sightings_than_the_limit_stay_in_memory(tmp_path: Path) -> None:
    house = House(tmp_path / "data", hot_limit=10)
    house.send(*[people.sighting(n, at=1000 + 10 * n) for n in range(25)])
    house.settle()
    house.now += 11
    house.settle()
    house.settle()
    assert [s.id for s in house.gallery.sightings().sightings] == list(range(16, 26))
    house.close()


def test_links_that_could_not_be_written_are_written_with_the_next_commit(house: House) -> None:
    append, refused = house.journal.append, []

    def full_for_links(arrivals, links=()):  # type: ignore[no-untyped-def]
        links = list(links)
        if links and not refused:
            refused.append(len(links))
            raise DiskFull("journal: no room (test)")
        return append(arrivals, links)

    house.journal.append = full_for_links  # type: ignore[method-assign]
    house.send(people.sighting(1, at=10))
    with contextlib.suppress(DiskFull):     # it waits behind the links, or with them
        house.settle()
    assert refused == [1]
    house.send(people.sighting(1, at=100, camera="south"))
    house.settle()
    house.settle()
    assert [link.rule for link in house.journal.links(1)] == ["opened", "joined"]


def test_an_erasure_while_sightings_wait_to_be_matched_leaves_none_of_the_others_out(tmp_path: Path) -> None:
    house = House(tmp_path / "data")
    house.send(*[people.sighting(n, at=1000 + 10 * n) for n in range(3)])
    house.settle()
    house.intake._decide = lambda *_: None      # type: ignore[method-assign]  # as if it came to nothing for a while
    house.send(*[people.sighting(n, at=1200 + 10 * n, camera="south") for n in range(3)])
    receipt = house.intake.erase(Selection(seen_from=1005, seen_to=1215), "grace", "").result(30)
    assert receipt.sightings == 4
    del house.intake._decide
    house.settle()
    assert listing(house) == [(1, 1, "opened"), (6, 4, "opened")]
    (match,) = house.gallery.search(Query(sighting=6)).matches
    assert match.sighting.id == 1
    house.close()
    again = House(tmp_path / "data")
    assert listing(again) == [(1, 1, "opened"), (6, 4, "opened")]
    again.close()


def test_what_is_asked_finds_every_decision_made_before_it_in_the_journal(tmp_path: Path) -> None:
    house = House(tmp_path / "data")
    hold = threading.Event()
    house.intake.ask(lambda: hold.wait(30))
    house.intake.offer(Arrival("gate", [people.sighting(1, at=1000)], house.now))
    asked = house.intake.ask(lambda: [link.rule for link in house.journal.links(0)])
    later = house.intake.offer(Arrival("gate", [people.sighting(2, at=1010)], house.now))    # so that more waits
    hold.set()
    assert asked.result(30) == ["opened"]
    assert later.result(30) == [2]
    with pytest.raises(DiskFull):
        house.intake.ask(fails).result(30)
    house.settle()      # and goes on
    house.close()


def fails() -> None:
    raise DiskFull("no room (test)")


def test_a_bug_of_ours_answers_nobody_and_ends_the_process(house: House) -> None:
    ended = []
    house.intake._on_failure = lambda: ended.append(True)   # the process' own end, seen from here

    def broken(arrivals, links=()):  # type: ignore[no-untyped-def]
        raise AssertionError("a bug of ours")

    house.journal.append = broken  # type: ignore[method-assign]
    future = house.intake.offer(Arrival("gate", [people.sighting(1, at=10)], 5.0))
    with pytest.raises(Transient):
        future.result(10)
    house.intake.stop()
    assert ended == [True]
    assert isinstance(house.intake.failure, AssertionError)
    assert house.post(b"").status_code == 200       # an empty batch asks nothing of the journal
    with pytest.raises(Transient):
        house.intake.offer(Arrival("gate", [], 5.0))


def test_a_journal_as_large_as_it_may_be_still_decides_erases_and_lets_go(tmp_path: Path) -> None:
    people = People()
    house = House(tmp_path / "data", limit_mib=1, retention_h=1.0)
    stored = 0

    def batch() -> bytes:
        some = [people.sighting(number % 9, at=1000 + number % 900, tracklet=number)
                for number in range(stored, stored + 64)]
        return encode_batch(some)

    while house.post(batch()).status_code == 200:
        stored += 64
    assert stored > 64
    house.settle()      # whoever waits for that is told nothing of a full disk
    assert house.journal.count() == stored
    receipt = house.intake.erase(Selection(identity=1), "officer", "letter").result(30)
    assert receipt.sightings > 0
    house.now += 3 * 3600
    for _ in range(100):    # each turn lets go of some
        house.now += 11
        house.settle()
        if not house.journal.count():
            break
    assert not house.journal.count()
    assert house.post(batch()).status_code == 200
    house.close()
