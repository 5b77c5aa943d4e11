"""What identities did by themselves is told with when, from which number to which and why, and after a restart."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cmnas_edge.calibration import PAIRS, Pair
from cmnas_edge.collector import views
from cmnas_edge.collector.changes import MOST, Change, Changes
from cmnas_edge.collector.matching.held import Held
from cmnas_edge.collector.matching.identity import Link
from cmnas_edge.collector.telling import Telling
from tests.collector.house import House
from tests.collector.people import F32, FINGERPRINT, Model, People

ASKED = views.ChangesAsked()


def see(house: House, people: People, camera: str, tracklet: int, start: float, vector: F32, *, until: float = 2.0
        ) -> None:
    house.now += 1
    house.send(people.sighting(0, at=start, camera=camera, tracklet=tracklet, vector=vector, lasting=until))
    house.settle()


def become_one(house: House, people: People) -> None:
    """Somebody is seen well, then badly elsewhere, which opens another; and better and better until the two are one."""
    blurred = people.vector(1) + 1.6 * people.vector(7)
    see(house, people, "north", 1, 1000, people.vector(1))
    see(house, people, "south", 1, 1010, (blurred / np.linalg.norm(blurred)).astype(np.float32))
    for number in range(3, 9):
        see(house, people, "south", 1, 1000 + 10 * number, people.vector(1))


def part(house: House, people: People) -> None:
    """Two are taken for one, until a late report shows that they stood there together."""
    see(house, people, "east", 1, 1500, people.vector(11))
    see(house, people, "west", 9, 1500, people.vector(12))
    see(house, people, "east", 2, 1503, people.vector(11), until=1)
    see(house, people, "east", 1, 1503, people.vector(11))


def test_what_changed_by_itself_is_told_newest_first_with_when_and_why_and_stays_over_a_restart(tmp_path: Path) -> None:
    house, people = House(tmp_path / "data"), People()
    become_one(house, people)
    part(house, people)
    links = [link for link in house.journal.links(0) if link.rule in ("merged", "parted")]
    told = house.gallery.changes(ASKED).changes
    assert [(one.kind, one.was, one.became, one.tracklets, one.identity) for one in told] == [
        ("parted", 3, 5, [11], 5), ("merged", 2, 1, [2], 1)]
    assert [one.at for one in told] == [house.now, links[0].made_at]
    assert links[0].made_at is not None
    assert 2003.0 <= links[0].made_at <= 2008.0
    for one, link in zip(told, reversed(links), strict=True):
        assert (one.score, one.threshold, one.pair, one.probability, one.against) == (
            link.score, link.threshold, link.pair, link.probability, link.against)
    assert told[1].score is not None
    assert told[1].against == 1
    assert not told[1].suggestion
    assert [one.kind for one in house.gallery.changes(views.ChangesAsked(limit=1)).changes] == ["parted"]
    assert [one.kind for one in house.gallery.changes(views.ChangesAsked(identity=1)).changes] == ["merged"]
    now = house.now
    house.close()
    again = House(tmp_path / "data", now=now)
    assert again.gallery.changes(ASKED).changes == told
    again.close()


def test_a_number_that_became_part_of_another_says_of_which(house: House) -> None:
    become_one(house, People())
    answer = house.ask("GET", "/v1/identities/2")
    assert answer.status_code == 404
    assert answer.json()["error"].endswith("it became part of 1")
    assert house.ask("GET", "/v1/identities/77").json()["error"].endswith("it may be part of another by now")


def test_a_repair_is_a_change_too_with_the_time_it_was_made(house: House) -> None:
    identities, people = house.gallery._identities, People()
    identities._merge = lambda *_: []   # type: ignore[method-assign]  # as if there were no time
    become_one(house, people)
    del identities._merge
    assert house.gallery.changes(ASKED).changes == []
    links = house.gallery.repair(10, 7000.0)
    assert [link.made_at for link in links] == [7000.0]
    (change,) = house.gallery.changes(ASKED).changes
    assert (change.at, change.kind, change.was, change.became) == (7000.0, "merged", 2, 1)


def test_what_is_about_nobody_who_is_left_is_forgotten(house: House) -> None:
    people = People()
    become_one(house, people)
    part(house, people)
    house.gallery.expire(2008.5, 10_000)    # the first two left
    assert [one.kind for one in house.gallery.changes(ASKED).changes] == ["parted"]
    house.gallery.expire(9000.0, 10_000)
    assert house.gallery.changes(ASKED).changes == []


def test_a_change_across_lights_by_drawn_peoples_threshold_is_a_suggestion_until_somebody_confirms_it() -> None:
    held = Held()
    telling = Telling({FINGERPRINT: Model()}, held)     # type: ignore[dict-item]  # drawn people

    def suggestion(pair: Pair) -> bool:
        link = Link(9, 4, 1, "merged", 0.8, 0.6, pair, 7, 0.9, FINGERPRINT, 5.0)
        return telling.change(Change(link, 2, [4]), 1).suggestion

    assert [suggestion(pair) for pair in PAIRS] == [False, False, True]
    held.join(1, [4, 7])
    assert not suggestion("visible-infrared")


def test_tracklets_that_moved_together_are_one_change_and_memory_has_an_end() -> None:
    changes = Changes()
    decided = {number: Link(number, number, 2, "opened") for number in range(1, 6)}
    changes.note([Link(9, number, 1, "merged", 0.8, 0.7, "visible-visible", 7, 0.9, None, 5.0) for number in (1, 2, 3)],
                 decided)
    changes.note([Link(9, 4, 2, "tracklet"), Link(9, 5, 2, "parted", made_at=6.0), Link(9, 4, 3, "parted", made_at=6.0),
                  Link(9, 4, 1, "merged", made_at=6.0)], decided)
    told = changes.newest(10)
    # One that left and came back to where it was did not change; one that went on from where it came to, twice.
    assert [(one.link.rule, one.was, one.link.identity, one.tracklets) for one in told] == [
        ("merged", 3, 1, [4]), ("parted", 2, 3, [4]), ("merged", 2, 1, [1, 2, 3])]
    for number in range(MOST + 10):
        changes.note([Link(9, 1, number, "merged", made_at=float(number))], {1: Link(9, 1, number + 1, "merged")})
    assert len(changes.newest(10 * MOST)) == MOST
