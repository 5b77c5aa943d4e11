"""A running collector says whether its calibration still holds here, as the command does of the journal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.calibration import PAIRS
from cmnas_edge.calibration.fit import Scores
from cmnas_edge.collector.drifts import ENOUGH, Drifts, Held, held_against
from cmnas_edge.collector.overviews import Drifted
from cmnas_edge.collector.views import DecisionAsked
from cmnas_edge.collector.witnesses import read, said, witnessed
from tests.calibrations import calibration
from tests.collector.house import House
from tests.collector.people import DIMENSION, FINGERPRINT, People

NOBODY = Scores(np.zeros(0), np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 2), np.int64))


def part(drifts: Drifts, of: str, pair: str = "visible-visible") -> Drifted:
    (found,) = [each for each in drifts.look().parts if (each.pair, each.of) == (pair, of)]
    return found


def together(house: House, people: People, who: range, *, at: float, camera: str = "north") -> None:
    for person in who:
        house.send(people.sighting(person, at=at + person / 100, camera=camera, lasting=20.0))
    house.settle()


def test_strangers_in_view_together_who_look_alike_say_that_it_holds_no_more(house: House) -> None:
    alike = People(3, noise=0.2)
    vector = alike.vector(1)
    drifts = Drifts(house.gallery)
    assert part(drifts, "strangers").holds == "too few"
    assert part(drifts, "strangers").wrong is None
    house.send(*[alike.sighting(n, at=1000.0 + n / 10, lasting=20.0, vector=vector) for n in range(6)])
    house.settle()
    found = part(Drifts(house.gallery), "strangers")
    assert (found.count, found.people, found.wrong, found.wrong_then, found.holds) == (15, 6, 1.0, 1e-3, "no")


def test_enough_strangers_who_do_not_say_that_it_holds(house: House) -> None:
    people = People(3, noise=0.2)
    together(house, people, range(48), at=1000.0)
    found = part(Drifts(house.gallery), "strangers")
    assert found.count == 48 * 47 // 2
    assert found.holds == "too few"         # a rate of one in a thousand, doubled, would show but two
    together(house, people, range(100, 201), at=1500.0)
    found = part(Drifts(house.gallery), "strangers")
    assert found.count > 5000
    assert found.wrong is not None
    assert (found.holds == "no") == (found.wrong >= 2e-3)


def test_it_says_what_the_command_finds_in_the_journal(house: House) -> None:
    people = People(5, noise=0.5)
    for visit, camera in enumerate(("north", "south")):
        together(house, people, range(12), at=1000.0 + 100 * visit, camera=camera)
    for who in house.gallery.identities(limit=100).identities:
        if len(who.tracklets) == 2:
            house.intake.decide(DecisionAsked(kind="confirm", identities=[who.identity], reason="seen"), "ada").result()
    known = witnessed(read(house.journal, FINGERPRINT, DIMENSION, since=0.0, most=10_000),
                      said(house.journal.decisions()))
    shown = Drifts(house.gallery).look()
    assert (shown.people, shown.tracklets) == (known.people, 24)
    assert known.people > 5
    for found, there in zip(shown.parts, held_against(house.gallery.model.calibration, known.scores), strict=True):
        assert (found.pair, found.count, found.people) == (there.pair, len(there.now), there.people)
        assert found.wrong == (pytest.approx(there.wrong) if found.count else None)
    assert part(Drifts(house.gallery), "one person").count == known.people


def test_it_looks_again_only_when_something_changed_and_not_all_the_time(house: House) -> None:
    now, people = 0.0, People(3)
    drifts = Drifts(house.gallery, clock=lambda: now)
    first = drifts.look()
    now = 1e6
    assert drifts.look() is first           # nothing changed
    together(house, people, range(3), at=1000.0)
    changed = drifts.look()
    assert changed.tracklets == 3
    together(house, people, range(3, 6), at=1000.0)
    now += 29
    assert drifts.look() is changed
    now += 2
    assert drifts.look().tracklets == 6


def test_what_left_the_window_while_it_was_looked_at_is_left_out(house: House) -> None:
    together(house, People(3), range(4), at=1000.0)
    drifts, means = Drifts(house.gallery), house.gallery.means

    def gone(numbers: list[int]) -> object:
        house.gallery.expire(house.now + 1, 10)
        return means(numbers)

    house.gallery.means = gone  # type: ignore[method-assign, assignment]
    assert part(drifts, "strangers").count == 0


@given(st.integers(1, 30_000), st.floats(1e-4, 0.5), st.floats(0, 1))
def test_a_promise_is_broken_by_twice_as_many_and_never_by_a_few(count: int, then: float, share: float) -> None:
    wrong = round(share * count) / count
    held = Held("visible-visible", True, np.zeros(count), 5, None, wrong, then).holds
    if held == "no":
        assert wrong * count >= ENOUGH
        assert wrong >= 2 * then
    elif held == "yes":
        assert wrong < 2 * then or wrong * count < ENOUGH
        assert 2 * then * count >= ENOUGH
    else:
        assert 2 * then * count < ENOUGH


def test_scores_are_wrong_on_their_own_side_of_the_threshold() -> None:
    judged = calibration()      # from 0.7 on
    found = held_against(judged, dict.fromkeys(PAIRS, NOBODY) | {"infrared-infrared": Scores(
        np.array([0.8, 0.6, 0.9]), np.arange(3), np.array([0.1, 0.7, 0.2, 0.3]), np.arange(8).reshape(4, 2))})
    assert [(one.pair, one.strangers, one.wrong, one.wrong_then) for one in found][2:4] == [
        ("infrared-infrared", True, 0.25, 1e-3), ("infrared-infrared", False, pytest.approx(1 / 3), 0.3)]
    assert [one.drift is None for one in found] == [True, True, False, False, True, True]
