"""Tracklets become probable people: by threshold, never against cannot-link, whatever the order."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from contextlib import nullcontext

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.calibration import Calibration
from cmnas_edge.collector.matching.identity import Identities, Link
from cmnas_edge.collector.matching.tracklet import TRACKLET_SILENCE_S, cannot_link
from cmnas_edge.embedding import MODALITIES, Modality
from tests.collector.people import DIMENSION, F32, THRESHOLDS, Model, People

CALIBRATION: Calibration = Model().calibration


class Seen(msgspec.Struct, frozen=True):
    """A sighting as identity sees it."""

    id: int
    camera: str
    tracklet: int
    seen_from: float
    seen_at: float
    modality: Modality = "visible"
    device: str = "gate"
    spool: str = "00000000000000aa"
    transform: int = 0


def fresh() -> Identities:
    return Identities(DIMENSION, CALIBRATION)


def groups(identities: Identities) -> set[frozenset[int]]:
    return {frozenset(t.opened_by for t in members) for _, members in identities}


def forbidden(identities: Identities) -> list[tuple[int, int]]:
    return [(a.opened_by, b.opened_by) for _, members in identities
            for a, b in itertools.combinations(members, 2) if cannot_link(a, b)]


looks = st.tuples(st.integers(0, 2), st.sampled_from(["north", "south"]), st.integers(1, 4), st.integers(0, 40),
                  st.integers(0, 8), st.sampled_from(MODALITIES))


def sightings(drawn: Iterable[tuple[int, str, int, int, int, Modality]]) -> list[tuple[Seen, F32]]:
    people = People(noise=0.6)
    return [(Seen(number, camera, tracklet, float(start), float(start + lasting), modality),
             people.vector(person, modality))
            for number, (person, camera, tracklet, start, lasting, modality) in enumerate(drawn, 1)]


@pytest.mark.prove
@given(st.lists(looks, max_size=40))
def test_one_camera_never_sees_one_identity_twice_at_one_time(
        drawn: list[tuple[int, str, int, int, int, Modality]]) -> None:
    identities = fresh()
    for seen, vector in sightings(drawn):
        identities.add(seen, vector)
        assert forbidden(identities) == []


@pytest.mark.prove
@given(st.lists(looks, max_size=40))
def test_every_sighting_has_one_link_first_and_every_decision_names_what_decided(
        drawn: list[tuple[int, str, int, int, int, Modality]]) -> None:
    identities = fresh()
    identity_of: dict[int, int] = {}
    for seen, vector in sightings(drawn):
        links = identities.add(seen, vector)
        own = links[0]
        assert own.sighting == seen.id
        assert own.rule in ("tracklet", "joined", "opened", "unsure")
        for link in links:
            if link.rule != "tracklet":
                identity_of[link.opened_by] = link.identity
            if link.rule in ("joined", "merged"):
                assert link.score is not None
                assert link.threshold is not None
                assert link.score >= link.threshold
                assert link.pair in THRESHOLDS
                assert link.against is not None
        assert {t.opened_by: number for number, members in identities for t in members} == identity_of


@pytest.mark.prove
@given(st.lists(looks, max_size=40), st.integers(0, 40), st.booleans())
def test_links_give_back_the_identities_exactly_and_the_future_is_the_same(
        drawn: list[tuple[int, str, int, int, int, Modality]], cut: int, together: bool) -> None:
    made, restored = fresh(), Identities(DIMENSION, CALIBRATION, last=0)
    seen = sightings(drawn)
    links: list[Link] = []
    for item in seen[:cut]:
        links.extend(made.add(*item))
    decided = {link.opened_by: link.identity for link in links if link.rule != "tracklet"}
    opening = {link.sighting: link.opened_by for link in links if link.rule not in ("merged", "parted")}
    restored = Identities(DIMENSION, CALIBRATION, last=max((link.identity for link in links), default=0))
    with restored.restoring() if together else nullcontext():
        for item in seen[:cut]:
            restored.restore(*item, decided[opening[item[0].id]])
    assert groups(made) == groups(restored)
    assert sorted(made.legs(), key=str) == sorted(restored.legs(), key=str)
    for item in seen[cut:]:
        assert rounded(made.add(*item)) == rounded(restored.add(*item))


def rounded(links: list[Link]) -> list[Link]:
    """To 1e-5: where identities stand in another order, sums differ in their last digits."""
    return [msgspec.structs.replace(link, **{name: None if (value := getattr(link, name)) is None else round(value, 5)
                                             for name in ("score", "threshold", "probability")}) for link in links]


def test_people_seen_by_day_and_night_become_one_identity_each_in_any_order_of_cameras() -> None:
    looks = [(person, camera, modality, 100.0 * visit + 10 * person)
             for person in range(4) for visit, (camera, modality) in enumerate(
                 [("north", "visible"), ("south", "infrared"), ("north", "visible"), ("east", "infrared")])]
    for order in (looks, sorted(looks, key=lambda x: x[1]), sorted(looks, key=lambda x: -x[3])):
        people, identities, owner = People(), fresh(), {}
        for number, (person, camera, modality, at) in enumerate(order, 1):
            owner[number] = person
            identities.add(Seen(number, camera, number, at, at + 2, modality), people.vector(person, modality))
        assert groups(identities) == {frozenset(n for n, p in owner.items() if p == person) for person in range(4)}


def test_a_stranger_opens_an_identity_and_says_how_near_the_nearest_was() -> None:
    people, identities = People(), fresh()
    (first,) = identities.add(Seen(1, "north", 1, 0, 2), people.vector(1))
    (second,) = identities.add(Seen(2, "north", 2, 10, 12), people.vector(2))
    assert (first.rule, first.score) == ("opened", None)
    assert second.rule == "opened"
    assert second.identity != first.identity
    assert second.score is not None
    assert second.threshold is not None
    assert second.score < second.threshold


def test_a_sighting_of_a_known_tracklet_stays_with_it_even_if_it_looks_like_another() -> None:
    people, identities = People(), fresh()
    identities.add(Seen(1, "north", 1, 0, 2), people.vector(1))
    identities.add(Seen(2, "north", 2, 0, 2), people.vector(2))
    (link,) = identities.add(Seen(3, "north", 1, 3, 5), people.vector(2))
    assert (link.rule, link.identity) == ("tracklet", 1)


@pytest.mark.parametrize("change", [{"modality": "infrared"}, {"seen_from": 9 + TRACKLET_SILENCE_S},
                                    {"spool": "00000000000000bb"}])
def test_a_tracklet_number_used_again_after_a_restart_or_a_switch_is_another_tracklet(
        change: dict[str, object]) -> None:
    people, identities = People(), fresh()
    identities.add(Seen(1, "north", 1, 0, 2), people.vector(1))
    later = msgspec.structs.replace(Seen(2, "north", 1, 5, 6 + TRACKLET_SILENCE_S), **change)
    assert identities.add(later, people.vector(2))[0].rule == "opened"


def test_an_overlap_found_out_later_parts_the_younger_tracklet_which_finds_its_own() -> None:
    people, identities = People(), fresh()
    identities.add(Seen(1, "north", 1, 0, 2), people.vector(1))
    identities.add(Seen(2, "south", 9, 0, 2), people.vector(2))
    # Tracklet 2 begins after all that is known of tracklet 1, and happens to look like it at first.
    (joined,) = identities.add(Seen(3, "north", 2, 3, 4), people.vector(1))
    assert (joined.rule, joined.identity) == ("joined", 1)
    links = identities.add(Seen(4, "north", 1, 3, 5), people.vector(1))
    assert [(link.rule, link.opened_by) for link in links] == [("tracklet", 1), ("parted", 3)]
    assert groups(identities) == {frozenset({1}), frozenset({2}), frozenset({3})}
    assert links[1].identity == 3


def test_two_identities_become_one_when_a_better_look_shows_that_they_are() -> None:
    people, identities = People(), fresh()
    blurred = people.vector(1) + 1.6 * people.vector(7)
    identities.add(Seen(1, "north", 1, 0, 2), people.vector(1))
    opened = identities.add(Seen(2, "south", 1, 10, 12), (blurred / np.linalg.norm(blurred)).astype(np.float32))
    assert [link.rule for link in opened] == ["opened"]
    for number in range(3, 9):
        links = identities.add(Seen(number, "south", 1, 10.0 * number, 10.0 * number + 2), people.vector(1))
        if len(links) > 1:
            break
    assert [(link.rule, link.opened_by, link.identity) for link in links] == [("tracklet", 2, 2), ("merged", 2, 1)]
    assert groups(identities) == {frozenset({1, 2})}


def test_what_was_not_seen_at_first_is_repaired_later_and_the_older_number_stays() -> None:
    people, identities = People(), fresh()
    identities.add(Seen(1, "gate", 1, 0, 2), people.vector(5))      # whose turn comes, too
    away = (people.vector(1) + 2.2 * people.vector(7)) / 2.3
    identities.add(Seen(2, "north", 1, 0, 2), people.vector(1))
    identities.add(Seen(3, "south", 1, 10, 12), (away / np.linalg.norm(away)).astype(np.float32))
    number = 3
    while identities.tracklet(3).identity == 3 and number < 40:     # type: ignore[union-attr]
        number += 1
        identities._merge = lambda *_: []       # type: ignore[method-assign]  # as if there were no time
        identities.add(Seen(number, "south", 1, 2 * number, 2 * number + 2), people.vector(1))
        del identities._merge
        links = identities.repair(1)
    assert [(link.rule, link.opened_by, link.identity) for link in links] == [("merged", 3, 2)]
    assert identities.repair(5) == []


def test_a_merge_that_would_put_one_camera_in_two_places_is_not_made() -> None:
    people, identities = People(), fresh()
    for number, (camera, at) in enumerate([("north", 0), ("south", 100), ("north", 0)], 1):
        # Numbers 1 and 3 are seen by one camera at one time: twins.
        identities.add(Seen(number, camera, number, at, at + 2), people.vector(1))
    assert groups(identities) == {frozenset({1, 2}), frozenset({3})}


def test_one_alike_tracklet_among_many_is_not_enough() -> None:
    people, identities = People(noise=0.05), fresh()
    probe = people.vector(1)
    identities.add(Seen(1, "c1", 1, 0, 2), probe)
    # A second member, barely alike: 0.71 to the first, so the two are one identity.
    side = people.vector(2)
    side = side - probe * (side @ probe)
    side /= np.linalg.norm(side)
    identities.add(Seen(2, "c2", 2, 10, 12), (0.71 * probe + np.sqrt(1 - 0.71**2) * side).astype(np.float32))
    assert groups(identities) == {frozenset({1, 2})}
    other = (0.72 * probe - np.sqrt(1 - 0.72**2) * side).astype(np.float32)     # 0.72 to one, about 0 to the other
    (link,) = identities.add(Seen(3, "c3", 3, 20, 22), other)
    assert link.rule == "opened"


def test_of_two_who_look_alike_nobody_is_chosen_and_both_are_named() -> None:
    identities, axes = Identities(64, CALIBRATION), np.eye(64, dtype=np.float32)
    for number in (0, 1):
        identities.add(Seen(number + 1, f"c{number}", 1, 0, 2), axes[number])
    # 0.71 to one, 0.70 to the other: near enough to either, and hardly nearer to one.
    probe = (0.71 * axes[0] + 0.70 * axes[1]) / np.hypot(0.71, 0.70)
    (link,) = identities.add(Seen(3, "z", 1, 10, 12), probe.astype(np.float32))
    assert link.rule == "unsure"
    assert [one.identity for one in identities.suggest(link.identity)] == [1, 2]
    clear = 0.9 * axes[1] + np.sqrt(1 - 0.9**2) * axes[2]
    (link,) = identities.add(Seen(4, "w", 1, 20, 22), clear.astype(np.float32))
    assert (link.rule, link.against) == ("joined", 2)


def test_among_many_people_a_score_has_to_be_higher() -> None:
    needed = []
    for others in (2, 200):
        identities, axes = Identities(256, CALIBRATION), np.eye(256, dtype=np.float32)
        for number in range(others):
            identities.add(Seen(number + 1, f"c{number}", 1, 0, 2), axes[number])
        probe = 0.69 * axes[0] + np.sqrt(1 - 0.69**2) * axes[255]
        link = identities.add(Seen(others + 1, "z", 1, 10, 12), probe.astype(np.float32))[0]
        assert link.threshold is not None
        needed.append((link.rule, link.threshold))
    (few, low), (many, high) = needed
    assert (few, many) == ("joined", "unsure")
    assert low < 0.69 < high


def test_the_own_modality_decides_where_there_is_any() -> None:
    people, identities = People(noise=0.02, gap=0.2), fresh()
    identities.add(Seen(1, "c1", 1, 0, 2, "visible"), people.vector(1, "visible"))
    identities.add(Seen(2, "c2", 2, 10, 12, "infrared"), people.vector(1, "infrared"))
    assert groups(identities) == {frozenset({1, 2})}
    (link,) = identities.add(Seen(3, "c3", 3, 20, 22, "infrared"), people.vector(1, "infrared"))
    assert (link.pair, link.against, link.rule) == ("infrared-infrared", 2, "joined")
    # Like the visible one (0.75, beyond what visible to infrared asks), unlike the infrared one.
    visible, infrared = people.vector(1, "visible"), people.vector(1, "infrared")
    away = visible - infrared * (visible @ infrared) / (infrared @ infrared)
    probe = 0.62 * infrared + np.sqrt(1 - 0.62**2) * away / np.linalg.norm(away)
    assert visible @ probe > THRESHOLDS["visible-infrared"].score
    assert infrared @ probe < THRESHOLDS["infrared-infrared"].score
    (link,) = identities.add(Seen(4, "c4", 4, 30, 32, "infrared"), probe.astype(np.float32))
    assert link.rule in ("opened", "unsure")


def test_vectors_turned_with_different_keys_are_never_compared() -> None:
    people, identities = People(), fresh()
    identities.add(Seen(1, "north", 1, 0, 2), people.vector(1))
    (link,) = identities.add(Seen(2, "south", 1, 10, 12, transform=7), people.vector(1))
    assert (link.rule, link.score) == ("opened", None)


def test_an_identity_ends_with_its_last_tracklet_and_its_number_is_not_used_again() -> None:
    people, identities = People(), fresh()
    identities.add(Seen(1, "north", 1, 0, 2), people.vector(1))
    identities.add(Seen(2, "north", 2, 10, 12), people.vector(2))
    identities.add(Seen(3, "north", 1, 20, 22), people.vector(1))
    assert [t.opened_by for t in identities.expire(3)] == [2]
    assert groups(identities) == {frozenset({1})}
    assert identities.add(Seen(4, "north", 3, 30, 32), people.vector(2))[0].identity == 3
