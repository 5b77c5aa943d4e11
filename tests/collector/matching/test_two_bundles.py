"""Two bundles at once: never compared, and yet one person stays one identity from the one to the next."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.collector.matching.identity import Identities, Link
from cmnas_edge.embedding import MODALITIES, Modality
from tests.collector.matching.test_identity import Seen, forbidden, groups
from tests.collector.people import DIMENSION, F32, Model, People

# Of other lengths, so that a product of two of them cannot be computed: every law here is also that one.
OLD, NEW = Model(), Model(hashlib.sha256(b"the next").digest(), DIMENSION - 3)
PRINTS = (OLD.fingerprint, NEW.fingerprint)


class Told(NamedTuple):
    """What a camera tells of somebody by one bundle."""

    seen: Seen
    vector: F32
    fingerprint: bytes
    person: int = 0

    def to(self, identities: Identities) -> list[Link]:
        """Have it decided about."""
        return identities.add(self.seen, self.vector, self.fingerprint)


Look = tuple[int, str, int, int, int, Modality, str]
looks = st.tuples(st.integers(0, 2), st.sampled_from(["north", "south"]), st.integers(1, 4), st.integers(0, 40),
                  st.integers(0, 8), st.sampled_from(MODALITIES), st.sampled_from(["old", "new", "both", "swapped"]))


def accepting(*models: Model, last: int = 0) -> Identities:
    first, *also = models
    return Identities(first.dimension, first.calibration, also=[(one.dimension, one.calibration) for one in also],
                      last=last)


def told(drawn: list[Look], noise: float = 0.6) -> list[Told]:
    """Everything that cameras tell of some looks, each by the bundles it names, numbered in that order."""
    people = {OLD.fingerprint: People(noise=noise), NEW.fingerprint: People(1, noise=noise, dimension=NEW.dimension)}
    found: list[Told] = []
    for person, camera, tracklet, start, lasting, modality, by in drawn:
        for fingerprint in {"old": PRINTS[:1], "new": PRINTS[1:], "both": PRINTS, "swapped": PRINTS[::-1]}[by]:
            seen = Seen(len(found) + 1, camera, tracklet, float(start), float(start + lasting), modality)
            found.append(Told(seen, people[fingerprint].vector(person, modality), fingerprint, person))
    return found


def test_means_are_those_of_the_leading_bundle_and_of_whom_it_tells_alone() -> None:
    identities = accepting(OLD, NEW)
    told_by = told([(0, "north", 1, 0, 2, "visible", "old"), (1, "north", 2, 10, 2, "visible", "new"),
                    (2, "north", 3, 20, 2, "visible", "both")])
    for one in told_by:
        one.to(identities)
    there, means = identities.means([1, 2, 3, 99])
    assert there == [True, False, True, False]
    assert means.shape == (2, OLD.dimension)


def rounded(link: Link) -> Link:
    """Without the last digits, which depend on the order of a sum."""
    return msgspec.structs.replace(link, **{name: None if value is None else round(value, 5) for name, value in (
        ("score", link.score), ("threshold", link.threshold), ("probability", link.probability))})


def decided(links: list[Link]) -> dict[int, int]:
    return {link.opened_by: link.identity for link in links if link.rule != "tracklet"}


@pytest.mark.prove
@given(st.lists(looks, max_size=16), st.booleans())
def test_vectors_of_two_bundles_never_meet_and_every_decision_names_one_that_saw_both_sides(
        drawn: list[Look], swapped: bool) -> None:
    identities, by = accepting(*((NEW, OLD) if swapped else (OLD, NEW))), dict[int, set[bytes]]()
    for one in told(drawn):
        links = one.to(identities)
        by.setdefault(links[0].opened_by, set()).add(one.fingerprint)
        for link in links + identities.repair(1):
            # Whoever is merged is it as a whole, though some of their tracklets were told of by another bundle alone.
            about = {link.opened_by} if link.rule != "merged" else {
                each.opened_by for each in identities.members(link.identity)}
            assert any(link.fingerprint in by[each] for each in about)
            assert link.against is None or link.fingerprint in by[link.against]
        for identity, _ in list(identities):
            for other in identities.suggest(identity):
                fingerprint = identities.fingerprints[other.bundle]
                assert fingerprint in by[other.against]
                assert any(fingerprint in by[each.opened_by] for each in identities.members(identity))
        assert forbidden(identities) == []
    identities.expire(len(drawn))


@pytest.mark.prove
@given(st.lists(looks, max_size=16))
def test_a_bundle_that_no_camera_uses_yet_changes_nothing(drawn: list[Look]) -> None:
    alone, both, turned = accepting(OLD), accepting(OLD, NEW), accepting(NEW, OLD)
    for one in told([(*look[:6], "old") for look in drawn]):
        links = one.to(alone)
        assert one.to(both) == links
        assert one.to(turned) == links
        assert alone.repair(1) == both.repair(1) == turned.repair(1)


@pytest.mark.prove
@given(st.lists(looks, max_size=16))
def test_what_a_further_bundle_says_changes_nothing_where_the_leading_one_saw_everything(drawn: list[Look]) -> None:
    alone, both = accepting(OLD), accepting(OLD, NEW)
    for one in told([(*look[:6], "both") for look in drawn]):
        links = one.to(both)
        if one.fingerprint == OLD.fingerprint:
            assert one.to(alone) == links
        else:
            assert [link.rule for link in links] == ["tracklet"]
    assert {len(members) for _, members in alone} == {len(members) for _, members in both}
    assert groups(alone) == groups(both)
    for _, members in both:
        for tracklet in members:
            assert tracklet.told[0] == tracklet.told[1] == tracklet.sighting_count
            assert len(tracklet.sightings) == 2 * tracklet.sighting_count


@given(st.permutations(range(4)), st.permutations(["north", "south", "east"]), st.booleans(), st.booleans())
def test_whoever_is_seen_by_both_keeps_their_identity_from_the_one_bundle_to_the_next(
        order: list[int], cameras: list[str], leads: bool, first: bool) -> None:
    # Before the overlap, in it, and after: each person once before one camera in each; the last also at night.
    drawn: list[Look] = []
    for at, by in enumerate(["old", "swapped" if first else "both", "new", "new"]):
        drawn += [(person, cameras[at % 3], 10 * at + person, 1000 * at + 20 * person, 3,
                   "infrared" if at == 3 else "visible", by) for person in order]
    identities = accepting(*((NEW, OLD) if leads else (OLD, NEW)))
    owner: dict[int, int] = {}
    number: dict[int, int] = {}
    for one in told(drawn, 0.1):
        links = one.to(identities)
        owner[links[0].opened_by] = one.person
        number.setdefault(one.person, links[0].identity)
    assert groups(identities) == {frozenset(n for n, p in owner.items() if p == person) for person in range(4)}
    assert {person: identities.tracklet(n).identity for n, person in owner.items()} == number   # type: ignore[union-attr]


@pytest.mark.prove
@given(st.lists(looks, max_size=16), st.integers(0, 32))
def test_links_give_back_the_identities_of_two_bundles_exactly_and_the_future_is_the_same(
        drawn: list[Look], cut: int) -> None:
    made, every, links = accepting(NEW, OLD), told(drawn), list[Link]()
    for one in every[:cut]:
        links.extend(one.to(made))
    identity, opening = decided(links), {
        link.sighting: link.opened_by for link in links if link.rule not in ("merged", "parted")}
    restored = accepting(NEW, OLD, last=max((link.identity for link in links), default=0))
    for one in every[:cut]:
        opened_by = opening[one.seen.id]
        restored.restore(one.seen, one.vector, identity[opened_by], fingerprint=one.fingerprint, opened_by=opened_by)
    assert groups(made) == groups(restored)
    for one in every[cut:]:
        assert list(map(rounded, one.to(made))) == list(map(rounded, one.to(restored)))


def test_who_is_known_stays_known_when_the_old_bundle_is_accepted_no_more() -> None:
    every = told([(1, "north", 1, 0, 2, "visible", "old"), (1, "south", 2, 100, 2, "visible", "both"),
                  (2, "south", 3, 200, 2, "visible", "old")], 0.1)
    before = accepting(NEW, OLD)
    links = [link for one in every for link in one.to(before)]
    after = accepting(NEW, last=max(link.identity for link in links))
    for one in every:
        if one.fingerprint == NEW.fingerprint:      # all that a start reads
            after.restore(one.seen, one.vector, decided(links)[2], fingerprint=one.fingerprint, opened_by=2)
    assert {identity: [t.opened_by for t in members] for identity, members in after} == {1: [2]}
    again, stranger = told([(1, "north", 8, 300, 2, "visible", "new"), (2, "north", 9, 400, 2, "visible", "new")], 0.1)
    for number, one in enumerate((again, stranger), 4):
        (link, *_) = after.add(msgspec.structs.replace(one.seen, id=number), one.vector, one.fingerprint)
        # Person 2 was never told of by the new bundle: nobody can know.
        assert (link.rule, link.identity) == (("joined", 1) if number == 4 else ("opened", 3))


def test_a_tracklet_told_of_by_both_is_one_for_the_camera_that_saw_it() -> None:
    every = told([(1, "north", 1, 0, 9, "visible", "both"), (2, "north", 2, 3, 9, "visible", "both"),
                  (1, "north", 1, 10, 3, "visible", "both")], 0.1)
    identities = accepting(OLD, NEW)
    rules = [[link.rule for link in one.to(identities)] for one in every]
    assert rules == [["opened"], ["tracklet"], ["opened"], ["tracklet"], ["tracklet"], ["tracklet"]]
    ((_, (first,)), (_, (second,))) = identities
    assert (first.sighting_count, second.sighting_count) == (2, 1)
    traits, cameras = identities.table()
    assert (len(traits), cameras) == (2, [("gate", "north")])
