"""What another threshold would do, against the links of a gallery looked at one by one."""

from __future__ import annotations

import pytest

from cmnas_edge.calibration import PAIRS, Pair
from cmnas_edge.collector import glance
from cmnas_edge.collector.overviews import MovedAsked
from tests.collector.house import House
from tests.collector.people import THRESHOLDS, Model, People


@pytest.fixture
def seen(house: House) -> House:
    """Thirty people whose looks vary, before two cameras of either light."""
    people = People(4, noise=0.7, gap=0.6)
    for visit, (camera, light) in enumerate([("north", "visible"), ("south", "infrared"), ("east", "visible"),
                                             ("west", "infrared")]):
        house.send(*[people.sighting(person, at=1000.0 + 200 * visit + 5 * person, camera=camera, modality=light)  # type: ignore[arg-type]
                     for person in range(30)])
    house.settle()
    return house


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("by", [-0.3, -0.05, 0.0, 0.05, 0.2])
def test_a_link_changes_when_what_it_needed_moves_past_its_score(seen: House, pair: Pair, by: float) -> None:
    now = THRESHOLDS[pair].score
    told = glance.moved(seen.gallery, MovedAsked(pair, now + by, 100))
    tracklets = [t for who in seen.gallery.identities(limit=1000).identities for t in who.tracklets if t.pair == pair]
    assert tracklets
    scored = [(t.id, t.rule, t.score, t.threshold) for t in tracklets
              if t.score is not None and t.threshold is not None]
    part = {one for one, rule, score, needed in scored
            if rule in ("joined", "merged") and score < needed + by}
    join = {one for one, rule, score, needed in scored
            if rule in ("opened", "unsure") and needed + by <= score < needed}
    parted = {t.id for t in tracklets if t.rule == "parted"}    # either way; there may be none
    assert {one.id for one in told.links} - parted == (part | join)
    assert abs(told.would_part - len(part)) <= len(parted)
    assert abs(told.would_join - len(join)) <= len(parted)
    if by == 0.0:
        assert (told.would_part, told.would_join) == (0, 0)


def test_the_site_tells_ways_learned_from_who_was_surely_the_same_and_how_far_they_count(house: House) -> None:
    people = People(4, noise=0.2)
    assert glance.site(house.gallery, house.now).learned == []
    for visit, camera in enumerate(("north", "south")):
        house.send(*[people.sighting(person, at=1000.0 + 60 * person + 20 * visit, camera=camera)
                     for person in range(8)])
        house.settle()
    (way,) = [way for way in glance.site(house.gallery, house.now).learned if way.from_camera == "north"]
    assert (way.from_device, way.to_camera) == ("gate", "south")
    assert 5 <= way.count <= 8
    assert way.weight == way.count / (way.count + 3)
    assert way.soonest_s <= way.median_s <= way.latest_s
    assert way.median_s == pytest.approx(18.0, rel=0.2)
    assert way.impossible_s is None
    house.now += 4000
    house.gallery.expire(house.now - 3600, 10_000)
    assert glance.site(house.gallery, house.now).learned == []      # what left the window teaches nothing


def test_the_calibration_shown_is_the_one_in_effect() -> None:
    shown = glance.calibration(Model())
    assert [(each.pair, each.threshold, each.scale) for each in shown.pairs] == [
        (name, THRESHOLDS[name], None) for name in PAIRS]
    assert [each.only_suggests for each in shown.pairs] == [False, False, True]
